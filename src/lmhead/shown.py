"""Text as a terminal may see it: control characters, bidirectional overrides and lone surrogates escaped, `\\x1b`.

Data, file names, column names and flags are other people's text: sent raw, `ESC ]0;X BEL` renames the window, `ESC [2J`
clears it, and a right-to-left override shows a line that is not the one that was written. What is left as it is:
everything that is printed or that only joins letters. Imports nothing of the package.

Example:
    >>> shown("50 %\\x1b[2J of it\\n")
    '50 %\\\\x1b[2J of it\\n'
"""

import re
import shlex
from typing import Final

# C0 but tab and line feed, DEL, C1; Arabic letter mark, the marks and overrides of direction, the isolates; line and
# paragraph separators; surrogates, which Python makes of a byte that is not UTF-8 and which no stream can write.
_UNSAFE: Final = r"\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff"
_IN_TEXT: Final = re.compile(f"[{_UNSAFE}]")
_IN_LINE: Final = re.compile(f"[{_UNSAFE}\t\n]")
_LONGEST: Final = 60  # characters of a value that is shown
_SPACES: Final = str.maketrans({" ": "\u00b7", "\t": "\u2192", "\n": "\u21b5", "\r": "\u240d"})
_NAMED: Final = {"\t": "\\t", "\n": "\\n", "\r": "\\r"}


def shown(text: str) -> str:
    """`text` with every character escaped that a terminal would obey; lines and tabs stay."""
    return _IN_TEXT.sub(_escape, text)


def shown_line(text: str) -> str:
    """`shown`, with line ends and tabs escaped too: one line, whatever stood in `text`."""
    return _IN_LINE.sub(_escape, text)


def shell_word(text: str) -> str:
    """`text` as one word of bash and zsh, on one line: a command that is shown runs when it is typed as it stands.

    Plain text is quoted as by `shlex.quote`; what a terminal would obey, and bytes that are no UTF-8, as in $'\\x1b'.
    """
    if not _IN_LINE.search(text):
        return shlex.quote(text)
    return "$'" + _IN_LINE.sub(_shell_escape, text.replace("\\", "\\\\").replace("'", "\\'")) + "'"


def shown_spaces(text: str) -> str:
    r"""`shown_line`, with spaces, tabs and line ends visible: how the text of a token is shown.

    Example:
        >>> shown_spaces(" capital\n")
        '·capital↵'
    """
    return shown_line(text.translate(_SPACES))


def shown_json(text: str) -> str:
    """JSON that means the same, with the same characters escaped as JSON does it: they stand in strings alone."""
    return _IN_TEXT.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def shown_value(value: object) -> str:
    """A value of data in one short line, in the words of JSON: its text, its number, or what it is."""
    if isinstance(value, str):  # its repr escapes what is no Unicode
        return repr(value if len(value) <= _LONGEST else f"{value[:_LONGEST]}...")
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int | float):
        return repr(value)
    return {"dict": "an object", "list": "a list", "tuple": "a list"}.get(type(value).__name__, type(value).__name__)


def _escape(found: re.Match[str]) -> str:
    character = found[0]
    if character in _NAMED:
        return _NAMED[character]
    return f"\\x{ord(character):02x}" if ord(character) < 0x100 else f"\\u{ord(character):04x}"


def _shell_escape(found: re.Match[str]) -> str:
    """As $'...' reads it, where \\x is a byte: in UTF-8, or of a file name as Python keeps it."""
    if found[0] in _NAMED:
        return _NAMED[found[0]]
    return "".join(f"\\x{byte:02x}" for byte in found[0].encode("utf-8", "surrogateescape"))
