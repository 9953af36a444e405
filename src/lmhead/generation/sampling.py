"""Sampling one token after the other, and the text of tokens as they come.

Not here: batches of prompts, beams, speculative decoding.
"""

import operator
from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from torch import Tensor

from lmhead.errors import ArgumentError, ArgumentTypeError, require
from lmhead.models.gpt import GPT, KVCache, require_gpt
from lmhead.ops.checks import require_sizes

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_REPLACEMENT: Final = "\N{REPLACEMENT CHARACTER}"


def sample(
    model: GPT,
    ids: Sequence[int] | Tensor,  # [T]
    *,
    max_new_tokens: int,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    seed: int | None = None,
    stop_ids: Collection[int] = (),
) -> Iterator[int]:
    """Token ids that continue `ids`, one by one, read through a key-value cache.

    It ends after `max_new_tokens`, or at one of `stop_ids`, which is not yielded. The model sees at most max_seq_len
    ids: of a longer prompt the last ones; and whenever they are full, it goes on from their last half, read anew.
    While tokens are drawn the model is in evaluation mode; afterwards it is as it was.

    Args:
        temperature, top_k, top_p: as in `next_token_probabilities`; temperature 0 takes the most probable token.
        seed: of the draws, on any device; None draws from torch's global generator.

    Raises:
        ArgumentError: an empty prompt, or an option breaks its rule; at the call, before anything is drawn.

    Example:
        >>> import torch
        >>> _ = torch.manual_seed(0)
        >>> model = GPT(vocab_size=4, embed_dim=4, num_heads=2, num_layers=2)
        >>> len(list(sample(model, [0, 1], max_new_tokens=100, seed=1)))
        100
    """
    require_gpt("model", model)
    prompt = _prompt(ids)
    require(len(prompt) > 0, "ids", "hold at least one token", "an empty prompt", "begin with the end-of-text token")
    V = model.config.vocab_size
    outside = [id for id in prompt if not 0 <= id < V]
    require(not outside, "ids", f"be in [0, {V})", outside[:1])
    require_sizes(max_new_tokens=max_new_tokens, least=0)
    _check_options(temperature, top_k, top_p)
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    return _draw(model, prompt, max_new_tokens, temperature, top_k, top_p, generator, frozenset(stop_ids))


def _prompt(ids: object) -> list[int]:
    """The ids of a prompt.

    Raises:
        ArgumentError: a Tensor with more than one dimension.
        ArgumentTypeError: they are no ids.
    """
    if isinstance(ids, Tensor):
        require(ids.dim() == 1, "ids", "be [T], one prompt", tuple(ids.shape))
        ids = ids.tolist()
    if isinstance(ids, str) or not isinstance(ids, Sequence | np.ndarray):
        raise ArgumentTypeError(f"ids must be a list of token ids, got {type(ids).__name__}: encode the text")
    try:
        return [operator.index(id) for id in ids]
    except TypeError:
        raise ArgumentTypeError("ids must be a list of token ids, got one with other things in it") from None


def next_token_probabilities(
    logits: Tensor,  # [..., V]
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
) -> Tensor:
    """The distribution [..., V], float32, that `sample` draws from.

    softmax(logits / temperature) on the `top_k` largest logits; then on the fewest of the most probable tokens whose
    probabilities reach `top_p` together. Temperature 0 puts everything on the largest logit.

    Raises:
        ArgumentError: temperature < 0, top_k < 1, or top_p outside (0, 1].

    Source: Holtzman et al., "The Curious Case of Neural Text Degeneration" (2019), for top-p.
    """
    _check_options(temperature, top_k, top_p)
    logits = logits.float()
    if temperature == 0:
        return torch.zeros_like(logits).scatter_(-1, logits.argmax(-1, keepdim=True), 1.0)
    logits = logits / temperature
    if top_k is not None and top_k < logits.shape[-1]:
        values, places = logits.topk(top_k)
        logits = torch.full_like(logits, -torch.inf).scatter_(-1, places, values)
    probabilities = logits.softmax(-1)
    if top_p is not None and top_p < 1:
        values, places = probabilities.sort(descending=True, stable=True)
        before = values.cumsum(-1) - values  # of the tokens that are more probable: the first is always kept
        probabilities = torch.zeros_like(probabilities).scatter_(-1, places, values.where(before < top_p, 0))
        probabilities = probabilities / probabilities.sum(-1, keepdim=True)
    return probabilities


