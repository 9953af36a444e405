"""The header of a record: its version, who made it, and whatever is to be told of it."""

from typing import Any

from lmhead.record.record import RECORD_VERSION, Line
from lmhead.version import __version__


def header(**keys: Any) -> Line:
    """A header of this library's with further keys; those whose value is None are left out."""
    return {
        "record": RECORD_VERSION,
        "made_by": f"lmhead {__version__}",
        **{name: value for name, value in keys.items() if value is not None},
    }
