"""Sampling one token after the other, and the text of tokens as they come.

Not here: batches of prompts, beams, speculative decoding.
"""

import operator
from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import takewhile
from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from torch import Tensor

from lmhead.errors import ArgumentError, ArgumentTypeError, NonFiniteError, require
from lmhead.models.causal_lm import CausalLM, require_causal_lm
from lmhead.ops.checks import require_sizes
from lmhead.options import option

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# Logits near 16 are 1e-6 apart in float32: divided by less than this, their last bits would decide. vLLM's limit too.
_GREEDY_BELOW: Final = 1e-5


def sample(
    model: CausalLM,
    ids: Sequence[int] | Tensor,  # [T]
    *,
    max_new_tokens: int,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    seed: int | None = None,
    stop_ids: Collection[int] = (),
    vocabulary: Collection[int] | None = None,
) -> Iterator[int]:
    """Token ids that continue `ids`, one by one, read through a key-value cache.

    It ends after `max_new_tokens`, or at one of `stop_ids`, which is not yielded. The model sees at most max_seq_len
    ids: of a longer prompt the last ones; and whenever they are full, it goes on from their last half, read anew.
    While tokens are drawn the model is in evaluation mode; afterwards it is as it was.

    Args:
        temperature, top_k, top_p: as in `next_token_probabilities`; temperature 0 takes the most probable token.
        seed: of the draws, on any device; None draws from torch's global generator.
        vocabulary: the ids that are tokens, `token_ids(tokenizer)` say: no other is drawn, though the model's table may
            have rows for more. None: all.

    Raises:
        ArgumentError: an empty prompt, or an option breaks its rule; at the call, before anything is drawn.
        NonFiniteError: the model's logits are NaN or infinite; when the token is drawn.

    Example:
        >>> import torch
        >>> _ = torch.manual_seed(0)
        >>> from lmhead import GPT
        >>> model = GPT(vocab_size=4, embed_dim=4, num_heads=2, num_layers=2)
        >>> len(list(sample(model, [0, 1], max_new_tokens=100, seed=1)))
        100
    """
    require_causal_lm("model", model)
    prompt = _prompt(ids)
    require(len(prompt) > 0, "ids", "hold at least one token", "an empty prompt", "begin with the end-of-text token")
    V = model.vocab_size
    outside = [id for id in prompt if not 0 <= id < V]
    require(not outside, "ids", f"be in [0, {V})", outside[:1])
    require_sizes(max_new_tokens=max_new_tokens, least=0)
    _check_options(temperature, top_k, top_p)
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    banned = None if vocabulary is None else _outside(vocabulary, V)

    def next_token(logits: Tensor) -> int:
        _require_numbers(logits)
        if banned is not None:
            logits = logits.masked_fill(banned, -torch.inf)
        probabilities = next_token_probabilities(logits, temperature=temperature, top_k=top_k, top_p=top_p)
        if temperature == 0:
            return int(probabilities.argmax())
        return int(torch.multinomial(probabilities, 1, generator=generator))

    return _draw(model, prompt, max_new_tokens, next_token, frozenset(stop_ids))


