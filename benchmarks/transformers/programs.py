"""A training step of one model as stock and as each of those who give it another head: one table, by name.

Each gets a model of its own (deep copies), so that all run in turn in one process.
"""

import copy
import importlib
import importlib.metadata
from collections.abc import Callable
from typing import Any

from torch import Tensor

import lmhead
from benchmarks.peers import UnavailableError, one_line
from benchmarks.transformers.models import Batch

Loss = Callable[[Batch], Tensor]
Step = Callable[[Batch], object]

STOCK, OURS, TRL, LIGER = "stock", "lmhead.patch", "TRL", "Liger"


def _stock(model: Any) -> Loss:
    return lambda batch: model(**batch).loss


def _ours(model: Any) -> Loss:
    lmhead.patch(model)
    return _stock(model)


def _trl(model: Any) -> Loss:
    """As SFTTrainer does, its statistics included: ours come from the same pass too."""
    utils = importlib.import_module("trl.trainer.utils")
    utils.add_fused_lm_head(model, outputs=("log_probs", "entropy", "is_top1"))
    return lambda batch: model(**batch, fused_lm_head=True).loss


def _liger(model: Any) -> Loss:
    """Its fused head alone: the norms and rotations that it replaces too are no part of the question."""
    kernels = importlib.import_module("liger_kernel.transformers")
    apply = getattr(kernels, f"apply_liger_kernel_to_{model.config.model_type}", None)
    if apply is None:
        raise UnavailableError(f"it has no patch for {model.config.model_type}")
    others = {"rope": False, "rms_norm": False, "geglu" if model.config.model_type == "gemma2" else "swiglu": False}
    apply(**others, cross_entropy=False, fused_linear_cross_entropy=True, model=model)
    return _stock(model)


_MAKERS: dict[str, tuple[str, Callable[[Any], Loss]]] = {
    STOCK: ("transformers", _stock),
    OURS: ("lmhead", _ours),
    TRL: ("trl", _trl),
    LIGER: ("liger-kernel", _liger),
}


def step_of(name: str, model: Any) -> Step:
    """Forward and backward, with a copy of the model; gives the gradients back in new memory, as after zero_grad().

    Raises:
        UnavailableError: the peer does not run here, in its own words.
    """
    own = copy.deepcopy(model)
    parameters = list(own.parameters())
    loss = _loss(name, own)

    def step(batch: Batch) -> list[Tensor | None]:
        loss(batch).backward()  # type: ignore[no-untyped-call]
        gradients = [parameter.grad for parameter in parameters]
        for parameter in parameters:
            parameter.grad = None
        return gradients

    return step


def _loss(name: str, model: Any) -> Loss:
    _, make = _MAKERS[name]
    if name in (STOCK, OURS):
        return make(model)
    try:
        return make(model)
    except UnavailableError:
        raise
    except Exception as error:  # a peer may raise anything: that is the answer
        raise UnavailableError(one_line(error)) from error


def refusal(name: str, model: Any, batch: Batch) -> str | None:
    """What a peer says where it does not run here; None where it does."""
    try:
        step_of(name, model)(batch)
    except UnavailableError as error:
        return str(error)
    except Exception as error:
        if name in (STOCK, OURS):
            raise
        return one_line(error)
    return None


def gradient_bytes(model: Any) -> int:
    """What any backward of the model leaves."""
    return sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())


def versions() -> dict[str, str]:
    """Of everybody's package, as installed."""
    found = {}
    for package in ("torch", *(package for package, _ in _MAKERS.values()), "accelerate", "triton"):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found
