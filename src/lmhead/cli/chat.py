"""Talking to a model in a terminal, or through a pipe, one message a line."""

import io
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from lmhead.cli.model_text import write_text
from lmhead.cli.spelling import spelled
from lmhead.errors import ConversationError, InputError
from lmhead.shown import shown_line

if TYPE_CHECKING:
    from lmhead.generation.chat import Chat

_HELP = (
    "/reset forgets the conversation, /system TEXT sets the system prompt, /quit or Ctrl-D ends, Ctrl-C stops an answer"
)


def converse(chat: "Chat", notes: Callable[[], list[str]] = list) -> None:
    """Answer what is typed until it ends; on a terminal with a prompt and notes, else with the answers alone.

    Args:
        notes: what is told behind an answer, a line each.
    """
    if sys.stdin is None:
        raise InputError("standard input must be open where there is no --prompt, got it closed: give --prompt TEXT")
    terminal = sys.stdin.isatty()
    if terminal:
        tell(_HELP)
    for line in _typed() if terminal else _piped():
        text = line.strip()
        if text.startswith("/"):
            if text == "/quit":
                return
            _obey(chat, text, tell)
        elif text:
            try:
                say(chat, line, tell)
                for note in notes():
                    tell(note)
            except (InputError, ConversationError) as error:
                if not terminal:
                    raise
                tell(f"({spelled(error.message, 'sample')})")


def say(chat: "Chat", question: str, tell: Callable[[str], None]) -> None:
    """Print the answer as it comes. Ctrl-C stops it, and nothing else."""
    pieces = chat.answer(question)
    if chat.dropped:
        tell(f"(the oldest {chat.dropped} messages were dropped: the context holds {chat.context} tokens)")
    try:
        for piece in pieces:
            write_text(piece)
    except KeyboardInterrupt:
        pieces.close()  # what was said so far is remembered
        sys.stdout.write(" ...")
    sys.stdout.write("\n")
    sys.stdout.flush()
    if chat.cut_off:
        tell(f"(cut off: the context of {chat.context} tokens is full; /reset begins anew)")


def _obey(chat: "Chat", text: str, tell: Callable[[str], None]) -> None:
    command, _, rest = text.partition(" ")
    if command == "/reset":
        chat.reset()
        tell("(forgotten)")
    elif command == "/system":
        chat.set_system(rest.strip())
        tell("(system prompt set)" if rest.strip() else "(no system prompt)")
    else:
        tell(f"(unknown command {command}: {_HELP})")


def tell(text: str) -> None:
    """A note, beside what the model says."""
    sys.stderr.write(shown_line(text) + "\n")
    sys.stderr.flush()


def _typed() -> Iterator[str]:
    import contextlib

    with contextlib.suppress(ImportError):
        import readline  # noqa: F401  (lines can be edited, and found again)
    while True:
        try:
            yield input("you> ")
        except EOFError:
            sys.stdout.write("\n")
            return


def _piped() -> Iterator[str]:
    raw = sys.stdin.buffer if isinstance(sys.stdin, io.TextIOWrapper) else io.BytesIO(sys.stdin.read().encode())
    for number, line in enumerate(raw, start=1):
        try:
            yield line.decode("utf-8").rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise InputError(
                f"line {number} of standard input is not UTF-8: byte 0x{line[error.start]:02x} "
                f"at position {error.start}"
            ) from None
