"""Sampling one token after the other, and the text of tokens as they come.

Not here: the distribution (next_token.py), speculative decoding and batches (speculative.py), beams.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import takewhile
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lmhead.generation.next_token import DrawOptions, prompt_of
from lmhead.models.causal_lm import CausalLM, require_causal_lm
from lmhead.ops.checks import require_sizes

if TYPE_CHECKING:
    from tokenizers import Tokenizer


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
    prompt = prompt_of(ids, vocab_size=model.vocab_size)
    require_sizes(max_new_tokens=max_new_tokens, least=0)
    options = DrawOptions.of(model.vocab_size, temperature=temperature, top_k=top_k, top_p=top_p, vocabulary=vocabulary)
    generator = None if seed is None else torch.Generator().manual_seed(seed)

    def next_token(logits: Tensor) -> int:
        if options.greedy:
            return int(options.most_probable(logits))
        return int(torch.multinomial(options.probabilities(logits), 1, generator=generator))

    return _draw(model, prompt, max_new_tokens, next_token, frozenset(stop_ids))


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
