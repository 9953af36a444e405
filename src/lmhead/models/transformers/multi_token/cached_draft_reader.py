"""The DraftReader of a model of transformers: a cache of its own kind for each row, and one more for each module.

Masks and rotations of a module's places come from the decoder's own forward, its layers being passed by: it makes them
for the cache that it is given. Rows are read one after the other: such a cache has one length for all of its rows.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, final

import torch
from torch import Tensor, nn

from lmhead.models.multi_token.draft_reader import AnewDraftReader, DraftReader, Span
from lmhead.models.multi_token.multi_token_model import MultiTokenModel
from lmhead.models.multi_token.predictor import MultiTokenModule, MultiTokenPredictor
from lmhead.models.multi_token.trunk import Backbone
from lmhead.models.transformers.multi_token.decoder_layers import DecoderLayers
from lmhead.models.transformers.multi_token.layer_call import watched
from lmhead.models.transformers.patching.patch import lazy_logits_and_rest
from lmhead.models.transformers.patching.probe import RUN_ERRORS
from lmhead.models.transformers.precision import Precision, precision_of
from lmhead.models.transformers.vocabulary import embedding_of

_ALIKE: dict[Precision, float] = {"float32": 0.05, "16 bits": 0.05, "8 bits": 0.15}  # as in cached_reader.py
_READINGS = ((0, 4), (4, 1), (2, 3), (5, 2))  # where a row goes on, by how many ids: what a draft that is wrong does


@final
class CachedDraftReader(DraftReader):
    """Reads each id once, and again only where a draft was wrong.

    Args:
        model: the model of transformers, patched.
        layers: its layers, of which modules are like one.
    """

    def __init__(self, model: Any, layers: DecoderLayers, *, rows: int, depth: int) -> None:
        from transformers import DynamicCache

        self._model, self._layers, self._embedding = model, layers, embedding_of(model)
        self._gives_tuples = False
        self._of_row: list[Any] = [DynamicCache() for _ in range(rows)]
        self._of_depth: list[list[Any]] = [[_of_one_layer() for _ in range(rows)] for _ in range(depth)]

    @torch.inference_mode()
    def read(self, ids: Tensor, span: Span) -> tuple[Tensor, Tensor]:
        """The decoder's states [B, T, D] of these ids, behind its final norm and before it."""
        normed, unnormed = [], []
        for each, row, start, count in zip(ids, span.rows, span.start, span.count, strict=True):
            cache = _cut(self._of_row[row], start)
            with watched(self._layers, self._embedding) as call:
                logits, _ = lazy_logits_and_rest(
                    self._model, input_ids=each[None, :count], past_key_values=cache, use_cache=True
                )
            self._gives_tuples = call.gives_tuples
            normed.append(logits.hidden[0])
            unnormed.append(call.unnormed[0])
        return _stacked(normed), _stacked(unnormed)

    @torch.inference_mode()
    def embed(self, ids: Tensor) -> Tensor:
        """The embeddings [B, T, D] of ids [B, T]."""
        embedded: Tensor = self._embedding(ids)
        return embedded

    @torch.inference_mode()
    def module(
        self, depth: int, module: MultiTokenModule, hidden: Tensor, embedded: Tensor, span: Span
    ) -> tuple[Tensor, Tensor]:
        """What the module gives at these places, through keys and values of its depth."""
        states, normed = [], []
        for at, (row, start, count) in enumerate(zip(span.rows, span.start, span.count, strict=True)):
            cache = _cut(self._of_depth[depth - 1][row], start)
            arguments, keywords = self._call(cache, count)
            made = module(hidden[at, None, :count], embedded[at, None, :count], *arguments, **keywords)
            states.append(made[0][0])
            normed.append(made[1][0])
        return _stacked(states), _stacked(normed)

    def _call(self, cache: Any, count: int) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """What a layer is called with for so many ids behind what the cache holds."""
        ids = torch.zeros(1, count, dtype=torch.long, device=self._embedding.weight.device)
        with _passed_by(self._layers, gives_tuples=self._gives_tuples), watched(self._layers, self._embedding) as call:
            self._layers.decoder(input_ids=ids, past_key_values=cache, use_cache=True)
        return call.arguments, call.keywords


def caches_are_right(main: Backbone, model: Any, layers: DecoderLayers) -> bool:
    """Whether a module reads through the caches what it reads without any, some ids again and others in their place."""
    with torch.random.fork_rng(devices=[]):
        module = MultiTokenModel.behind(main).eval().mtp
    assert isinstance(module, MultiTokenPredictor)
    training, within = model.training, _ALIKE[precision_of(model)]
    model.eval()
    readers = (CachedDraftReader(model, layers, rows=1, depth=1), AnewDraftReader(lambda ids: main.trunk(ids), rows=1))
    vocabulary, device = embedding_of(model).weight.shape[0], embedding_of(model).weight.device
    try:
        for turn, (start, count) in enumerate(_READINGS):
            ids = torch.arange(start + 7 * turn, start + 7 * turn + count, device=device)[None] % vocabulary
            through, anew = (_read(reader, module.module(1), ids, start) for reader in readers)
            if any(bool((a - b).abs().max() > within * b.float().std()) for a, b in zip(through, anew, strict=True)):
                return False
    except RUN_ERRORS:  # a cache of another kind than what was asked of it
        return False
    finally:
        model.train(training)
    return True


def _read(reader: DraftReader, module: MultiTokenModule, ids: Tensor, start: int) -> list[Tensor]:
    span = Span([0], [start], [ids.shape[1]])
    normed, unnormed = reader.read(ids, span)
    return [normed, unnormed, *reader.module(1, module, normed, reader.embed(ids), span)]


def _of_one_layer() -> Any:
    """A cache of one layer, whichever place the layer that writes into it says that it has."""
    from transformers import DynamicCache

    cache: Any = DynamicCache()

    def update(keys: Tensor, values: Tensor, layer_idx: int, *args: Any, **kwargs: Any) -> Any:
        return DynamicCache.update(cache, keys, values, 0, *args, **kwargs)

    cache.update = update
    return cache


def _cut(cache: Any, length: int) -> Any:
    """The cache with the first `length` places alone."""
    held = int(cache.get_seq_length())
    assert held >= length, "places are read one after the other"
    if held > length:
        cache.crop(length - held)
    return cache


@contextmanager
def _passed_by(layers: DecoderLayers, *, gives_tuples: bool) -> Iterator[None]:
    """The layers give back what they are given, so that a forward makes what they are called with and no more."""

    def passed(states: Tensor | None = None, *args: Any, **kwargs: Any) -> Any:
        given = kwargs["hidden_states"] if states is None else states
        return (given, None, None) if gives_tuples else given

    own = [vars(layer).get("forward") for layer in layers.layers]
    try:
        for layer in layers.layers:
            layer.forward = passed
        yield
    finally:
        for layer, forward in zip(layers.layers, own, strict=True):
            if forward is None:
                del layer.forward
            else:
                layer.forward = forward


def _stacked(rows: list[Tensor]) -> Tensor:
    """Rows [T, ..] of different lengths as one [B, T, ..], zeros behind them."""
    return nn.utils.rnn.pad_sequence(rows, batch_first=True)
