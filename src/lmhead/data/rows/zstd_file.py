"""A file packed by zstd as a stream of bytes. Needs pyarrow: the extra `parquet`."""

import io
from typing import IO, Any, Final, cast

from lmhead.errors import InputError

_FRAME: Final = b"\x28\xb5\x2f\xfd"
_SKIPPED: Final = b"\x2a\x4d\x18"  # behind a byte from 0x50 to 0x5f: a frame that is passed over


class NotZstdError(OSError):
    """The bytes are not what zstd makes."""


def open_zstd(packed: IO[bytes], source: str) -> IO[bytes]:
    """What is in a file that is open; frames one behind the other are one.

    Raises:
        InputError: pyarrow is missing.
        NotZstdError: it does not begin as zstd's files do. While it is read, EOFError for one that is damaged.
    """
    try:
        import pyarrow
    except ImportError:
        raise InputError(f'{source} needs pyarrow to be unpacked: pip install "lmhead[parquet]"') from None
    first = packed.read(len(_FRAME))
    packed.seek(0)
    if first and first != _FRAME and first[1:] != _SKIPPED:
        raise NotZstdError("other first bytes")
    stream = pyarrow.CompressedInputStream(pyarrow.PythonFile(packed, mode="r"), "zstd")
    return cast(IO[bytes], io.BufferedReader(_Unpacked(stream), 2**20))


class _Unpacked(io.RawIOBase):
    """A stream of pyarrow as Python's, whose errors are told apart by their words alone."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        with memoryview(buffer) as view:
            try:
                block = self._stream.read(len(view))
            except OSError as error:
                if error.errno is not None:  # of the disk
                    raise
                early = "Truncated" in str(error)
                raise EOFError("it ends before its last frame does" if early else str(error)) from None
            view[: len(block)] = block
            return len(block)
