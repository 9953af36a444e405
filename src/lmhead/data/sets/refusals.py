"""Refusals of conversations as a run tells them: counts, the first ones, and what to do, which the doctor tells too."""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

from lmhead.data.labelling.outcome import Labelled, Refusal
from lmhead.errors import RefusalKind
from lmhead.options import Message, option
from lmhead.shown import shown_json

_LISTED: Final = 5  # refused rows that are shown
_SKIP: Final = f"leave them out with {option('on_error', 'skip')}"
FILE: Final = option("template", "FILE")
CHATML: Final = option("template", "chatml")
FILE_OR_CHATML: Final = f"{FILE}, or {CHATML}"
REMEDIES: Final[dict[RefusalKind, str]] = {  # none of kinds whose errors always name a way out
    "template": f"change these rows to what the template takes, or take another ({FILE_OR_CHATML})",
    "not_transparent": f"take a template that renders texts as they are ({FILE_OR_CHATML})",
    "dropped_text": f"take a template that renders all texts ({FILE_OR_CHATML})",
    "python_text": f"take a template that writes text or JSON ({FILE_OR_CHATML})",
    "printed_block": f"write these blocks as text, or take a template that reads them ({FILE_OR_CHATML})",
    "json_twice": f"write the arguments of calls as objects, or take another template ({FILE_OR_CHATML})",
    "media": "leave these rows out: a model of text gets no features",
    "prefill": f"leave these rows out, or take a template that renders an answer in one piece ({FILE})",
    "generation_prompt": f"tell by {option('assistant_header')} what stands before an assistant's text",
    "interleaved": f"take a template that renders each turn in one piece ({FILE_OR_CHATML})",
    "tokens": "take a tokenizer that can tokenise a turn apart",
    "nothing_to_train": "leave these rows out, or look at what masks them: "
    f"train, weight and {option('train_on')}, or the labels",
}
_TOLD_BY_RUNS: Final[tuple[RefusalKind, ...]] = ("template", "not_transparent", "dropped_text", "interleaved")


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
    steps = dict.fromkeys(REMEDIES[kind] for kind, _ in counts.most_common() if kind in _TOLD_BY_RUNS)
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
    return shown_json(json.dumps(line, ensure_ascii=False)) + "\n"


def _refusal(row: Labelled) -> Refusal:
    assert row.refusal is not None
    return row.refusal
