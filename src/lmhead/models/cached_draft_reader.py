"""The DraftReader of this library's decoder: through a RowCache, and one more for each module."""

from collections.abc import Collection
from typing import final

import torch
from torch import Tensor

from lmhead.models.decoder import Decoder
from lmhead.models.multi_token.draft_reader import DraftReader, Span
from lmhead.models.multi_token.predictor import MultiTokenModule
from lmhead.models.row_cache import RowCache


@final
class CachedDraftReader(DraftReader):
    """Reads each id once, and again only where a draft was wrong."""

    def __init__(self, decoder: Decoder, *, rows: int, room: int, depth: int) -> None:
        weight = decoder.get_parameter("layers.0.self_attn.k_proj.weight")
        config, device, dtype = decoder.config, weight.device, weight.dtype

        def cache(layers: Collection[int]) -> RowCache:
            return RowCache(config, layers=layers, rows=rows, room=room, device=device, dtype=dtype)

        self._decoder = decoder
        self._cache = cache(range(config.num_layers))
        # A block writes under its index among the modules: 0 where one runs at every depth.
        self._of_depth = [cache({0, index}) for index in range(depth)]

    @torch.inference_mode()
    def read(self, ids: Tensor, span: Span) -> tuple[Tensor, Tensor]:
        """The decoder's states [B, T, D] of these ids, behind its final norm and before it."""
        self._cache.go_on(span)
        trunk = self._decoder.trunk(ids, cache=self._cache)
        return trunk.hidden, trunk.unnormed

    @torch.inference_mode()
    def embed(self, ids: Tensor) -> Tensor:
        """The embeddings [B, T, D] of ids [B, T]."""
        return self._decoder.embed(ids)

    @torch.inference_mode()
    def module(
        self, depth: int, module: MultiTokenModule, hidden: Tensor, embedded: Tensor, span: Span
    ) -> tuple[Tensor, Tensor]:
        """What the module gives at these places, through keys and values of its depth."""
        cache = self._of_depth[depth - 1]
        cache.go_on(span)
        positions, mask = cache.places(hidden.shape[1])
        made: tuple[Tensor, Tensor] = module(hidden, embedded, self._decoder.rotation(positions), mask, cache)
        return made
