"""Fields of a record's lines: which there are, what each must be, and what is wrong with a line. Rows: token_row.py.

Fields that are not named here may stand in any line, and nothing is asked of them.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from lmhead.shown import shown_value

_MOST: Final = 2**53  # counts and numbers that every program reads alike
_LONGEST: Final = 60  # characters of a value in a message


@dataclass(frozen=True, slots=True)
class _Rule:
    """What a value must be, in words."""

    words: str
    holds: Callable[[Any], bool]


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < _MOST


def _is_count_or_null(value: Any) -> bool:
    return value is None or (type(value) is int and 0 <= value < _MOST)


def is_number_or_null(value: Any) -> bool:
    """NaN and infinities included: a run that diverged has them."""
    kind = type(value)
    return kind is float or value is None or (kind is int and -_MOST < value < _MOST)


def _is_list(value: Any, each: Callable[[Any], bool]) -> bool:
    return isinstance(value, list) and all(map(each, value))


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_object(value: Any) -> bool:
    return isinstance(value, dict)


def _is_plain(value: Any) -> bool:
    """Without NaN, which is no JSON, and not deeper than it can be written again."""
    try:
        json.dumps(value, allow_nan=False)
    except (ValueError, RecursionError):
        return False
    return True


_STEP: Final = _Rule("a count", _is_count)
_COUNT: Final = _Rule("a count or null", _is_count_or_null)
_NUMBER: Final = _Rule("a number or null", is_number_or_null)
_TEXT: Final = _Rule("a text", _is_text)
_TEXTS: Final = _Rule("a list of texts", lambda value: _is_list(value, _is_text))
_COUNTS: Final = _Rule("a list of counts", lambda value: _is_list(value, _is_count))
_OBJECT: Final = _Rule("an object", _is_object)
_OBJECTS: Final = _Rule("a list of objects", lambda value: _is_list(value, _is_object))
_PLAIN: Final = _Rule("an object without NaN", lambda value: _is_object(value) and _is_plain(value))

FIELDS: Final[dict[str, dict[str, _Rule]]] = {  # kind of a line -> field -> rule
    "header": {
        **dict.fromkeys(("made_by", "started", "title"), _TEXT),
        **dict.fromkeys(("models", "data", "notes"), _TEXTS),
        **dict.fromkeys(("model", "config", "environment", "data_card"), _OBJECT),
        **dict.fromkeys(("tokenizer", "against_tokenizer"), _PLAIN),
    },
    "step": {
        "step": _STEP,
        **dict.fromkeys(("loss", "grad_norm", "rate", "seconds", "tokens_per_second", "accuracy", "entropy"), _NUMBER),
        **dict.fromkeys(("total_loss", "mtp_grad_norm", *(f"mtp_loss_{k}" for k in range(1, 5))), _NUMBER),
        **dict.fromkeys(("tokens", "read"), _COUNT),
        "sources": _OBJECT,
    },
    "evaluation": {
        "step": _STEP,
        **dict.fromkeys(("evaluation", "set"), _TEXT),
        **dict.fromkeys(("nll", "bits_per_byte", "perplexity", "accuracy", "entropy"), _NUMBER),
        **dict.fromkeys(("accepted_length", "sampled_length", "decoded_length"), _NUMBER),
        **dict.fromkeys(("tokens", "bytes", "window", "stride", "answers", "exact"), _COUNT),
        "classes": _OBJECT,
        "depths": _OBJECTS,
    },
    "sample": {"step": _STEP, "sample": _TEXT, "prompt": _TEXT},
    "finding": {
        **dict.fromkeys(("code", "message", "remedy"), _TEXT),
        "severity": _Rule("error, warning or info", lambda value: value in ("error", "warning", "info")),
        "count": _COUNT,
        "rows": _COUNTS,
        "places": _TEXTS,
    },
}
_REQUIRED: Final = {
    "step": ("step",),
    "evaluation": ("step",),
    "sample": ("step",),
    "finding": ("code", "severity", "message"),
}


def fault_of(kind: str, line: Mapping[str, Any]) -> str | None:
    """What is wrong with a line of a kind, in a sentence; None where nothing is. Of a finding its object is asked."""
    for name in _REQUIRED.get(kind, ()):
        if name not in line:
            return f'"{name}" must be in a line of this kind ({kind}), got {named(line)}'
    rules = FIELDS.get(kind, {})
    for name, value in line.items():
        rule = rules.get(name)
        if rule is not None and not rule.holds(value):
            return f'"{name}" must be {rule.words}, got {_short(value)}'
    if kind == "finding" and not _is_plain(line):
        return "a finding must be without NaN and not too deep"
    return None


def named(line: Mapping[str, Any]) -> str:
    """The first fields of a line, for a message."""
    more = f" and {len(line) - 5} more" if len(line) > 5 else ""
    return ", ".join(map(shown_value, list(line)[:5])) + more


def _short(value: Any) -> str:
    said = shown_value(value)
    return said if len(said) <= _LONGEST else f"{said[:_LONGEST]}..."
