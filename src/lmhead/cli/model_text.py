"""What a model says, on standard output: a terminal is shown control characters, a pipe or a file gets the text."""

import sys

from lmhead.shown import shown


def write_text(text: str) -> None:
    """Write a model's text, or a prompt before it, and send it at once."""
    sys.stdout.write(shown(text) if sys.stdout.isatty() else text)
    sys.stdout.flush()
