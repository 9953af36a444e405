"""Reading of a transformers model token by token: through its own cache where that is proven, else anew each time."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, final

import torch
from torch import Tensor, nn

from lmhead.models.causal_lm import Reader
from lmhead.models.transformers.patching.probe import RUN_ERRORS
from lmhead.models.transformers.precision import Precision, precision_of
from lmhead.models.transformers.vocabulary import embedding_of

_PROBE: Final = 6  # tokens that the cache is proven with
# Of the logits' deviation: above what is rounded, below what a forgotten token does.
_ALIKE: Final[dict[Precision, float]] = {"float32": 0.05, "16 bits": 0.05, "8 bits": 0.15}


@final
class CachedReader(Reader):
    """Gives the model `past_key_values`, as it returned them, and the ids that it has not read."""

    def __init__(self, model: nn.Module, *, last_only: Mapping[str, Any]) -> None:
        self._model, self._last_only = model, last_only
        self._device = embedding_of(model).weight.device
        self._past: Any = None

    @torch.inference_mode()
    def read(self, ids: Sequence[int]) -> Tensor:
        """Logits [V] float32, on the CPU, of what follows all ids read so far and these."""
        unread = torch.tensor([ids], device=self._device)
        made = self._model(input_ids=unread, past_key_values=self._past, use_cache=True, **self._last_only)
        self._past = made.past_key_values
        return made.logits[0, -1].float().cpu()  # type: ignore[no-any-return]


@final
class AnewReader(Reader):
    """Reads everything again with each further id: right for any model, and slow."""

    def __init__(self, model: nn.Module, keywords: Mapping[str, Any]) -> None:
        self._model, self._keywords = model, keywords
        self._ids: list[int] = []

    @torch.inference_mode()
    def read(self, ids: Sequence[int]) -> Tensor:
        """Logits [V] float32, on the CPU, of what follows all ids read so far and these."""
        self._ids += ids
        made = self._model(
            input_ids=torch.tensor([self._ids], device=embedding_of(self._model).weight.device), **self._keywords
        )
        return made.logits[0, -1].float().cpu()  # type: ignore[no-any-return]


def cache_is_right(model: nn.Module, vocab_size: int, *, last_only: Mapping[str, Any], anew: Mapping[str, Any]) -> bool:
    """Whether a few tokens read through the cache give the logits that they give when they are read at once."""
    try:
        return _reads_on(model, vocab_size, last_only, anew)
    except RUN_ERRORS:  # a cache of another kind than what was asked of it
        return False


def _reads_on(model: nn.Module, vocab_size: int, last_only: Mapping[str, Any], anew: Mapping[str, Any]) -> bool:
    ids = [at % vocab_size for at in range(1, _PROBE + 1)]
    made = model(input_ids=torch.tensor([ids[:2]], device=embedding_of(model).weight.device), use_cache=True)
    past: Any = getattr(made, "past_key_values", None)
    if not hasattr(past, "get_seq_length") or past.get_seq_length() != 2:
        return False
    alike = _ALIKE[precision_of(model)]
    cached, whole = CachedReader(model, last_only=last_only), AnewReader(model, anew)
    for part in (ids[:3], ids[3:4], ids[4:]):
        through, once = cached.read(part), whole.read(part)
        if bool((through - once).abs().max() > alike * once.std()):
            return False
    return True
