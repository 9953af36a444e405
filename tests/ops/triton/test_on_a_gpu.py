"""What only a GPU can show: no wait, graphs, compilation, repeatability, and an error that leaves the context alive."""

import pytest
import torch

from lmhead import ArgumentError, linear_cross_entropy

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")

SIZES = (300, 64, 5003)


@pytest.fixture
def drawn(draw):
    return draw(*SIZES, ignored=0.3).on("cuda").to(torch.bfloat16)


def step(drawn, backend, **options):
    loss = linear_cross_entropy(drawn.hidden, drawn.weight, drawn.targets, backend=backend, **options)
    return loss, *torch.autograd.grad(loss, [drawn.hidden, drawn.weight])


def test_a_gpu_gets_the_kernels_unasked(drawn):
    for got, expected in zip(step(drawn, None), step(drawn, "triton"), strict=True):
        torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("backend", ["triton", "triton_masked", "triton_low_memory"])
def test_ten_runs_are_equal_within_rounding(drawn, backend):
    runs = [step(drawn, backend, memory_budget=4_000_000) for _ in range(10)]
    for run in runs[1:]:
        for got, first in zip(run, runs[0], strict=True):
            torch.testing.assert_close(got, first, rtol=1e-2, atol=1e-6)


def test_the_masked_form_waits_for_nothing(drawn):
    step(drawn, "triton_masked")  # compiled now
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        step(drawn, "triton_masked")
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("backend", ["triton", "triton_masked"])
def test_a_graph_captures_and_replays_it(drawn, backend):
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            step(drawn, backend)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = step(drawn, backend)
    with torch.no_grad():
        drawn.hidden.mul_(0.5)
    drawn.targets.copy_(drawn.targets.roll(1))
    graph.replay()
    for got, expected in zip(captured, step(drawn, "reference"), strict=True):
        torch.testing.assert_close(got, expected, rtol=3e-2, atol=1e-3)


def test_it_compiles_into_one_graph(drawn):
    compiled = torch.compile(lambda h, w, t: linear_cross_entropy(h, w, t), fullgraph=True)
    loss = compiled(drawn.hidden, drawn.weight, drawn.targets)
    torch.testing.assert_close(loss, step(drawn, "reference")[0], rtol=1e-2, atol=1e-3)


def test_a_target_out_of_range_leaves_the_context_alive(drawn):
    drawn.targets[7] = SIZES[2]
    assert step(drawn, "triton_masked")[0].isnan()
    with pytest.raises(ArgumentError, match="got 5003 at flattened position 7"):
        step(drawn, "triton")
    drawn.targets[7] = 0
    assert step(drawn, "triton")[0].isfinite()
