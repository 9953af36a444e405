"""The site as the suite builds it: whole, without running its pages (they run one by one in test_documentation.py)."""

import fcntl
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.browser.conftest import browser  # noqa: F401

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
sys.path.append(str(DOCS / "_ext"))


@dataclass(frozen=True)
class Built:
    """A site that was built, or not: the folder of its pages, the exit status, the warnings in lines."""

    folder: Path
    status: int
    warnings: list[str]


def build(pages: Path, folder: Path, *options: str) -> Built:
    """The pages with the settings of docs/conf.py; every warning is an error."""
    pytest.importorskip("sphinx", reason="the site needs sphinx: pip install 'lmhead[docs]'")
    pytest.importorskip("myst_nb", reason="the site needs myst-nb: pip install 'lmhead[docs]'")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-n", "-b", "html", "-c", str(DOCS)]
    settings = ["-d", str(folder / "doctrees"), "-D", f"site_cache={folder / 'cache'}", *options]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(
        [*command, *settings, str(pages), str(folder / "html")],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    told = [line for line in done.stderr.splitlines() if line.strip()]
    return Built(folder=folder / "html", status=done.returncode, warnings=told)


@pytest.fixture(scope="session")
def whole_site(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """The documentation, built once for all workers of the suite."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    folder, told = shared / "whole-site", shared / "whole-site.txt"
    with (shared / "whole-site.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not told.exists():
            built = build(DOCS, folder, "-D", "site_execute=")
            told.write_text("\n".join([str(built.status), *built.warnings]), encoding="utf-8")
    status, *warnings = told.read_text(encoding="utf-8").splitlines()
    return Built(folder=folder / "html", status=int(status), warnings=warnings)
