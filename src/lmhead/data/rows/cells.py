"""What the cells of a table of text say: lists, messages, true and false, where a column cannot hold anything else.

`messages`, `conversations`, `tools` and `chat_template_kwargs` may be strings of JSON in any file; their readers load
them. Any other cell is the text that it is.
"""

import ast
import json
from collections.abc import Mapping
from typing import Any, Final

from lmhead.data.rows.format_columns import MARKS, OF_TOKENS, are_messages
from lmhead.data.rows.row import Place
from lmhead.data.rows.row_error import broken
from lmhead.labels.conversation.turn_flags import FLAGS
from lmhead.shown import shown_value

_LISTS: Final = ("input_ids", *OF_TOKENS, "history")
_MESSAGES_OR_TEXT: Final = ("prompt", "completion", "response")
_WORDS: Final = {"true": True, "false": False}


def values_of_cells(place: Place, cells: Mapping[str, str | None]) -> dict[str, Any]:
    """The cells of a row as values.

    Raises:
        InputError: a cell holds messages as Python writes them.
    """
    return {name: cell if cell is None else _value(place, name, cell) for name, cell in cells.items()}


def _value(place: Place, name: str, cell: str) -> Any:
    if name in MARKS:
        return _WORDS.get(cell.strip().lower(), cell)
    if name in FLAGS:
        return _loaded(cell.strip().lower(), cell)
    if name in _LISTS:
        return _loaded(cell, cell)
    if name in _MESSAGES_OR_TEXT and cell.lstrip().startswith("["):
        value = _loaded(cell, None)
        if are_messages(value):
            return value
        if value is None and are_messages(_literal(cell)):
            remedy = "write it with json.dumps; pandas writes what str() makes of a list"
            raise broken(place, name, "be JSON where it is a list of messages", shown_value(cell), remedy)
    return cell


def _loaded(cell: str, otherwise: Any) -> Any:
    try:
        return json.loads(cell)
    except (ValueError, RecursionError):
        return otherwise


def _literal(cell: str) -> Any:
    try:
        return ast.literal_eval(cell.strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None
