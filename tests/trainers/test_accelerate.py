"""A loop with accelerate: patched before or after prepare, in bfloat16 too, it takes stock's steps."""

import pytest
import torch

import lmhead
from lmhead import PaddedCollator

pytest.importorskip("transformers", reason="transformers is not installed: pip install 'lmhead[test]'")
accelerate = pytest.importorskip("accelerate", reason="accelerate is not installed: pip install 'lmhead[test]'")

from tests.trainers.tiny import examples, llama, parameters  # noqa: E402


@pytest.fixture(autouse=True)
def fresh_state():
    """accelerate keeps one state for the process, whatever an Accelerator is made with."""
    accelerate.state.AcceleratorState._reset_state(reset_partial_state=True)
    yield
    accelerate.state.AcceleratorState._reset_state(reset_partial_state=True)


def losses(*, precision, patched):
    """Of three windows of two micro-batches, each divided by the window's scored tokens."""
    accelerator = accelerate.Accelerator(cpu=True, mixed_precision=precision, gradient_accumulation_steps=2)
    model = llama()
    with torch.no_grad():
        model.lm_head.weight *= 10
    if patched == "before":
        lmhead.patch(model)
    data = torch.utils.data.DataLoader(examples(12), batch_size=2, collate_fn=PaddedCollator())
    model, optimizer, data = accelerator.prepare(model, torch.optim.SGD(model.parameters(), lr=0.1), data)
    if patched == "after":
        lmhead.patch(accelerator.unwrap_model(model))
    made, batches = [], list(data)
    for first in range(0, len(batches), 2):
        window = batches[first : first + 2]
        items = sum((batch["labels"] != -100).sum() for batch in window)
        for batch in window:
            with accelerator.accumulate(model):
                output = model.train()(**batch, num_items_in_batch=items)
                accelerator.backward(2 * output.loss)  # accelerate divides by the steps of accumulation
                optimizer.step()
                optimizer.zero_grad()
            made.append(float(output.loss.detach()))
            assert (output.get("logits") is None) == (patched != "never")
    return torch.tensor(made), parameters(accelerator.unwrap_model(model))


@pytest.mark.parametrize("precision", ["no", "bf16"])
@pytest.mark.parametrize("patched", ["before", "after"])
def test_a_loop_takes_stocks_steps(precision, patched):
    stock, weights = losses(precision=precision, patched="never")
    accelerate.state.AcceleratorState._reset_state(reset_partial_state=True)
    ours, patched_weights = losses(precision=precision, patched=patched)
    bar = 1e-5 if precision == "no" else 1e-2  # stock rounds its logits to bfloat16, the op does not
    torch.testing.assert_close(ours, stock, rtol=bar, atol=bar)
    torch.testing.assert_close(patched_weights, weights, rtol=bar, atol=bar)
    assert (ours[-2:] - ours[:2]).abs().max() > 1e-3
