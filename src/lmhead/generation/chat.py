"""A conversation with a model: the history, the answers as they come, and what is dropped once the context is full."""

from collections.abc import Callable, Collection, Generator, Iterator
from typing import Any, final

from lmhead.errors import InputError
from lmhead.generation.chat_prompt import ChatPrompt
from lmhead.generation.sampling import TextStream, sample
from lmhead.generation.vocabulary import token_ids
from lmhead.models.causal_lm import CausalLM

Message = dict[str, Any]


@final
class Chat:
    """The messages so far, and what the model says next.

    Args:
        stop_ids: every id that ends an answer.
        max_new_tokens: of an answer.
        seed: of the first answer's draws; each further one has the next.
        draw: gives the tokens of an answer, as `sample` does.
        options: of `sample`: temperature, top_k, top_p.
    """

    def __init__(
        self,
        model: CausalLM,
        prompt: ChatPrompt,
        *,
        stop_ids: Collection[int],
        max_new_tokens: int,
        seed: int,
        draw: Callable[..., Iterator[int]] = sample,
        **options: Any,
    ) -> None:
        self.model, self.prompt, self._draw = model, prompt, draw
        self.stop_ids, self.max_new_tokens = tuple(stop_ids), max_new_tokens
        self._seed, self._options = seed, options
        self._vocabulary = token_ids(prompt.backend)
        self.messages: list[Message] = []
        self.dropped = 0  # messages that the last question pushed out of the context
        self.cut_off = False  # the last answer came to the end of the context

    def set_system(self, text: str) -> None:
        """Let the conversation have this system prompt; none where the text is empty."""
        rest = self._after_system()
        self.messages = [*([{"role": "system", "content": text}] if text else []), *rest]

    def reset(self) -> None:
        """Forget all but the system prompt."""
        self.messages = self.messages[: len(self.messages) - len(self._after_system())]

    def answer(self, question: str) -> Generator[str, None, None]:
        """The text of the answer, piece by piece. Question and answer are remembered, the answer as far as it came.

        Raises:
            InputError: the question alone does not fit into the context. It is forgotten.
            TemplateError: the template refuses the conversation. The question is forgotten.
        """
        before = list(self.messages)
        self.messages.append({"role": "user", "content": question})
        try:
            ids = self._fitted()
        except ValueError:
            self.messages = before
            raise
        room = self.context - len(ids) + 1  # the last token is never read
        tokens = self._draw(
            self.model,
            ids,
            max_new_tokens=min(room, self.max_new_tokens),
            stop_ids=self.stop_ids,
            seed=self._seed,
            vocabulary=self._vocabulary,
            **self._options,
        )
        self._seed = (self._seed + 1) % 2**63
        return self._spoken(tokens, room)

    def _spoken(self, tokens: Iterator[int], room: int) -> Generator[str, None, None]:
        stream = TextStream(self.prompt.backend)
        said: list[str] = []
        count = 0
        try:
            for token in tokens:
                count += 1
                said.append(stream.add(token))
                yield said[-1]
            said.append(stream.finish())
            yield said[-1]
        finally:
            self.cut_off = count == room
            self.messages.append({"role": "assistant", "content": "".join(said)})

    @property
    def context(self) -> int:
        """How many tokens the model holds."""
        return self.model.max_seq_len

    def _after_system(self) -> list[Message]:
        begins = 1 if self.messages and self.messages[0]["role"] == "system" else 0
        return self.messages[begins:]

    def _fitted(self) -> list[int]:
        """The ids of the conversation, its oldest turns dropped until there is room for an answer."""
        room = min(self.max_new_tokens, self.context // 4)
        self.dropped = 0
        while True:
            ids = self.prompt.ids(self.messages)
            if len(ids) + room <= self.context:
                return ids
            rest = self._after_system()
            later = next((at for at, message in enumerate(rest) if at and message["role"] == "user"), None)
            if later is None:
                if len(ids) <= self.context:
                    return ids
                system = "the system prompt and " if len(rest) < len(self.messages) else ""
                raise InputError(
                    f"the message must fit into the model's context of {self.context} tokens, got {len(ids)} with "
                    f"{system}what the template adds: shorten {'one of them' if system else 'it'}"
                )
            del self.messages[len(self.messages) - len(rest) : len(self.messages) - len(rest) + later]
            self.dropped += later
