"""A string of a row, which UTF-8 can write."""

from typing import Any

from lmhead.data.rows.row import Place
from lmhead.data.rows.row_error import broken
from lmhead.options import option
from lmhead.shown import shown_value


def checked_text(place: Place, name: str, text: Any) -> str:
    """The string, which UTF-8 can write.

    Raises:
        InputError: it is no string, or holds half of a surrogate pair.
    """
    if not isinstance(text, str):
        wanted = "write what the model is to read or to write"
        remedy = "write it in quotes, as a text" if isinstance(text, int) else wanted
        raise broken(place, name, "be a string", shown_value(text), remedy)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        half = f"\\u{ord(text[error.start]):04x} at character {error.start}, half of a pair"
        raise broken(
            place, name, "be Unicode text", half, f"mend the row, leave it out, or give {option('errors', 'replace')}"
        ) from None
    return text
