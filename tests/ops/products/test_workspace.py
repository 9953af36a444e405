"""Buffers that survive a call: reused, never shared by two users at once, given back on request."""

import gc
import itertools
import math
import threading

import pytest
import torch

from lmhead import linear_cross_entropy, release_workspace
from lmhead.ops.products.workspace import buffer, padded_columns

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _empty():
    release_workspace()
    yield
    release_workspace()


def address(rows=4, columns=10, name="test", dtype=torch.float32):
    with buffer(name, (rows, columns), dtype, CPU) as tensor:
        assert tensor.shape == (rows, columns)
        assert tensor.dtype == dtype
        return tensor.untyped_storage().data_ptr()


def test_the_same_memory_comes_back():
    first = address()
    assert address() == first
    assert address(rows=2) == first  # a smaller one too
    assert address(rows=4, columns=9) == first


def test_a_larger_one_is_kept_from_then_on():
    address(rows=1)
    larger = address(rows=4096)
    assert address(rows=1) == larger


def test_names_and_dtypes_do_not_share():
    with (
        buffer("a", (2, 3), torch.float32, CPU) as a,
        buffer("b", (2, 3), torch.float32, CPU) as b,
        buffer("a", (2, 3), torch.float64, CPU) as c,
    ):
        assert len({x.untyped_storage().data_ptr() for x in (a, b, c)}) == 3


def test_a_nested_use_gets_another():
    with buffer("test", (4, 10), torch.float32, CPU) as outer:
        outer.fill_(1.0)
        with buffer("test", (4, 10), torch.float32, CPU) as inner:
            inner.fill_(2.0)
        assert outer.eq(1.0).all()


def test_threads_get_their_own():
    addresses = []
    with buffer("test", (4, 10), torch.float32, CPU) as mine:
        thread = threading.Thread(target=lambda: addresses.append(address()))
        thread.start()
        thread.join()
        assert addresses != [mine.untyped_storage().data_ptr()]


def test_an_exception_gives_it_back():
    first = address()
    with pytest.raises(ZeroDivisionError), buffer("test", (4, 10), torch.float32, CPU):
        _ = 1 / 0
    assert address() == first


def test_release_forgets_everything():
    with buffer("test", (4, 10), torch.float32, CPU) as tensor:
        storage = tensor.untyped_storage()._weak_ref()
    del tensor
    assert not torch.UntypedStorage._expired(storage)
    release_workspace()
    gc.collect()
    assert torch.UntypedStorage._expired(storage)
    torch.UntypedStorage._free_weak_ref(storage)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64], ids=str)
@pytest.mark.parametrize("columns", [1, 16, 50257, 65536])
def test_rows_are_an_odd_number_of_cache_lines_apart(columns, dtype):
    assert padded_columns(columns, dtype) >= columns
    lines, rest = divmod(padded_columns(columns, dtype) * dtype.itemsize, 64)
    assert rest == 0
    assert lines % 2 == 1


def test_garbage_in_the_padding_poisons_nothing():
    """oneDNN's bf16 product of rows with padding multiplies the padding by 0: it must not be NaN (torch 2.13)."""
    for rows in (16, 64):
        with buffer("logits", (rows, padded_columns(33, torch.bfloat16)), torch.bfloat16, CPU) as tensor:
            tensor.fill_(math.nan)
        hidden = torch.randn(rows, 8, dtype=torch.bfloat16, requires_grad=True)
        weight = torch.randn(33, 8, dtype=torch.bfloat16)
        linear_cross_entropy(hidden, weight, torch.arange(rows) % 33).backward()
        assert hidden.grad.isfinite().all()


def test_a_buffer_born_in_inference_mode_serves_a_training_step():
    hidden, weight, targets = torch.randn(9, 4), torch.randn(7, 4), torch.arange(9) % 7
    with torch.inference_mode():
        linear_cross_entropy(hidden, weight, targets)
    hidden.requires_grad_()
    linear_cross_entropy(hidden, weight, targets).backward()
    assert hidden.grad.isfinite().all()


def test_threads_compute_what_one_thread_does():
    hidden, weight, targets = torch.randn(64, 8), torch.randn(50, 8), torch.arange(64) % 50
    expected = linear_cross_entropy(hidden, weight, targets).item()
    results = []

    def work():
        results.extend(linear_cross_entropy(hidden, weight, targets).item() for _ in range(20))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [expected] * 80


def test_a_smaller_one_is_given_back_before_a_larger_one_is_taken():
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        address(rows=1000, columns=1000)
        address(rows=2000, columns=1000)
    events = [event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
    changes = [event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())]
    larger = 2000 * padded_columns(1000, torch.float32) * 4
    assert larger <= max(itertools.accumulate(changes)) < 1.1 * larger
