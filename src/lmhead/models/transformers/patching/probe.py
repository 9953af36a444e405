"""A model's loss and gradients on the head's side, its output layer being fed drawn hidden states."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from lmhead.errors import ArgumentError, LmheadError
from lmhead.models.transformers.patching.kept_state import buffers_kept, random_states_kept, seed
from lmhead.models.transformers.patching.run_once import Replay
from lmhead.models.transformers.patching.state import PatchState, Watch

EXAMPLE: Final = ": give a batch that it runs on, lmhead.patch(model, example=batch)"
_DEVIATION: Final = 10.0  # of the logits, as of a trained model
_ROWS: Final = 1024  # of a weight, that are looked at for its size
RUN_ERRORS: Final = (  # what a forward raises on inputs that it does not take
    *(ArithmeticError, AssertionError, AttributeError, LookupError),
    *(NotImplementedError, RuntimeError, TypeError, ValueError),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """What one forward gave."""

    loss: float
    gradients: dict[str, Tensor]  # of the hidden states, and of the output layer's parameters


class Probe:
    """Forwards of a patched model with the same drawn hidden states, as stock and as patched."""

    def __init__(self, model: nn.Module, state: PatchState, below: Replay) -> None:
        assert state.override is not None
        self.below = below
        self.model, self.state, self.head = model, state, state.override
        self.device = next(self.head.layer.parameters()).device
        self.watch = Watch()  # the last run's
        self._leaf: Tensor | None = None
        self._calls = 0

    def run(self, batch: dict[str, Any], *, stock: bool, differentiate: bool = True) -> Side:
        """Loss and gradients of a batch with labels.

        Raises:
            ArgumentError: the model does not run on it, or its loss does not come through the output layer once.
        """
        state, self._calls = self.state, 0
        self.watch = state.watch = Watch()
        state.probe, state.paused = self._replaced, stock
        self.below.again()
        try:
            # spectral norm steps at each forward, a rotary cache grows
            with buffers_kept(self.model), torch.set_grad_enabled(differentiate):
                seed(self.model)  # what a router's loss is made of is the same
                loss = self._loss(batch)
                return Side(loss=float(loss.detach()), gradients=self._gradients(loss) if differentiate else {})
        finally:
            state.watch, state.probe, state.paused, state.statistics = None, None, False, None

    def _loss(self, batch: dict[str, Any]) -> Tensor:
        name = type(self.model).__name__
        try:
            output = self.model(**batch)
        except (torch.OutOfMemoryError, LmheadError):
            raise
        except RUN_ERRORS as error:
            said = " ".join(str(error).split())[:200].rstrip(". :")
            raise ArgumentError(
                f"model must run on a drawn batch with labels, got {type(error).__name__} from {name}: {said}{EXAMPLE}"
            ) from error
        loss = output.get("loss") if isinstance(output, dict) else output[0]
        if not isinstance(loss, Tensor) or loss.dim():
            got = f"one of shape {list(loss.shape)}" if isinstance(loss, Tensor) else "none"
            raise ArgumentError(f"model must give a loss for labels, a scalar, got {got} from {name}{EXAMPLE}")
        if self._calls != 1:
            raise ArgumentError(
                f"model must call its output layer once for a loss, got {self._calls} calls in {name}: its loss is of "
                "another kind than the cross entropy of one head's logits"
            )
        return loss

    def _replaced(self, hidden: Tensor) -> Tensor:
        """A leaf in the place of the hidden states, the same at each forward."""
        self._calls += 1
        self.below.at_output_layer()
        if self._leaf is None:
            generator = torch.Generator("cpu").manual_seed(0)
            drawn = torch.randn(hidden.shape, generator=generator, device="cpu").to(hidden)
            with torch.no_grad(), buffers_kept(self.head.layer):
                deviation = _deviation(self.head.tensors(drawn).weight.detach())
            self._leaf = (drawn * (_DEVIATION / deviation.clamp(min=1e-9)).to(drawn.dtype)).detach().requires_grad_()
        seed(self.model)  # so is the dropout of the output layer's adapters
        return self._leaf

    def _gradients(self, loss: Tensor) -> dict[str, Tensor]:
        assert self._leaf is not None
        wanted = {"hidden states": self._leaf, **_trainable(self.head.layer)}
        found: tuple[Tensor | None, ...] = (None,) * len(wanted)
        if loss.requires_grad:  # else something has cut it off from the logits
            found = torch.autograd.grad(loss, list(wanted.values()), allow_unused=True)
        return {
            name: torch.zeros_like(tensor) if gradient is None else gradient
            for (name, tensor), gradient in zip(wanted.items(), found, strict=True)
        }


def _deviation(weight: Tensor) -> Tensor:
    """About the standard deviation [] of logits of standard normal hidden states, from some rows of a weight [V, D]."""
    step = max(1, weight.shape[0] // _ROWS)
    norms: Tensor = torch.linalg.vector_norm(weight[::step].float(), dim=1)
    return norms.square().mean().sqrt()


@contextmanager
def as_in_training(model: nn.Module, layer: nn.Module) -> Iterator[None]:
    """The model in training mode, its output layer differentiable and not zero; afterwards as it was."""
    modes = [(module, module.training) for module in model.modules()]
    frozen = [each for each in layer.parameters() if each.is_floating_point() and not each.requires_grad]
    # whatever the caller is in: autocast, no_grad, inference_mode; and nothing is compiled for so little
    modes_of_torch: tuple[AbstractContextManager[Any], ...] = (
        torch.compiler.set_stance("force_eager"),
        torch.inference_mode(False),
        torch.enable_grad(),
        *(torch.autocast(kind, enabled=False) for kind in {each.device.type for each in model.parameters()}),
    )
    with ExitStack() as stack:
        for context in (*modes_of_torch, random_states_kept(model), _weight_not_zero(layer)):
            stack.enter_context(context)
        try:
            model.train()
            for parameter in frozen:
                parameter.requires_grad_()
            yield
        finally:
            for parameter in frozen:
                parameter.requires_grad_(False)
            for module, training in modes:
                module.training = training


@contextmanager
def _weight_not_zero(layer: nn.Module) -> Iterator[None]:
    """Logits that are all 0 would prove nothing: a head that begins at zero is drawn for as long as it is looked at."""
    weight = None if parametrize.is_parametrized(layer) else layer.weight  # reading it may step
    if not isinstance(weight, nn.Parameter) or bool(weight[:1].detach().any() or weight.detach().any()):
        yield
        return
    with torch.no_grad():
        weight.normal_(0.0, 0.02)
    try:
        yield
    finally:
        with torch.no_grad():
            weight.zero_()


def _trainable(layer: nn.Module) -> dict[str, Tensor]:
    return {name: parameter for name, parameter in layer.named_parameters() if parameter.requires_grad}
