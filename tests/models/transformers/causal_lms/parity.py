"""A training step of a model, stock or patched: its loss and the gradients of all parameters, compared.

Twice, since freshly initialised logits are so small that a forgotten cap changes nothing: as initialised, and with the
head's input scaled so that the logits' standard deviation is 10, as a trained model's.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor
from transformers import PreTrainedModel

LOSS_BAR: Final = 1e-5  # in float32, of the loss
GRADIENT_BAR: Final = 1e-4  # of the norm
TRAINED: Final = 10.0  # the standard deviation of a trained model's logits


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What one forward and backward gave."""

    loss: float
    gradients: Mapping[str, Tensor]
    keys: tuple[str, ...]  # of the output


def step(model: PreTrainedModel, inputs: Mapping[str, Any], *, deviation: float | None = None) -> Step:
    """Forward and backward, with the same random numbers at each call; no gradient is left behind.

    Args:
        deviation: of the logits that come out of the head; None: as they are.
    """
    model.zero_grad(set_to_none=True)
    scale = 1.0 if deviation is None else _scale(model, inputs, deviation)
    with torch.random.fork_rng(devices=[]), head_input_times(model, scale):
        torch.manual_seed(0)
        output = model(**inputs)
        output.loss.backward()
    gradients = {name: each.grad for name, each in model.named_parameters() if each.grad is not None}
    model.zero_grad(set_to_none=True)
    return Step(loss=output.loss.item(), gradients=gradients, keys=tuple(output))


@contextmanager
def head_input_times(model: PreTrainedModel, scale: float) -> Iterator[None]:
    """The hidden states that the head reads, scaled."""
    hook = model.get_output_embeddings().register_forward_pre_hook(lambda _, args: (args[0] * scale, *args[1:]))
    try:
        yield
    finally:
        hook.remove()


@torch.no_grad()
def _scale(model: PreTrainedModel, inputs: Mapping[str, Any], deviation: float) -> float:
    """What makes the logits' deviation that: of the weight's product, for a cap comes after it."""
    found: list[Tensor] = []

    def weigh(layer: torch.nn.Module, args: tuple[Any, ...]) -> None:
        found.append(torch.nn.functional.linear(args[0], layer.weight).float().std())

    hook = model.get_output_embeddings().register_forward_pre_hook(weigh)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model(**{name: value for name, value in inputs.items() if name not in ("labels", "num_items_in_batch")})
    hook.remove()
    return deviation / found[0].item()


def disagreement(found: Step, right: Step) -> str | None:
    """What differs beyond the bars, in words; None where nothing does."""
    loss = abs(found.loss - right.loss) / max(abs(right.loss), 1e-3)
    if not loss <= LOSS_BAR:
        return f"loss {found.loss:.6g} for {right.loss:.6g}"
    if missing := found.gradients.keys() ^ right.gradients.keys():
        return f"one has no gradient of {sorted(missing)[0]}"
    whole = _norm(right.gradients.values())
    for name, gradient in right.gradients.items():
        away = _norm([found.gradients[name] - gradient])
        if not away <= GRADIENT_BAR * max(_norm([gradient]), 1e-2 * whole):  # what is next to nothing is rounding
            return f"gradient of {name}: {away / max(_norm([gradient]), 1e-30):.1e} of its norm away"
    return None


def _norm(tensors: Any) -> float:
    return sum(torch.linalg.vector_norm(each.double()).item() ** 2 for each in tensors) ** 0.5
