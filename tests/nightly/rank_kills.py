"""Ranks killed by SIGKILL under real agents: `lmhead train --nproc 2 --max-restarts 1`, `torchrun --max-restarts 1`.

    python -m tests.nightly.rank_kills --each 15     a table by phase, and status 1 where one is not as if undisturbed

Kills go round ranks, agents, and the moments of a phase. Each run, started again by its agent alone, has to end with
status 0, and with the weights and the log of the run that nobody disturbed; the one that is killed has to be told.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from itertools import product
from pathlib import Path
from typing import Any, Final

from tests.ranks.test_faults import FLAGS, result_of

_ROOT: Final = Path(__file__).parents[2]
_PHASES: Final = {  # phase: moments of tests/ranks/faulty_lmhead.py, from a step on
    "start-up": (("start", 0), ("prepare", 0)),
    "step": (("step", 5), ("backward", 9), ("step", 2)),
    "save": (("save", 4), ("write", 4), ("publish", 8)),
    "evaluation": (("evaluate", 6), ("evaluate", 12)),
}
_MODULE: Final = "tests.ranks.faulty_lmhead"
_AGENTS: Final = {  # words in front of those of `lmhead train`, and behind them
    "lmhead": ([sys.executable, "-m", _MODULE], ["--nproc", "2", "--max-restarts", "1"]),
    "torchrun": (
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
            *("--nproc-per-node", "2", "--max-restarts", "1", "-m", _MODULE),
        ],
        [],
    ),
}
_TOLD: Final = {"lmhead": "an end by SIGKILL", "torchrun": "exitcode: -9"}
_LIMIT: Final = 900  # seconds until a run must have ended
_NOBODY: Final = "kill:7:step:0"
_OF_TIME: Final = ("seconds", "tokens_per_second", "time", "started", "memory")  # parts of names of what differs


def ended(agent: str, data: Path, run: Path, fault: str) -> tuple[int, str]:
    """(status, what was said on standard error) of a run of two ranks."""
    before, behind = _AGENTS[agent]
    environment = {**os.environ, "FAULT": fault, "PYTHONPATH": str(_ROOT / "src"), "TORCH_CPP_LOG_LEVEL": "FATAL"}
    done = subprocess.run(
        [*before, "train", *FLAGS, "--timeout", "240", "--data", str(data), "--out", str(run), *behind],
        cwd=_ROOT, env=environment, capture_output=True, text=True, timeout=_LIMIT, check=False,
    )  # fmt: skip
    return done.returncode, done.stderr


def log_of(run: Path) -> dict[str, Any]:
    """What the log says in the end of each step and evaluation, without what is of a clock."""
    said: dict[str, Any] = {}
    for record in map(json.loads, (run / "log.jsonl").read_text(encoding="utf-8").splitlines()):
        kept = {name: value for name, value in record.items() if not any(part in name for part in _OF_TIME)}
        if "step" in kept:
            said[f"{kept['step']} {sorted(kept)}"] = kept
    return said


def wrong(agent: str, data: Path, whole: Path, run: Path, fault: str) -> list[str]:
    """What is not as if nobody had been killed."""
    status, said = ended(agent, data, run, fault)
    if status:
        return [f"status {status}: {said[-600:]}"]
    found = []
    if _TOLD[agent] not in said:
        found.append(f"the kill is not told: {said[-600:]}")
    if result_of(run) != result_of(whole):
        found.append("other weights or losses")
    ours, theirs = log_of(run), log_of(whole)
    if different := [key for key in {*ours, *theirs} if ours.get(key) != theirs.get(key)]:
        found.append(f"another log: {[(ours.get(key), theirs.get(key)) for key in different[:2]]}")
    return found + [f"left over: {path}" for path in run.rglob(".draft-*")]


def main() -> int:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(prog="python -m tests.nightly.rank_kills", description=__doc__)
    parser.add_argument("--each", type=int, default=15, help="kills in each phase")
    parser.add_argument("--phases", nargs="+", default=list(_PHASES), choices=list(_PHASES), metavar="PHASE")
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="rank_kills_"))
    data = folder / "texts.jsonl"
    texts = [" ".join("abcdefgh"[(i * j) % 8] * (1 + j % 4) for j in range(30)) for i in range(40)]
    data.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
    for agent in _AGENTS:
        status, said = ended(agent, data, folder / agent, _NOBODY)
        assert status == 0, said
    rows, bad = [], 0
    for phase in given.phases:
        good = 0
        turns = list(product(_PHASES[phase], _AGENTS, (0, 1)))
        for number in range(given.each):
            (moment, step), agent, rank = turns[number % len(turns)]
            fault = f"kill:{rank}:{moment}:{step}"
            found = wrong(agent, data, folder / agent, folder / f"{phase}-{number}", fault)
            good += not found
            print(f"{phase} {number}: {agent} {fault}: {'; '.join(found) or 'as if undisturbed'}", flush=True)
        rows.append(f"{phase:<12}{given.each:>8}{good:>20}")
        bad += given.each - good
    print("\n".join([f"{'killed in':<12}{'kills':>8}{'as if undisturbed':>20}", *rows]))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
