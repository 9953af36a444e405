"""What is told of conversations that cannot be labelled: counts, the first ones, and what to do."""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

from lmhead.data.labelling.outcome import Labelled, Refusal
from lmhead.options import Message, option

_LISTED: Final = 5  # refused rows that are shown
_SKIP: Final = f"leave them out with {option('on_error', 'skip')}"
_OF_TEMPLATE: Final = f"take another chat template ({option('template', 'FILE')}, or {option('template', 'chatml')})"
_REMEDIES: Final = {  # of kinds whose error names no way out
    "template": _OF_TEMPLATE,
    "not_transparent": _OF_TEMPLATE,
    "dropped_text": _OF_TEMPLATE,
    "interleaved": _OF_TEMPLATE,
}


def tell_refused(refused: Sequence[Labelled], rows: int, note: Callable[[str], None]) -> None:
    """Say how many of `rows` conversations were refused, why, and which are the first."""
    note(f"refused: {len(refused):,} of {rows:,} conversations: {kinds(refused)}")
    for row in refused[:_LISTED]:
        note(Message(f"  {_refusal(row).message.marked}"))
    if len(refused) > _LISTED:
        note(f"  and {len(refused) - _LISTED:,} more")


def stopped(refused: Sequence[Labelled], rows: int) -> Message:
    """The error of a run that does not skip them."""
    counts = Counter(_refusal(row).kind for row in refused)
    steps = dict.fromkeys(_REMEDIES[kind] for kind, _ in counts.most_common() if kind in _REMEDIES)
    first = _refusal(refused[0]).message.marked.removesuffix(".")
    skip = [] if len(refused) == rows else [_SKIP]  # where none is left there is nothing to go on with
    ways = [*steps, "mend them", *skip]
    return Message(
        f"{len(refused):,} of {rows:,} conversations cannot be labelled ({kinds(refused)}), the first: {first}; "
        f"{', or '.join(ways)}"
    )


def kinds(refused: Sequence[Labelled]) -> str:
    """How many were refused for each reason: "too_long 3, template 1"."""
    counts = Counter(_refusal(row).kind for row in refused)
    return ", ".join(f"{kind} {count:,}" for kind, count in counts.most_common())


def json_lines(refused: Sequence[Labelled]) -> str:
    """All refused rows, an object a line."""
    return "".join(_json_line(row) for row in refused)


def _json_line(row: Labelled) -> str:
    refusal = _refusal(row)
    place = {"source": row.place.source, row.place.unit: row.place.number}
    line = {**place, "kind": refusal.kind, "message": refusal.message}
    return json.dumps(line, ensure_ascii=False) + "\n"


def _refusal(row: Labelled) -> Refusal:
    assert row.refusal is not None
    return row.refusal
