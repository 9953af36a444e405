"""What a forward of a transformers model did: its embeddings, its last states, and how a layer of it was called.

    with watched(layers, embedding) as call:
        model(input_ids=ids)
    call.embedded, call.unnormed                  # [B, T, D]
    layer(states, *call.arguments, **call.keywords)

Masks, rotations and positions are the model's own, whatever told it of documents; nothing of them is made here.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, final

import torch
from torch import Tensor, nn

from lmhead.errors import ArgumentError
from lmhead.models.transformers.multi_token.decoder_layers import NO_LAYER, DecoderLayers
from lmhead.models.transformers.patching.probe import RUN_ERRORS
from lmhead.models.transformers.precision import Precision, precision_of
from lmhead.models.transformers.read_causal_lm import first_line
from lmhead.shown import shown

_PROBE = 6  # tokens of each of two rows
_ALIKE: dict[Precision, float] = {"float32": 1e-4, "16 bits": 0.02, "8 bits": 0.15}  # of the states' deviation


@final
class LayerCall:
    """What was seen in one forward."""

    def __init__(self) -> None:
        self._embedded: Tensor | None = None
        self._unnormed: Tensor | None = None
        self.entered: Tensor | None = None  # the states that the layer was called with, and those that it gave
        self.left: Tensor | None = None
        self.gives_tuples = False  # it gave more than states
        self.arguments: tuple[Any, ...] = ()
        self.keywords: dict[str, Any] = {}

    @property
    def embedded(self) -> Tensor:
        """The embedding of each id."""
        assert self._embedded is not None, "the model was run"
        return self._embedded

    @property
    def unnormed(self) -> Tensor:
        """The last layer's states."""
        assert self._unnormed is not None, "the model was run"
        return self._unnormed

    def saw_embedding(self, module: nn.Module, args: tuple[Any, ...], output: Tensor) -> None:
        """A hook on the embedding, of its first call."""
        if self._embedded is None:
            self._embedded = output

    def saw_last(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        """A hook on the last layer."""
        self._unnormed = states_of(output)

    def saw_layer(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        """A hook on the layer that modules are like."""
        keywords = dict(kwargs)
        states = args[0] if args else keywords.pop("hidden_states")
        self.entered, self.left, self.gives_tuples = states, states_of(output), isinstance(output, tuple)
        self.arguments, self.keywords = tuple(args[1:]), keywords


def states_of(output: Any) -> Tensor:
    """The states [B, T, D] that a layer gives, beside which some give more."""
    states = output[0] if isinstance(output, tuple) else output
    if not isinstance(states, Tensor):
        raise TypeError(f"a {type(states).__name__} in the place of states")
    return states


@contextmanager
def watched(layers: DecoderLayers, embedding: nn.Module) -> Iterator[LayerCall]:
    """What the model does until the end, seen by hooks that change nothing."""
    call = LayerCall()
    hooks = [
        embedding.register_forward_hook(call.saw_embedding),
        layers.last.register_forward_hook(call.saw_last),
        layers.source.register_forward_hook(call.saw_layer, with_kwargs=True),
    ]
    try:
        yield call
    finally:
        for hook in hooks:
            hook.remove()


@torch.no_grad()
def prove_call(model: Any, layers: DecoderLayers, embedding: nn.Embedding, **keywords: Any) -> None:
    """Call the layer again as the model called it, and refuse a model whose layer gives something else then.

    Raises:
        ArgumentError: states come from more than the call, or are no [B, T, D] of the embedding's width.
    """
    weight = embedding.weight
    ids = torch.arange(2 * _PROBE, device=weight.device).view(2, _PROBE) % weight.shape[0]
    training = model.training
    model.eval()
    try:
        with watched(layers, embedding) as call:
            model(input_ids=ids, **keywords)
        assert call.entered is not None
        assert call.left is not None
        again = states_of(layers.source(call.entered, *call.arguments, **call.keywords))
    except RUN_ERRORS as error:
        raise _refusal(model, f"{type(error).__name__} from a second call of it: {first_line(error)}") from error
    finally:
        model.train(training)
    shapes = {tuple(each.shape) for each in (call.embedded, call.unnormed, call.entered, again)}
    if len(shapes) > 1 or again.dim() != 3:
        raise _refusal(model, f"states of the shapes {', '.join(map(str, sorted(shapes)))}")
    within = _ALIKE[precision_of(model)] * call.left.float().std()
    if bool((again - call.left).abs().max() > within):
        raise _refusal(model, "other states from a second call of it")


def _refusal(model: Any, got: str) -> ArgumentError:
    kind = shown(str(model.config.get_text_config(decoder=True).model_type))
    return ArgumentError(
        f"the model ({kind}) must have a layer that gives [B, T, D] from its arguments alone, got {got}: {NO_LAYER}"
    )
