"""Findings about columns and messages' keys that nothing reads: each once, with the nearest that is read."""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Final

from lmhead.data.formats.unread import OWN_KEYS, Unread
from lmhead.data.rows.format_columns import READ
from lmhead.data.rows.row_error import did_you_mean
from lmhead.inspection.finding import Finding, counted_rows
from lmhead.options import option

CODES: Final = ("columns_not_read", "keys_not_read", "media_not_read")
_MEDIA: Final = ("image", "images", "video", "videos", "audio", "audios", "pixel_values", "image_url")
_REASONING: Final = "reasoning_content"
_LISTED: Final = 12  # names
_SHOWN: Final = 5  # places


def unread_findings(unread: Unread) -> Iterator[Finding | None]:
    """A finding for columns, one for keys, and one for pictures that a model of text never sees."""
    media = [name for name in unread.columns if name in _MEDIA]
    yield _media(unread, media)
    yield _named(
        "columns_not_read",
        "columns that nothing reads",
        "rows",
        Counter({name: count for name, count in unread.columns.items() if name not in media}),
        READ,
        unread,
        f"rename one that is meant ({option('columns', 'messages=dialogue')}); what is not for training may stay",
    )
    yield _named(
        "keys_not_read",
        "keys of messages that neither lmhead nor the chat template reads",
        "messages",
        unread.keys,
        OWN_KEYS,
        unread,
        "rename one that is meant, or take a template that renders it; what is not for training may stay",
    )


def _media(unread: Unread, names: list[str]) -> Finding | None:
    if not names:
        return None
    count = max(unread.columns[name] for name in names)
    return Finding(
        code="media_not_read",
        severity="error",
        count=count,
        places=_places(unread, names, ""),
        message=f"{', '.join(names)} of {counted_rows(count)}: a model of text is never shown them",
        remedy="what a text says of a picture cannot be learnt without it: leave such rows out, or take a tool that "
        "trains models which see",
    )


def _named(
    code: str, what: str, unit: str, counts: Counter[str], known: Iterable[str], unread: Unread, remedy: str
) -> Finding | None:
    """A finding about names that nothing reads; one that is near a name that is read, and is missing, may be meant."""
    if not counts:
        return None
    there = {*unread.read, *counts}
    near = {name: _near(name, [each for each in known if each not in there]) for name in counts}
    ranked = sorted(counts, key=lambda name: (-counts[name], name))  # keys of one message are met in no order
    told = [_told(name, counts[name], unit, near[name]) for name in ranked[:_LISTED]]
    more = [f"{len(counts) - _LISTED:,} others"] if len(counts) > _LISTED else []
    return Finding(
        code=code,
        severity="warning" if any(near.values()) else "info",
        count=len(counts),
        places=_places(unread, ranked, "" if unit == "rows" else "."),
        message=f"{what}: {', '.join([*told, *more])}",
        remedy=remedy,
    )


def _told(name: str, count: int, unit: str, near: str | None) -> str:
    """tool (120 rows, did you mean tools?)"""
    counted = f"{count:,} {unit if count > 1 else unit[:-1]}"
    return f"{name or 'one without a name'} ({counted}{f', did you mean {near}?' if near else ''})"


def _near(name: str, known: list[str]) -> str | None:
    """The name that may be meant: a reasoning by any name, else the one that is spelt most like it."""
    if _REASONING in known and any(word in name.lower() for word in ("reasoning", "thinking", "thought")):
        return _REASONING
    return did_you_mean(name, known)


def _places(unread: Unread, names: Iterable[str], prefix: str) -> tuple[str, ...]:
    """Where each of the names was met first."""
    return tuple(dict.fromkeys(unread.places[prefix + name] for name in names))[:_SHOWN]
