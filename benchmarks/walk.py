"""The walk of a conversation through the source: which files `lmhead train --data chat.jsonl` goes through, in order.

    python -m benchmarks.walk           counts
    python -m benchmarks.walk --files   the files too, in the order in which they are come to

Two conversations, one step of a tiny model: every function of the package that runs until the first gradient is noted
when it is first called. A return is a function that is first called in a file which the walk was in before, and which
none of the waiting callers is in: a reader would have to open it again. Counted without errors and without records of
configuration (files whose name says so), which are looked up and not read through.
"""

import argparse
import json
import sys
import tempfile
from dataclasses import dataclass, field
from inspect import CO_OPTIMIZED
from pathlib import Path
from types import FrameType
from typing import Any, Final

import torch

import lmhead
from lmhead.cli.main import main as command

ROOT: Final = Path(lmhead.__file__).parent
_LOOKED_UP: Final = ("error", "config", "shown", "version", "refusals")
_ROWS: Final = [
    {"messages": [{"role": "user", "content": f"What is {n} and {n}?"}, {"role": "assistant", "content": f"{2 * n}."}]}
    for n in range(40)
]


@dataclass(slots=True)
class Walk:
    """What was come to, in order."""

    files: list[str] = field(default_factory=list)
    functions: int = 0
    returns: list[str] = field(default_factory=list)
    done: bool = False
    _met: set[tuple[str, int]] = field(default_factory=set)
    _last: str = ""

    def step(self, frame: FrameType, event: str, _: Any) -> None:
        """A profile function for `sys.setprofile`."""
        code = frame.f_code
        ours = code.co_filename.startswith(str(ROOT)) and code.co_flags & CO_OPTIMIZED  # the bodies of classes are not
        if event != "call" or self.done or not ours or code.co_name[0] == "<":
            return
        met = (code.co_filename, code.co_firstlineno)
        if met in self._met:
            return
        self._met.add(met)
        name = str(Path(code.co_filename).relative_to(ROOT))
        if any(word in name for word in _LOOKED_UP):
            return
        self.functions += 1
        if name not in self.files:
            self.files.append(name)
        elif name != self._last and not _waits(frame.f_back, code.co_filename):
            self.returns.append(f"{name}: {code.co_name}")
        self._last = name


def _waits(frame: FrameType | None, filename: str) -> bool:
    """Whether a caller is in the file."""
    while frame is not None:
        if frame.f_code.co_filename == filename:
            return True
        frame = frame.f_back
    return False


def walked(folder: Path) -> Walk:
    """One step on forty conversations."""
    data = folder / "chat.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in _ROWS))
    sizes = ["--embed-dim", "16", "--num-heads", "1", "--num-layers", "1", "--vocab-size", "300"]
    words = ["train", "--data", str(data), "--out", str(folder / "run"), "--steps", "1", "--rows", "1", *sizes]
    walk, backward = Walk(), torch.Tensor.backward

    def end(tensor: torch.Tensor, *arguments: Any, **options: Any) -> None:
        backward(tensor, *arguments, **options)  # type: ignore[no-untyped-call]
        walk.done = True

    torch.Tensor.backward = end  # type: ignore[assignment, method-assign]
    sys.setprofile(walk.step)
    try:
        command(words)
    finally:
        sys.setprofile(None)
        torch.Tensor.backward = backward  # type: ignore[method-assign]
    assert walk.done, "no gradient was made"
    return walk


def main() -> None:
    """Print the counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", action="store_true", help="list the files and the returns")
    listed = parser.parse_args().files
    with tempfile.TemporaryDirectory() as folder:
        walk = walked(Path(folder))
    if listed:
        print("\n".join([*walk.files, "", "returns:", *walk.returns]))
    print(f"{len(walk.files)} files, {walk.functions} functions, {len(walk.returns)} returns")


if __name__ == "__main__":
    main()
