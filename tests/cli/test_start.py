"""The command line starts without torch, and its help says what there is."""

import subprocess
import sys

import pytest

from lmhead.cli.commands import COMMANDS
from lmhead.cli.main import main
from lmhead.version import __version__


def modules_after(statement: str) -> set[str]:
    code = f"import sys\ntry:\n    {statement}\nexcept SystemExit:\n    pass\nprint('MODULES', *sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split("MODULES")[1].split())


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    output = capsys.readouterr().out
    assert all(name in output for name in COMMANDS)


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"lmhead {__version__}\n"


@pytest.mark.parametrize("words", [["--help"], *([name, "--help"] for name in COMMANDS)])
def test_help_imports_no_torch(words: list[str]) -> None:
    loaded = modules_after(f"import lmhead.cli.main; lmhead.cli.main.main({words!r})")
    assert not {"torch", "numpy", "transformers", "tokenizers"} & loaded
