"""SHA256SUMS of a checkpoint: written when it is published, checked before it is believed.

It names every file but hidden ones, and in sub-folders those, too. The format is sha256sum's, so that
`cd RUN/checkpoints/step-N && sha256sum -c SHA256SUMS` says the same. The last line is a comment with the sum of the
lines before it, so that a damaged SHA256SUMS is told from a damaged file.
"""

import hashlib
import os
import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Final

from lmhead.errors import InputError
from lmhead.shown import shell_word
from lmhead.training.run.files import replace_file

SUMS_FILE: Final = "SHA256SUMS"
_SUM: Final = re.compile(r"([0-9a-f]{64}) [ *](?!\.\.?/)([^/\0]+(?:/(?!\.\.?(?:/|$))[^/\0]+)*)")  # no file elsewhere
_WEIGHTS: Final = (".safetensors", ".pt")  # what nobody edits
_SEAL: Final = "# sha256 of the lines above: "


class DamagedError(InputError):
    """A file of a checkpoint is not what was written; the message names it."""


def write_sums(folder: Path, sums: Mapping[str, str] | None = None) -> None:
    """Write the sum of every file of a folder.

    Args:
        sums: of each file by its name, where they are known.

    Raises:
        InputError: the disk refuses.
        OSError: the disk gives a file no more.
    """
    known = sums_of(folder, files_of(folder)) if sums is None else sums
    lines = "".join(f"{known[name]}  {name}\n" for name in sorted(known))
    replace_file(folder / SUMS_FILE, f"{lines}{_SEAL}{_sum(lines)}\n")


def sums_of(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """The sum of each file, after it is on the disk to stay.

    Raises:
        OSError: the disk gives a file no more.
    """
    sums = {}
    for name in names:
        with (folder / name).open("rb") as stream:
            os.fsync(stream.fileno())
        sums[name] = _sum_of(folder / name)
    return sums


def files_of(folder: Path) -> list[str]:
    """The names of all files that are summed: not hidden ones, but in sub-folders, where DCP has its index so."""
    files = [file.relative_to(folder) for file in folder.rglob("*") if file.is_file()]
    return sorted(file.as_posix() for file in files if file.name != SUMS_FILE and file.parts[0][:1] != ".")


def verify(folder: Path, *, without: Collection[str] = ()) -> None:
    """Read every file of a checkpoint and compare. A folder that is no run's checkpoint needs no SHA256SUMS.

    Args:
        without: files and sub-folders that are not read here, for nobody will read them next: what costs most is only
            for resuming.

    Raises:
        DamagedError: a file is missing or is not what was written, or SHA256SUMS itself is not.
    """
    if not (folder / SUMS_FILE).exists() and not is_checkpoint(folder):
        return
    for name, wanted in read_sums(folder).items():
        if PurePosixPath(name).parts[0] not in without:
            _check(folder, name, wanted)


def _check(folder: Path, name: str, wanted: str) -> None:
    file = folder / name
    if not file.is_file():
        raise DamagedError(f"{folder} is damaged: {name} is {'no file' if file.exists() else 'missing'}")
    try:
        found, size = _sum_of(file), file.stat().st_size
    except OSError as error:
        raise DamagedError(f"{folder} is damaged: {name} cannot be read: {error.strerror}") from None
    if found != wanted:
        what = f"({size:,} bytes) is not what was written" if size else "is empty"
        yours = "" if file.suffix in _WEIGHTS else f" (if you changed it, and mean it: {_anew(folder)})"
        raise DamagedError(f"{folder} is damaged: {name} {what}, by its sum in {SUMS_FILE}{yours}")


def _anew(folder: Path) -> str:
    """The command that sums what is there."""
    deep = folder.is_dir() and any(entry.is_dir() for entry in folder.iterdir())
    every = "find * -type f -exec sha256sum {} +" if deep else "sha256sum *"
    return f"cd {shell_word(str(folder))} && rm -f {SUMS_FILE} && {every} > {SUMS_FILE}"


def read_sums(folder: Path) -> dict[str, str]:
    """The sum of each file, by its name.

    Raises:
        DamagedError: SHA256SUMS is missing or damaged, or files are there that it does not name.
    """
    try:
        text = (folder / SUMS_FILE).read_bytes().decode("utf-8")
    except FileNotFoundError:
        raise DamagedError(
            f"{folder} is damaged: {SUMS_FILE} is missing, so that nothing in it can be checked (where an earlier "
            f"lmhead wrote it, which made none, and you trust it: {_anew(folder)})"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        reason = "it is not text" if isinstance(error, UnicodeDecodeError) else error.strerror
        raise DamagedError(f"{folder} is damaged: {SUMS_FILE} cannot be read: {reason}") from None
    lines, seal, sealed = text.partition(_SEAL)
    sums = {found[2]: found[1] for line in lines.splitlines() if (found := _SUM.fullmatch(line))}
    whole = sealed.strip() == _sum(lines) if seal else len(sums) == len(lines.splitlines()) > 0
    if not whole:
        raise DamagedError(f"{folder} is damaged: {SUMS_FILE} itself is not what was written")
    unnamed = [] if seal else [name for name in files_of(folder) if name not in sums]
    if unnamed:
        raise DamagedError(f"{folder} is damaged: {SUMS_FILE} does not name {unnamed[0]}: it was cut off")
    return sums


def is_checkpoint(folder: Path) -> bool:
    """Whether a folder lies where a run has its checkpoints."""
    folder = folder.resolve()
    return bool(re.fullmatch(r"step-[0-9]+", folder.name)) and folder.parent.name == "checkpoints"


def _sum_of(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _sum(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
