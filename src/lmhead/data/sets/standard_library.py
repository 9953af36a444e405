"""Python's standard library, its source on this machine: the data of a run that is given none."""

import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from lmhead.data.rows.reading import Reading
from lmhead.data.rows.row_files import DataFile
from lmhead.data.rows.selection import Selection
from lmhead.data.rows.source import Source

_NOT_OURS: Final = {"test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__", "_bundled"}


def standard_library() -> Selection:
    """Its files but for tests and installed packages, in the order of the paths, each a text."""
    root = Path(sysconfig.get_paths()["stdlib"])
    files = tuple(_file(root, path) for path in _sources(root))
    return Selection(source=Source(paths=("the Python standard library",)), files=(files,), left=Reading())


def _sources(root: Path) -> Iterator[Path]:
    for path in sorted(root.rglob("*.py")):
        if _NOT_OURS.isdisjoint(path.relative_to(root).parts):
            yield path


def _file(root: Path, path: Path) -> DataFile:
    name = path.relative_to(root).as_posix()
    size = path.stat().st_size
    return DataFile(path=path, source=name, name=name, kind="text", real=str(path), size=size, named=False)
