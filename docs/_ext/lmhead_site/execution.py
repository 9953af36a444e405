"""Execution: what the cells of a page print and show, run in a kernel of its own, once for each content.

Outputs are kept by content: under a folder that is named after all that they depend on beside a page's own code (the
library's source, the kernel's set-up, the versions of what pages use), in a file that is named after the code.
"""

import asyncio
import json
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import version
from itertools import count
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

from lmhead_site.page_cells import Cell, code_of

SETUP: Final = Path(__file__).with_name("kernel_setup.py")
DEPENDED_ON: Final = ("torch", "numpy", "matplotlib", "transformers", "tokenizers", "ipython")
SECONDS: Final = 180  # for one cell, on a machine that is busy
KERNEL_ENVIRONMENT: Final = {
    "HF_HUB_OFFLINE": "1",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TQDM_DISABLE": "1",  # bars say nothing on a page
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "MPLBACKEND": "agg",
    "NO_COLOR": "1",
    "COLUMNS": "80",
    "TORCH_CPP_LOG_LEVEL": "FATAL",
    "TRITON_INTERPRET": "1",  # where there is no GPU
    "PYDEVD_DISABLE_FILE_VALIDATION": "1",
}

Outputs = list[dict[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A page that did not run to its end: the cell (among those with code), its line, from 1, and what it raised."""

    cell: int
    line: int
    message: str


def content_key(source: Path) -> str:
    """What outputs depend on beside a page's own code: the library in `source`, the kernel's set-up, the versions."""
    digest = sha256(SETUP.read_bytes())
    for file in sorted(source.rglob("*")):
        if file.is_file() and "__pycache__" not in file.parts:
            digest.update(f"{file.relative_to(source).as_posix()}\0".encode())
            digest.update(sha256(file.read_bytes()).digest())
    digest.update(json.dumps([*KERNEL_ENVIRONMENT.items(), *((name, version(name)) for name in DEPENDED_ON)]).encode())
    return digest.hexdigest()[:16]


def cache_folder(cache: Path, source: Path) -> Path:
    """The folder for the library as it is now; those of other versions of it are removed."""
    folder = cache / content_key(source)
    folder.mkdir(parents=True, exist_ok=True)
    for other in cache.iterdir():
        if other != folder:
            shutil.rmtree(other, ignore_errors=True)
    return folder


def stored_outputs(cells: list[Cell], folder: Path) -> list[Outputs] | None:
    """The outputs of each cell with code; None where the page has not been run as it is."""
    file = _file(cells, folder)
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else None


def run_pages(
    pages: Mapping[str, list[Cell]],
    folder: Path,
    *,
    library: Path,
    processes: int,
    told: Callable[[str], None],
    seconds: int = SECONDS,
) -> dict[str, Failure]:
    """Runs the pages that are not stored, several at once, each in a kernel and a temporary folder; which failed.

    `told` hears of each that has run: "2 of 54: course/01-next-token".
    `library` is the source of the package that they import, whatever version of it is installed.
    """
    waiting = {name: cells for name, cells in pages.items() if code_of(cells) and not _file(cells, folder).exists()}

    counted = count(1)

    def run(name: str) -> tuple[str, Failure | None]:
        outputs, failure = _run(code_of(waiting[name]), library.parent, seconds)
        if failure is None:
            _store(outputs, _file(waiting[name], folder))
        told(f"{next(counted)} of {len(waiting)}: {name}")
        return name, failure

    with _no_settings_of_the_user(), ThreadPoolExecutor(max_workers=processes) as pool:
        return {name: failure for name, failure in pool.map(run, waiting) if failure is not None}


def _file(cells: list[Cell], folder: Path) -> Path:
    return folder / f"{sha256(json.dumps(code_of(cells)).encode()).hexdigest()[:24]}.json"


def _store(outputs: list[Outputs], file: Path) -> None:
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=file.parent, suffix=".part", delete=False) as part:
        json.dump(outputs, part)
    Path(part.name).replace(file)  # whole, or not there


def _run(code: list[str], packages: Path, seconds: int) -> tuple[list[Outputs], Failure | None]:
    import nbformat
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

    sources = [SETUP.read_text(encoding="utf-8"), *code]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
    failure = None
    with tempfile.TemporaryDirectory(prefix="page-") as folder:
        where = {"metadata": {"path": folder}}
        client = NotebookClient(
            notebook, kernel_name="python3", timeout=seconds, startup_timeout=SECONDS, resources=where
        )
        client.extra_arguments = ["--log-level=CRITICAL"]
        client.log.setLevel(logging.CRITICAL)  # what is wrong is told once, with the page's line
        try:
            environment = os.environ | KERNEL_ENVIRONMENT | {"PYTHONPATH": _path_with(packages)}
            asyncio.run(client.async_execute(env=environment))  # whose loop is closed; that of execute() is not
        except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
            done = sum(cell.execution_count is not None for cell in notebook.cells)
            message = re.sub(r"\x1b\[[\d;]*m", "", str(error)).strip()
            if isinstance(error, CellTimeoutError):
                message = f"a block must end within {seconds} s, and this one had not: give it less to do"
            raised_at = re.search(r"^Cell In\[\d+\], line (\d+)", message, re.MULTILINE)
            failure = Failure(cell=max(done - 2, 0), line=int(raised_at[1]) if raised_at else 1, message=message)
    return [[dict(output) for output in cell.outputs] for cell in notebook.cells[1:]], failure


def _path_with(packages: Path) -> str:
    return os.pathsep.join([str(packages.resolve()), *filter(None, [os.environ.get("PYTHONPATH")])])


@contextmanager
def _no_settings_of_the_user() -> Iterator[None]:
    """Neither their kernels nor their start-up files, whatever is in their home."""
    with tempfile.TemporaryDirectory(prefix="jupyter-") as folder:
        names = ("JUPYTER_DATA_DIR", "JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")
        folders = {name: Path(folder, name.lower()) for name in names}
        for each in folders.values():
            each.mkdir()
        with patch.dict(os.environ, {name: str(each) for name, each in folders.items()}):
            yield
