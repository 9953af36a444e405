"""Virtual environments of other Pythons, torches and transformers, made once under a scratch folder."""

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.nightly.environments import Environment, torch_requirement

ROOT = Path(__file__).parents[2]
_OF_TRANSFORMERS = (  # what has to fit each transformers; freeing more than that has pip search for long
    *("transformers==", "tokenizers==", "huggingface_hub==", "hf-xet=="),
    *("datasets==", "fsspec=="),
)


class NotInstalledError(Exception):
    """Why an environment cannot be had here."""


def interpreter_of(environment: Environment, scratch: Path | None, *, cuda_builds: bool) -> Path:
    """The Python to run the suite with.

    Raises:
        NotInstalledError: it is not to be had here.
    """
    if environment.is_installed:
        return Path(sys.executable)
    if scratch is None:
        raise NotInstalledError("no --scratch folder to install it in")
    folder = scratch / environment.name.replace(" ", "-").lower()
    python = folder / "bin" / "python"
    if not (folder / ".ready").exists():
        _install(environment, folder, python, cuda_builds=cuda_builds)
        (folder / ".ready").touch()
    return python


def _install(environment: Environment, folder: Path, python: Path, *, cuda_builds: bool) -> None:
    named = f"python{environment.python}" if environment.python else sys.executable
    base = shutil.which(named)
    if base is None or subprocess.run([base, "--version"], capture_output=True).returncode:  # a shim of nothing
        raise NotInstalledError(f"there is no {named}")
    pins = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = next(pin for pin in pins if pin.startswith("torch==")).removeprefix("torch==")
    requirement = torch_requirement(environment.torch or pinned, cuda_builds=cuda_builds)
    subprocess.run([base, "-m", "venv", "--clear", folder], check=True, capture_output=True)
    constraints = folder / "constraints.txt"
    constraints.write_text("\n".join([*constraints_of(environment, pins), requirement]))
    for what in ([requirement], ["--editable", f"{ROOT}[test]"]):
        pip = [python, "-m", "pip", "install", "--quiet", "--constraint", constraints, *what]
        done = subprocess.run(pip, capture_output=True, text=True)
        if done.returncode:
            reasons = [line for line in done.stderr.splitlines() if line.startswith("ERROR: ")]
            reason = (reasons or ["it failed"])[-1].removeprefix("ERROR: ")
            raise NotInstalledError(f"pip install {what[-1].removeprefix(str(ROOT))}: {reason}")


def constraints_of(environment: Environment, pins: Sequence[str]) -> list[str]:
    """The pins without those that would hold back what the environment is for; torch's is never among them."""
    freed: tuple[str, ...] = ("torch==",)
    if environment.torch:
        freed += ("triton==",)  # each torch has its own
    if environment.transformers is None:
        return [pin for pin in pins if not pin.startswith(freed)]
    kept = [pin for pin in pins if not pin.startswith((*freed, *_OF_TRANSFORMERS))]
    return [*kept, f"transformers=={environment.transformers}"]