def _outside(vocabulary: Collection[int], vocab_size: int) -> Tensor | None:
    """[V], True where an id is none of the vocabulary; None where all are in it."""
    inside = [id for id in vocabulary if 0 <= id < vocab_size]
    require(len(inside) > 0, "vocabulary", f"hold an id in [0, {vocab_size})", f"{len(vocabulary)} others")
    banned = torch.ones(vocab_size, dtype=torch.bool)
    banned[inside] = False
    return banned if banned.any() else None


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
    probabilities reach `top_p` together, at least one. A temperature below 1e-5 is 0: everything on the largest logit,
    on the first of equal ones. A logit of -inf is a token that is never taken.

    Raises:
        ArgumentError: temperature < 0, top_k < 1, or top_p outside (0, 1].
        NonFiniteError: a logit is NaN or +inf, or all of a row are -inf.

    Source: Holtzman et al., "The Curious Case of Neural Text Degeneration" (2019), for top-p.
    """
    _check_options(temperature, top_k, top_p)
    _require_numbers(logits)
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    if temperature < _GREEDY_BELOW or top_k == 1:
        return torch.zeros_like(logits, dtype=torch.float32).scatter_(-1, logits.argmax(-1, keepdim=True), 1.0)
    if top_k is not None and top_k < logits.shape[-1]:
        values, places = logits.topk(top_k)
        logits = torch.full_like(logits, -torch.inf).scatter_(-1, places, values)
    hottest = torch.finfo(logits.dtype).max  # divided by infinity, what is masked would be 0 times infinity
    probabilities = ((logits - logits.amax(-1, keepdim=True)) / min(temperature, hottest)).softmax(-1)
    if top_p is not None and top_p < 1:
        values, places = probabilities.sort(descending=True, stable=True)
        kept = values.cumsum(-1) - values < top_p  # the tokens that are more probable do not reach it
        kept[..., 0] = True  # however small top_p is: a float32 may not hold it
        probabilities = torch.zeros_like(probabilities).scatter_(-1, places, values.where(kept, 0))
        probabilities = probabilities / probabilities.sum(-1, keepdim=True)
    return probabilities.float()


def _require_numbers(logits: Tensor) -> None:
    """Refuse rows that no distribution is of. A logit of -inf is a token that is never taken."""
    broken = logits.isnan() | logits.isposinf()
    if not broken.any() and not (logits.amax(-1) == -torch.inf).any():
        return
    got = f"{logits[broken][0]} for {int(broken.sum())} of {logits.numel()}" if broken.any() else "-inf for all"
    raise NonFiniteError(
        f"the logits of the next token must be finite, got {got}: the weights are damaged, or their training diverged; "
        "take an earlier checkpoint"
    )


class TextStream:
    """The text of tokens as they come; what a following token may still change is held back: half a character, say.

        stream = TextStream(tokenizer, prompt_ids)
        for token in sample(model, prompt_ids, max_new_tokens=100):
            print(stream.add(token), end="", flush=True)
        print(stream.finish())

    Everything returned, joined, is the text of all tokens decoded at once, special ones skipped, behind the text of the
    prompt as far as both agree: a character that the prompt left unfinished comes whole.
    """

    def __init__(self, tokenizer: "Tokenizer", prompt_ids: Sequence[int] = ()) -> None:
        from lmhead.generation.streamed_decoder import StreamedDecoder  # here: `import lmhead` needs torch alone

        self._decoder = StreamedDecoder(tokenizer)
        decided = "".join(map(self._decoder.push, prompt_ids))
        text = tokenizer.decode(list(prompt_ids)) if len(prompt_ids) else ""
        self._known = text[len(decided) :]  # of the prompt's text, what is still held back: it is not said again

    def add(self, token: int) -> str:
        """The text that `token` decides; may be empty."""
        return self._new(self._decoder.push(token))

    def finish(self) -> str:
        """What is still held back. The bytes of a character that was never completed are U+FFFD."""
        return self._new(self._decoder.end())

    def _new(self, text: str) -> str:
        """`text` without what it has in common with the prompt's."""
        same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(text, self._known, strict=False)))
        self._known = self._known[same:] if same == len(text) else ""
        return text[same:]


def _draw(
    model: CausalLM,
    window: list[int],
    max_new_tokens: int,
    next_token: Callable[[Tensor], int],  # of logits [V]
    stop_ids: frozenset[int],
) -> Iterator[int]:
    longest = model.max_seq_len
    window = window[-longest:]
    room = min(longest, len(window) + max_new_tokens)  # of a long context, as much as is needed
    was_training = model.training
    model.eval()
    try:
        reader, read, unread = model.reader(room), 0, window
        for _ in range(max_new_tokens):
            if read + len(unread) > longest:
                window = window[-max(1, longest // 2) :]
                reader, read, unread = model.reader(room), 0, window
            token = next_token(reader.read(unread))
            read += len(unread)
            if token in stop_ids:
                return
            yield token
            window.append(token)
            unread = [token]
    finally:
        model.train(was_training)


def _check_options(temperature: float, top_k: int | None, top_p: float | None) -> None:
    if not 0 <= temperature < float("inf"):
        raise ArgumentError(
            f"{option('temperature')} must be finite and >= 0, got {temperature}: 0 takes the most probable token"
        )
    require(top_k is None or top_k >= 1, option("top_k"), "be >= 1", top_k, "None is off")
    require(top_p is None or 0 < top_p <= 1, option("top_p"), "be in (0, 1]", top_p, "None is off")
