"""SHA256SUMS of a checkpoint: written when it is published, checked before it is believed.

The format is sha256sum's: `cd RUN/checkpoints/step-N && sha256sum -c SHA256SUMS` says the same. The last line is a
comment with the sum of the lines before it, so that a damaged SHA256SUMS is told from a damaged file.
"""

import hashlib
import re
from collections.abc import Collection
from pathlib import Path
from typing import Final

from lmhead.errors import InputError
from lmhead.shown import shell_word
from lmhead.training.run.files import replace_file

SUMS_FILE: Final = "SHA256SUMS"
_SUM: Final = re.compile(r"([0-9a-f]{64}) [ *]([^/\0]+)")
_WEIGHTS: Final = (".safetensors", ".pt")  # what nobody edits
_SEAL: Final = "# sha256 of the lines above: "


class DamagedError(InputError):
    """A file of a checkpoint is not what was written; the message names it."""


def write_sums(folder: Path) -> None:
    """Sum every file of a folder.

    Raises:
        InputError: the disk refuses.
        OSError: the disk gives a file no more.
    """
    lines = "".join(f"{_sum_of(file)}  {file.name}\n" for file in _files(folder))
    replace_file(folder / SUMS_FILE, f"{lines}{_SEAL}{_sum(lines)}\n")


def verify(folder: Path, *, without: Collection[str] = ()) -> None:
    """Read every file of a checkpoint and compare. A folder that is no run's checkpoint needs no SHA256SUMS.

    Args:
        without: files that are not read here, for nobody will read them next: what costs most is only for resuming.

    Raises:
        DamagedError: a file is missing or is not what was written, or SHA256SUMS itself is not.
    """
    if not (folder / SUMS_FILE).exists() and not is_checkpoint(folder):
        return
    for name, wanted in read_sums(folder).items():
        if name in without:
            continue
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
    return f"cd {shell_word(str(folder))} && rm -f {SUMS_FILE} && sha256sum * > {SUMS_FILE}"


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
    unnamed = [] if seal else [file.name for file in _files(folder) if file.name not in sums]
    if unnamed:
        raise DamagedError(f"{folder} is damaged: {SUMS_FILE} does not name {unnamed[0]}: it was cut off")
    return sums


def is_checkpoint(folder: Path) -> bool:
    """Whether a folder lies where a run has its checkpoints."""
    folder = folder.resolve()
    return bool(re.fullmatch(r"step-[0-9]+", folder.name)) and folder.parent.name == "checkpoints"


def _files(folder: Path) -> list[Path]:
    return sorted(
        file for file in folder.iterdir() if file.is_file() and file.name != SUMS_FILE and file.name[:1] != "."
    )


def _sum_of(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _sum(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
