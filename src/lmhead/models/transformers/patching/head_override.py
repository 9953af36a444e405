"""The forward of an output layer that gives lazy logits while its model asks for them, and is the layer's own else.

An object in the layer's `__dict__`, as accelerate's hooks are: deepcopy and pickle take it along with the layer, and no
closure of it keeps the original alive in a copy.
"""

from typing import Any, final

from torch import Tensor, nn

from lmhead.errors import ArgumentError
from lmhead.heads.hooks import is_made_anew
from lmhead.heads.output_layer import check_layer, tensors_of
from lmhead.losses.head_tensors import HeadTensors
from lmhead.models.transformers.patching.call_context import CallContext
from lmhead.models.transformers.patching.lazy_logits import LazyLogits
from lmhead.models.transformers.patching.state import PatchState
from lmhead.ops.tensor_values import is_dtensor


@final
class HeadOverride:
    """`layer.forward`, while the model is patched."""

    keeps_product = True  # heads/output_layer.py: what is called is still the layer's product

    def __init__(self, layer: nn.Module, state: PatchState) -> None:
        self.layer = layer
        self.state = state
        self.own: Any = vars(layer).get("forward")  # that somebody else had put there: accelerate

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        state = self.state
        state.called = True
        if not args and len(kwargs) == 1:  # lm_head(input=hidden)
            args, kwargs = tuple(kwargs.values()), {}
        if state.probe is not None:
            args = (state.probe(args[0]), *args[1:])
        if not state.recording or len(args) != 1 or kwargs:
            return self._forward(*args, **kwargs)
        hidden = args[0]
        moves = getattr(self.layer, "_hf_hook", None)  # accelerate's, of a model on several devices
        if moves is not None:
            (hidden,), _ = moves.pre_forward(self.layer, hidden)
        return LazyLogits(self, hidden, context=CallContext.current(hidden.device.type))

    def rows(self) -> int:
        """V."""
        if isinstance(self.layer, nn.Linear) and is_made_anew(self.layer, "weight"):
            return self.layer.out_features  # reading the weight would make it
        rows: int = self.layer.weight.shape[0]  # type: ignore[index, assignment]
        return rows

    def requires_grad(self) -> bool:
        """Whether a parameter of the layer is trained."""
        return any(parameter.requires_grad for parameter in self.layer.parameters())

    def tensors(self, hidden: Tensor) -> HeadTensors:
        """What the layer multiplies with now; its hooks have been run by the call that led here.

        Raises:
            ArgumentError: a state of the layer that is refused.
        """
        own = tensors_of(self.layer, hidden, called=True)
        if is_dtensor(own.weight):
            raise ArgumentError(
                "the output layer must have its weight while the loss is taken, got one that is sharded: leave the "
                "layer to the root's group, fully_shard(model) without fully_shard(output layer), or shard it by "
                "fully_shard(output layer, reshard_after_forward=False)"
            )
        return own

    def logits(self, hidden: Tensor) -> Tensor:
        """The layer's own."""
        made: Tensor = self._forward(hidden)
        return made

    def _forward(self, *args: Any, **kwargs: Any) -> Any:
        if self.own is not None:
            return self.own(*args, **kwargs)
        return type(self.layer).forward(self.layer, *args, **kwargs)


def follow(model: nn.Module, state: PatchState) -> None:
    """Override the output layer that the model has now: PEFT may have put another in its place.

    Raises:
        ArgumentError: a layer in a state that is refused.
        ArgumentTypeError: a layer of another kind.
    """
    layer: nn.Module = model.get_output_embeddings()  # type: ignore[operator]
    override = state.override
    if override is None or override.layer is not layer or vars(layer).get("forward") is not override:
        remove(model, state)
        check_layer(layer, called=True)
        state.override = HeadOverride(layer, state)
        layer.forward = state.override


def remove(model: nn.Module, state: PatchState) -> None:
    """Give every layer its own forward back: copies that PEFT made of the output layer have the override too."""
    layers = [] if state.override is None else [state.override.layer]
    for layer in (*model.modules(), *layers):
        # accelerate keeps the forward that it found, and puts it back when it leaves
        for name in ("forward", "_old_forward"):
            override = vars(layer).get(name)
            if isinstance(override, HeadOverride):
                if override.own is not None:
                    setattr(layer, name, override.own)
                elif name == "forward":
                    del layer.forward
                else:
                    layer._old_forward = type(layer).forward.__get__(layer)
    state.override = None
