"""The proof that a patched model's loss is its own: it is run both ways on the same drawn hidden states and labels.

Logits get a standard deviation of 10, as a trained model's have: freshly initialised ones are so small that a forgotten
cap changes nothing. Labels are drawn: with ids for labels, families that do not shift would have a loss of 0. Gradients
are compared of what enters the output layer and of its parameters, so that none of the model below is differentiated.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn

from lmhead.errors import ArgumentError
from lmhead.models.transformers.patching.drawn_batch import drawn_batch
from lmhead.models.transformers.patching.probe import Probe, Side, as_in_training
from lmhead.models.transformers.patching.record import in_words
from lmhead.models.transformers.patching.run_once import run_once
from lmhead.models.transformers.patching.state import PatchState

_ITEMS: Final = 37  # a num_items_in_batch that is no count of the drawn labels
_COMPARED_ROWS: Final = 4096  # of a weight's gradient
_NARROW: Final = (torch.float16, torch.bfloat16)


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What was found equal, and how closely: patched against stock, relative."""

    record: str  # what the model does to its logits before the loss, in words; empty: nothing
    loss: float
    gradients: float  # the largest of hidden states, weight, bias, adapters
    divides_by_items: bool  # the loss follows num_items_in_batch, as exact accumulation in Trainer needs


@dataclass(frozen=True, slots=True, kw_only=True)
class _Bars:
    """How far apart the two sides may be, relative."""

    loss: float
    gradient: float


_FLOAT32: Final = _Bars(loss=1e-5, gradient=1e-4)
_SIXTEEN_BITS: Final = _Bars(loss=3e-2, gradient=3e-2)  # the model rounds its logits, the op does not


def prove(model: nn.Module, state: PatchState, example: Mapping[str, Any] | None) -> Proof:
    """Compare a model whose patch is in place with itself; it is left as it was: modes, buffers, random state.

    Raises:
        ArgumentError: the model does not run, the two differ, or the logits were made; says which, and what to do.
    """
    assert state.override is not None
    layer = state.override.layer
    bars = _SIXTEEN_BITS if any(each.dtype in _NARROW for each in layer.parameters()) else _FLOAT32
    name = type(model).__name__
    with as_in_training(model, layer), run_once(model, layer) as below:
        probe = Probe(model, state, below)
        batch = drawn_batch(model, example, rows=probe.head.rows())
        stock = probe.run(batch, stock=True)
        if not math.isfinite(stock.loss):
            raise ArgumentError(
                f"model must have weights that are finite, got a loss of {stock.loss} in {name}, as stock: they are "
                "damaged, or too large for their dtype; load them anew, or in float32"
            )
        patched = probe.run(batch, stock=False)
        record = _require_fused(probe)
        loss = _require_same_loss(name, "loss", stock, patched, bars)
        gradients = _require_same_gradients(name, stock, patched, bars)
        counted = {**batch, "num_items_in_batch": torch.tensor(_ITEMS, device=probe.device)}
        try:
            whole = probe.run(counted, stock=True, differentiate=False)
        except ArgumentError:  # its forward takes no such keyword, and Trainer will not give it
            divides = False
        else:
            again = probe.run(counted, stock=False, differentiate=False)
            loss = max(loss, _require_same_loss(name, "loss with num_items_in_batch", whole, again, bars))
            divides = abs(whole.loss - stock.loss) > 0.1 * abs(stock.loss)
    return Proof(record=record, loss=loss, gradients=gradients, divides_by_items=divides)


def _require_fused(probe: Probe) -> str:
    """What the loss was taken of, in words.

    Raises:
        ArgumentError: the op took none, or the logits were made all the same.
    """
    watch, name = probe.watch, type(probe.model).__name__
    if watch.dense or len(watch.taken) != 1:
        got = f"their {watch.dense[0]}" if watch.dense else f"{len(watch.taken)} cross entropies"
        raise ArgumentError(
            f"model must ask nothing of its logits in training but one cross entropy, got {got} in {name}: its loss "
            "needs them, and the patch would save nothing; train it as it is"
        )
    taken = watch.taken[0]
    return in_words(taken.steps, width=taken.width, rows=probe.head.rows())


def _require_same_loss(name: str, what: str, stock: Side, patched: Side, bars: _Bars) -> float:
    difference = abs(patched.loss - stock.loss) / max(abs(stock.loss), 1e-3)
    if not difference <= bars.loss:
        raise _different(name, what, f"{patched.loss:.6g} for {stock.loss:.6g}")
    return difference


def _require_same_gradients(name: str, stock: Side, patched: Side, bars: _Bars) -> float:
    largest = 0.0
    for what, gradient in stock.gradients.items():
        difference = _relative(patched.gradients[what], gradient)
        if not difference <= bars.gradient:
            raise _different(name, f"gradient of {what}", f"{difference:.2g} of its norm away")
        largest = max(largest, difference)
    return largest


def _relative(found: Tensor, right: Tensor) -> float:
    """The norm of the difference, by that of the right one; of some rows of a large weight, the last among them.

    Logits that are off in a scale, a cap or a width are so in every row's gradient, and a vocabulary's is slow to read.
    """
    rows = right.shape[0] if right.dim() else 0
    step = max(1, rows // _COMPARED_ROWS)
    if step > 1:
        found, right = (torch.cat([each[::step], each[-1:]]) for each in (found, right))
    away = torch.linalg.vector_norm(found - right, dtype=torch.float64 if found.device.type != "mps" else None)
    return float(away) / max(float(torch.linalg.vector_norm(right.double())), 1e-12)


def _different(name: str, what: str, got: str) -> ArgumentError:
    return ArgumentError(
        f"model must have the same {what} patched as stock, got {got} in {name}: what it does between output layer and "
        "loss is not known here; train it as it is, and tell lmhead's developers of its type"
    )