class TokenStream:
    """The text of tokens as they come; a character whose bytes are not complete yet is held back.

        stream = TokenStream(tokenizer, prompt_ids)
        for token in sample(model, prompt_ids, max_new_tokens=100):
            print(stream.add(token), end="", flush=True)
        print(stream.finish())

    Everything returned, joined, is the text of all tokens decoded at once (behind the prompt's).
    """

    def __init__(self, tokenizer: "Tokenizer", prompt_ids: Sequence[int] = ()) -> None:
        self._decode = tokenizer.decode
        self._ids = list(prompt_ids)  # context: some decoders look at the tokens before
        self._returned = len(self._complete())  # characters of the context's text

    def add(self, token: int) -> str:
        """The text that `token` completes; may be empty."""
        self._ids.append(token)
        text = self._complete()
        new = text[self._returned :]
        self._returned = max(self._returned, len(text))
        if len(self._ids) > 1 and text == self._decode(
            self._ids
        ):  # nothing is held back: one token of context is enough
            self._ids = self._ids[-1:]
            self._returned = len(self._decode(self._ids))
        return new

    def finish(self) -> str:
        """What is still held back: the bytes of a character that was never completed, as U+FFFD."""
        text: str = self._decode(self._ids)
        new, self._returned = text[self._returned :], len(text)
        return new

    def _complete(self) -> str:
        # A decoder writes an unfinished character at the end as one U+FFFD, and a following token may replace it.
        text: str = self._decode(self._ids)
        return text.removesuffix(_REPLACEMENT)


def _draw(
    model: GPT,
    window: list[int],
    max_new_tokens: int,
    temperature: float,
    top_k: int | None,
    top_p: float | None,
    generator: torch.Generator | None,
    stop_ids: frozenset[int],
) -> Iterator[int]:
    longest = model.config.max_seq_len
    window = window[-longest:]
    was_training = model.training
    model.eval()
    try:
        cache, unread = _new_cache(model), window
        for _ in range(max_new_tokens):
            if cache.length + len(unread) > longest:
                window = window[-max(1, longest // 2) :]
                cache, unread = _new_cache(model), window
            logits = _read(model, unread, cache)
            probabilities = next_token_probabilities(logits, temperature=temperature, top_k=top_k, top_p=top_p)
            if temperature == 0:
                token = int(probabilities.argmax())
            else:
                token = int(torch.multinomial(probabilities, 1, generator=generator))
            if token in stop_ids:
                return
            yield token
            window.append(token)
            unread = [token]
    finally:
        model.train(was_training)


def _new_cache(model: GPT) -> KVCache:
    weight = model.model.layers[0].get_parameter("self_attn.k_proj.weight")
    return KVCache(model.config, device=weight.device, dtype=weight.dtype)


@torch.inference_mode()
def _read(model: GPT, ids: list[int], cache: KVCache) -> Tensor:
    """Logits [V] after `ids`, on the CPU, so that a seed draws the same wherever the model is."""
    hidden = model.hidden(torch.tensor([ids], device=cache.keys.device), cache=cache)
    logits: Tensor = model.lm_head(hidden[:, -1])
    return logits[0].float().cpu()


def _check_options(temperature: float, top_k: int | None, top_p: float | None) -> None:
    if not 0 <= temperature < float("inf"):
        raise ArgumentError(f"temperature must be finite and >= 0, got {temperature}: 0 takes the most probable token")
    require(top_k is None or top_k >= 1, "top_k", "be >= 1", top_k, "None is off")
    require(top_p is None or 0 < top_p <= 1, "top_p", "be in (0, 1]", top_p, "None is off")
