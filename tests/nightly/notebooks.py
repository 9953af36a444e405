"""Every notebook of the course, as readers download it, run from its first cell to its last: 1 where one fails.

    python -m tests.nightly.notebooks

The suite runs the pages, hidden blocks included; this runs what is left without them.
"""

import os
import sys
import tempfile
import time
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"
sys.path.append(str(DOCS / "_ext"))
_SECONDS = 300  # a cell


def main() -> int:
    """Run them, one after the other; tell how long each took."""
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError

    from lmhead_site.downloads import COURSE, notebook_of

    failed = 0
    for page in sorted((DOCS / "course").glob("*.md")):
        if COURSE.fullmatch(f"course/{page.stem}") is None:
            continue
        notebook = notebook_of(page.read_text(encoding="utf-8"), page.stem)
        began = time.monotonic()
        told = "ran"
        with tempfile.TemporaryDirectory() as folder:
            client = NotebookClient(notebook, timeout=_SECONDS, resources={"metadata": {"path": folder}})
            client.extra_arguments = ["--log-level=ERROR"]
            try:
                client.execute(env=os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"})
            except CellExecutionError as error:
                failed += 1
                told = f"FAILED: {error}"
        print(f"{page.stem:28} {time.monotonic() - began:5.1f} s  {told}", flush=True)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
