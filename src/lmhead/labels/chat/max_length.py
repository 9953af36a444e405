"""Truncation: what becomes of a conversation that is longer than `max_length`."""

from dataclasses import replace
from typing import Final, Literal

import numpy as np

from lmhead.errors import ConversationError
from lmhead.labels.example import Example, MessageSpan, Note
from lmhead.labels.targets import Reason
from lmhead.options import option

ChatOverflow = Literal["refuse", "truncate_end", "truncate_start"]
CHAT_OVERFLOWS: Final[tuple[ChatOverflow, ...]] = ("refuse", "truncate_end", "truncate_start")


def fitted(
    example: Example,
    max_length: int | None,
    overflow: ChatOverflow,
    turns: list[MessageSpan],
    *,
    name: str = "messages",
) -> Example:
    """The example in at most `max_length` tokens.

    `truncate_end` keeps the first tokens; an answer that is cut is learnt as far as it goes. `truncate_start` keeps the
    last ones; an answer whose beginning is gone is not learnt, its tokens have the reason TRUNCATED.

    Args:
        turns: spans of the turns that are learnt.
        name: of the text, for the error.

    Raises:
        ConversationError: it is too long and that is refused, or nothing is left to learn.
    """
    T = len(example)
    if max_length is None or max_length >= T:
        return _learnable(example, example, max_length, name)
    if overflow == "refuse":
        raise ConversationError(
            f"{name} must have at most {option('max_length', max_length)} tokens, got {T}: give a larger "
            f"{option('max_length')}, or {option('overflow', 'truncate_end')} or truncate_start",
            kind="too_long",
        )
    start = 0 if overflow == "truncate_end" else T - max_length
    stop = start + max_length
    side = "last" if overflow == "truncate_end" else "first"
    note = Note(kind="truncated", text=f"the {side} {T - max_length} of {T} tokens were cut off")
    return _learnable(_cut(example, start, stop, turns, note), example, max_length, name)


def _cut(example: Example, start: int, stop: int, turns: list[MessageSpan], note: Note) -> Example:
    reason = example.reason.copy()
    for turn in turns:
        if turn.start < start < turn.stop:
            rest = reason[start : turn.stop]
            rest[rest == int(Reason.SCORED)] = int(Reason.TRUNCATED)
    reason = reason[start:stop]
    spans = [
        replace(span, start=max(span.start - start, 0), stop=min(span.stop, stop) - start)
        for span in example.spans
        if span.start < stop and span.stop > start
    ]
    return Example(
        ids=example.ids[start:stop],
        trained=reason == int(Reason.SCORED),
        reason=reason,
        weight=None if example.weight is None else example.weight[start:stop],
        spans=tuple(spans),
        notes=(*example.notes, note),
    )


def _learnable(example: Example, whole: Example, max_length: int | None, name: str) -> Example:
    """The example, if anything in it is predicted: the first token of a row is not."""
    if example.trained[1:].any():
        return example
    trained = np.flatnonzero(whole.trained)
    if not len(trained):
        masked = bool((whole.reason == int(Reason.REASONING)).any())
        why = (
            f"reasoning alone, and {option('train_reasoning', False)} masks all of it: leave the row out, or give "
            f"{option('train_reasoning', True)}"
            if masked
            else f"no assistant's message, or none that {option('train_on')}, train and weight leave"
        )
        raise ConversationError(
            f"{name} must hold something to learn, got no token that is trained: {why}", kind="nothing_to_train"
        )
    if max_length is None:
        raise ConversationError(
            f"{name} must hold something to learn behind the first token, got that token alone: nothing predicts it",
            kind="nothing_to_train",
        )
    raise ConversationError(
        f"{name} must leave something to learn within {option('max_length', max_length)} tokens, got the first trained "
        f"token at {trained[0]} and the last at {trained[-1]} of {len(whole)}: give a larger {option('max_length')}, "
        f"or cut the other side by {option('overflow')}",
        kind="nothing_to_train",
    )
