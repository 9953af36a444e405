"""Files that a command may write over: new ones, empty ones, and those that it wrote before; never anybody's data."""

from pathlib import Path
from typing import Final

from lmhead.errors import require

PAGE_BEGINS: Final = b"<!doctype html>"
RECORD_BEGINS: Final = b'{"record"'


def require_own(path: Path, begins: bytes, kind: str) -> None:
    """Refuse to write a page, say (`kind`), where there is a file that does not begin as pages do.

    Raises:
        ArgumentError: there is one, or what is there is no file: a pipe, say, or /dev/stdout.
    """
    if path.is_dir():  # writing tells
        return
    name, rule, remedy = f"the {kind}", f"be a new file, or a {kind} to be written anew", "give another name"
    if not path.is_file():
        require(not path.exists(), name, rule, path, remedy)
        return
    try:
        with path.open("rb") as stream:
            there = stream.read(len(begins)).lower()
    except OSError:  # one that cannot be read: writing tells
        return
    require(there in (b"", begins), name, rule, path, remedy)
