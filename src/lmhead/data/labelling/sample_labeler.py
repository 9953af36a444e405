"""SampleLabeler: a sample of any of the four forms -> an Example, or a ConversationError that begins with its place.

What a chat template renders goes through ChatLabeler. Plain text stays plain here: a control token that is written in
it is text, as at inference, and is noted.
"""

from collections.abc import Sequence
from typing import Final, NoReturn

import numpy as np
from tokenizers import Tokenizer

from lmhead.data.formats.sample import ChatSample, CompletionSample, Sample, TextSample, TokenSample
from lmhead.data.labelling.token_rows import token_example
from lmhead.data.tokenizer.plain_text import PlainText
from lmhead.errors import ArgumentError, ArgumentTypeError, ConversationError, require
from lmhead.labels.chat.labeler import ChatLabeler
from lmhead.labels.chat.max_length import CHAT_OVERFLOWS, ChatOverflow, fitted
from lmhead.labels.conversation.thoughts import stretches_behind
from lmhead.labels.example import Example, MessageSpan, Note
from lmhead.labels.id_count import id_count
from lmhead.labels.targets import Reason
from lmhead.options import option

_UNCLOSED: Final = "the completion has an opening tag that nothing closes: what follows is not learnt, as reasoning"


class SampleLabeler:
    """Labels samples: `SampleLabeler(chat, backend, end_id=0)(sample)` is an Example.

    Args:
        chat: labels conversations; it has its own max_length and overflow.
        backend: the tokenizer of everything that is no conversation.
        end_id: what ends a text and a completion, and is learnt there; None: nothing does.
        max_length: tokens of what is no conversation; None: no limit.
        overflow: what becomes of what is longer.

    Raises:
        ArgumentError: an option breaks its rule.
    """

    def __init__(
        self,
        chat: ChatLabeler,
        backend: Tokenizer,
        *,
        end_id: int | None,
        max_length: int | None = None,
        overflow: ChatOverflow = "refuse",
    ) -> None:
        size = id_count(backend)
        require(end_id is None or 0 <= end_id < size, "end_id", f"be an id below {size}, or None", end_id)
        require(max_length is None or max_length >= 2, option("max_length"), "be >= 2 tokens or None", max_length)
        require(overflow in CHAT_OVERFLOWS, "overflow", f"be one of {', '.join(CHAT_OVERFLOWS)}", repr(overflow))
        self._chat = chat
        self._size = size
        self._end = [] if end_id is None else [end_id]
        self._max_length = max_length
        self._overflow: ChatOverflow = overflow
        self._text = PlainText(backend)

    def __call__(self, sample: Sample) -> Example:
        """The Example of one sample.

        Raises:
            ConversationError: it cannot be labelled; `kind` says why in one word, the message begins with the place.
        """
        try:
            match sample:
                case ChatSample():
                    return self._conversation(sample)
                case CompletionSample():
                    return self._completion(sample)
                case TextSample():
                    return self._whole(sample)
                case TokenSample():
                    return self._fitted(token_example(sample, self._size), [], "input_ids")
        except ConversationError as error:
            raise type(error)(f"{sample.place}: {error.message.marked}", kind=error.kind) from error
        except (ArgumentError, ArgumentTypeError) as error:  # of what the row holds
            raise ConversationError(f"{sample.place}: {error.message.marked}", kind="format") from error
        except RecursionError:
            message = f"{sample.place} is nested too deeply: leave the row out"
            raise ConversationError(message, kind="format") from None

    def whole(self, sample: ChatSample) -> Example:
        """A conversation of any length, to be looked at: there may be nothing to learn in it.

        Raises:
            ConversationError: it cannot be labelled.
        """
        return self._chat.whole(sample.messages, sample.tools, template_arguments=sample.template_arguments)

    def _conversation(self, sample: ChatSample) -> Example:
        return self._chat(sample.messages, sample.tools, template_arguments=sample.template_arguments)

    def _completion(self, sample: CompletionSample) -> Example:
        ids: list[int] = []
        reasons: list[Reason] = []
        notes: list[Note] = []
        before = sample.prompt
        for piece, reason in self._pieces(sample):
            asked, own, apart = self._text.continued(before, piece)
            if before == sample.prompt:
                ids = self._text.prefix + asked
                start = len(ids)
                reasons = [Reason.PROMPT] * start
            ids, reasons, before = ids + own, reasons + [reason] * len(own), before + piece
            notes += [note for note in apart if note not in notes]
        if not ids or len(ids) == start:
            _refuse_empty("completion")
        unclosed = reasons[-1] == Reason.REASONING and not _ends_closed(sample)
        if unclosed:
            notes.append(Note(kind="reasoning_guessed", text=_UNCLOSED))
        ids, reasons = ids + self._end, reasons + [Reason.REASONING if unclosed else Reason.SCORED] * len(self._end)
        reason_of_tokens = np.array(reasons, np.uint8)
        example = Example(
            ids=np.array(ids, np.int32), trained=reason_of_tokens == int(Reason.SCORED), reason=reason_of_tokens
        )
        notes += self._text.control_notes(sample.prompt + sample.completion)
        answer = MessageSpan(index=0, role="completion", start=start, stop=len(example))
        return self._fitted(_noted(example, notes), [answer], "prompt and completion")

    def _pieces(self, sample: CompletionSample) -> list[tuple[str, Reason]]:
        """The completion, cut where its thoughts begin and end if these are not learnt."""
        text = sample.completion
        if self._chat.train_reasoning:
            return [(text, Reason.SCORED)]
        pieces, end = [], 0
        for start, stop, _ in stretches_behind(sample.prompt, text):
            pieces += [(text[end:start], Reason.SCORED), (text[start:stop], Reason.REASONING)]
            end = stop
        return [(piece, reason) for piece, reason in [*pieces, (text[end:], Reason.SCORED)] if piece]

    def _whole(self, sample: TextSample) -> Example:
        prefix, ids = self._text.prefix, self._text.ids(sample.text)
        if len(ids + self._end) < 2 and not prefix:
            _refuse_empty("text")
        trained = [False] * len(prefix) + [True] * (len(ids) + len(self._end))
        example = Example.of(prefix + ids + self._end, trained=trained, reason=Reason.SCAFFOLD)
        return self._fitted(_noted(example, self._text.control_notes(sample.text)), [], "text")

    def _fitted(self, example: Example, turns: list[MessageSpan], name: str) -> Example:
        return fitted(example, self._max_length, self._overflow, turns, name=name)


def _ends_closed(sample: CompletionSample) -> bool:
    """Whether the last thought of a completion has its closing tag."""
    return stretches_behind(sample.prompt, sample.completion)[-1][2]


def _noted(example: Example, notes: Sequence[Note]) -> Example:
    return Example(ids=example.ids, trained=example.trained, reason=example.reason, notes=tuple(notes))


def _refuse_empty(name: str) -> NoReturn:
    raise ConversationError(
        f"{name} must hold something to learn, got no token that another one predicts: leave the row out",
        kind="nothing_to_train",
    )
