"""Standard output and standard error that may go away: a closed pipe, a full disk, a terminal that was hung up.

A command that is nothing but its output stops: quietly where the reader of a pipe went away, else with one line. A
training run has its log, and goes on without: `outlast`. Standard error is nobody's work, and is never missed.
"""

import errno
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final, TextIO, cast

_DESCRIPTORS: Final = (0, 1, 2)


class OutputGone(Exception):  # noqa: N818 (of OSError's kind it may not be: rich would end the process)
    """Standard output cannot be written to; `reason` says why, `closed_pipe` that its reader went away."""

    def __init__(self, error: OSError | ValueError) -> None:
        self.closed_pipe = isinstance(error, BrokenPipeError)
        self.reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        super().__init__(self.reason)


class Outlet(io.TextIOBase):
    """A text stream that fails once: it raises OutputGone or, told to outlast it, says so and swallows the rest."""

    def __init__(self, stream: TextIO | None, *, errors: "Outlet | None") -> None:
        self._stream = stream
        self._errors = errors  # where the end is told; None: nowhere, this is standard error
        self._remark: str | None = None if errors is not None else ""
        self._gone = stream is None and errors is None

    def outlast(self, remark: str) -> None:
        """From now on the stream's end stops nothing; `remark` says on standard error what goes on."""
        self._remark = remark

    def write(self, text: str) -> int:
        """Everything, or nothing where the stream is gone."""
        if not self._gone:
            try:
                self._open().write(text)
            except (OSError, ValueError) as error:  # a ValueError where it was closed
                self._end(error)
        return len(text)

    def flush(self) -> None:
        """Send what is waiting."""
        if not self._gone and self._stream is not None:
            try:
                self._stream.flush()
            except (OSError, ValueError) as error:
                self._end(error)

    def isatty(self) -> bool:
        """Whether somebody looks at it."""
        with suppress(OSError, ValueError):
            return self._stream is not None and not self._gone and self._stream.isatty()
        return False

    def fileno(self) -> int:
        """The stream's; rich asks it for the terminal's size."""
        return self._open().fileno()

    def writable(self) -> bool:
        """True."""
        return True

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """The stream's: what can be drawn depends on it."""
        return getattr(self._stream, "encoding", None) or "utf-8"

    @property
    def errors(self) -> str:  # type: ignore[override]
        """The stream's: with it and the encoding Python lets readline edit what `input` reads."""
        return getattr(self._stream, "errors", None) or "strict"

    def _open(self) -> TextIO:
        if self._stream is None:
            raise OSError(errno.EBADF, "it is closed")
        return self._stream

    def _end(self, error: OSError | ValueError) -> None:
        self._gone = True
        gone = OutputGone(error)
        self._drain()
        if self._remark is None:
            raise gone from None
        if self._errors is not None:
            self._errors.write(f"standard output is gone ({gone.reason}): {self._remark}\n")
            self._errors.flush()

    def _drain(self) -> None:
        """What waits in the stream's buffer goes nowhere, and does not fail again as the interpreter ends."""
        with suppress(OSError, ValueError):
            descriptor = self._open().fileno()
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, descriptor)
            os.close(nowhere)
            self._open().flush()


def outlast(remark: str) -> None:
    """A run goes on where standard output ends, and says `remark` on standard error."""
    if isinstance(sys.stdout, Outlet):
        sys.stdout.outlast(remark)


@contextmanager
def outlets() -> Iterator[tuple[Outlet, Outlet]]:
    """Standard output and error as outlets, while a command runs."""
    before = sys.stdout, sys.stderr
    for stream in before:  # a terminal that cannot show a character gets a question mark
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    _occupy_closed_descriptors()
    errors = Outlet(sys.stderr, errors=None)
    out = Outlet(sys.stdout, errors=errors)
    sys.stdout, sys.stderr = cast(TextIO, out), cast(TextIO, errors)
    try:
        yield out, errors
    finally:
        sys.stdout, sys.stderr = before


def _occupy_closed_descriptors() -> None:
    """Keep 0, 1 and 2 from the files of a run: what a C library prints would be written into a checkpoint."""
    for descriptor in _DESCRIPTORS:
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free
