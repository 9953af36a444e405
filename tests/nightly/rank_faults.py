"""Faults of ranks: a run of two ranks into which something comes ends as one that nothing came to, weights and losses.

    python -m tests.nightly.rank_faults --trials 200     a table by kind, and status 1 where anything was lost

A trial is a fault (kind, rank, phase, step), or a damaged file of a checkpoint. Then somebody does what torchrun does,
which starts all again, or what the one line says. Ranks are forked off a process that has imported torch: a trial costs
some seconds of two cores.
"""

import argparse
import json
import os
import random
import re
import shlex
import shutil
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Final

from tests.ranks.test_faults import trained
from tests.ranks.worlds import Agent, Ended, told

STEPS: Final = 24
_FLAGS: Final = (
    *("--embed-dim", "16", "--num-heads", "2", "--num-layers", "1", "--mlp-dim", "32", "--vocab-size", "280"),
    *("--max-seq-len", "16", "--rows", "3", "--steps", str(STEPS), "--precision", "float32", "--device", "cpu"),
    *("--save-every", "6", "--eval-every", "8", "--sample-every", "8", "--keep", "3", "--quiet"),
)
_NONE: Final = "kill:7:step:0"  # of a rank that is not there
_LONG, _SHORT = "60", "15"  # seconds of the time-out: of a busy machine; of ranks that hang, once they have joined
_PHASES: Final = ("start", "prepare", "step", "backward", "save", "write", "publish", "evaluate", "sample")
KINDS: Final = {  # kind: phases
    "kill": _PHASES,
    "term": _PHASES,
    "nan": ("backward",),
    "disk": ("prepare", "step", "save", "write", "publish"),
    "hang": ("prepare", "step", "backward", "save"),
    "freeze": ("prepare", "step", "backward", "save"),
    "cut": (),
    "flipped": (),
    "deleted": (),
}
Result = tuple[bytes, dict[int, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What became of a trial."""

    kind: str
    what: str
    outcome: str  # "same": as if nothing had been; else "lost"
    wrong: tuple[str, ...]
    said: tuple[str, ...]

    @property
    def bad(self) -> bool:
        """Whether something is to be mended."""
        return self.outcome != "same" or bool(self.wrong)


class Trial:
    """One of them; `whole` is the undisturbed run."""

    def __init__(self, kind: str, draw: random.Random, data: Path, whole: Path, folder: Path) -> None:
        self.kind, self.draw, self.whole, self.run = kind, draw, whole, folder / "run"
        self.words = ["--data", str(data), *_FLAGS]
        self.what = kind
        self.wrong: list[str] = []
        self.said: list[str] = []

    def verdict(self) -> Verdict:
        """Injure, go on, judge."""
        same = (self._damaged if self.kind in ("cut", "flipped", "deleted") else self._struck)()
        outcome = "same" if same else "lost"
        return Verdict(kind=self.kind, what=self.what, outcome=outcome, wrong=tuple(self.wrong), said=tuple(self.said))

    def _struck(self) -> bool:
        phase = self.draw.choice(KINDS[self.kind])
        step = 0 if phase in ("start", "prepare") else self.draw.randrange(STEPS - 4)
        self.what = fault = f"{self.kind}:{self.draw.randrange(2)}:{phase}:{step}"
        hangs = self.kind in ("hang", "freeze")
        begin = [*self.words, "--out", str(self.run), "--timeout", _SHORT if hangs else _LONG]
        agent = Agent(restarts=1)
        ends = self._attempt(agent, begin, fault)
        struck = any(end.code for end in ends)
        if hangs and struck and f"no sign of rank {fault.split(':')[1]} " not in "".join(told(ends)):
            self.wrong.append("the rank that hangs is not named")
        if all(end.code == 0 for end in ends):  # it came too late, or hindered nothing
            return self._same()
        again = self.kind in ("kill", "hang", "freeze") and self.draw.random() < 0.5
        if again:
            self.what += ", all started again"
            return all(end.code == 0 for end in self._attempt(agent, begin, _NONE, number=1)) and self._same()
        if not (self.run / "config.yaml").exists():
            return self._ends(begin)
        if self.kind in ("term", "disk") and not any("--resume" in line for line in self.said):
            self.wrong.append("not told how it goes on")
        return self._ends(["--resume", str(self.run), "--timeout", _LONG])

    def _damaged(self) -> bool:
        shutil.copytree(self.whole, self.run)
        shutil.rmtree(self.run / f"checkpoints/step-{STEPS}")
        files = sorted(path for path in (self.run / f"checkpoints/step-{STEPS - 6}").rglob("*") if path.is_file())
        victim = self.draw.choice(files)
        self.what = f"{self.kind} {victim.relative_to(self.run)}"
        content = bytearray(victim.read_bytes())
        if self.kind == "deleted":
            victim.unlink()
        elif self.kind == "cut":
            victim.write_bytes(content[: self.draw.randrange(len(content))])
        else:
            content[self.draw.randrange(len(content))] ^= 1 << self.draw.randrange(8)
            victim.write_bytes(content)
        ends = self._attempt(Agent(), ["--resume", str(self.run), "--timeout", _LONG], _NONE)
        lines = told(ends)
        if all(end.code == 0 for end in ends):
            return self._same()  # it is not needed
        if len(lines) != 1 or victim.name not in lines[0]:
            self.wrong.append("the file is not named in one line")
        way = re.search(r"lmhead train --resume (.*?) --step (\d+)", lines[0] if lines else "")
        if way is None:
            self.wrong.append("the older checkpoint is not offered")
            return False
        return self._ends(["--resume", *shlex.split(way[1]), "--step", way[2], "--timeout", _LONG])

    def _attempt(self, agent: Agent, words: list[str], fault: str, *, number: int = 0) -> list[Ended]:
        timeout = float(words[words.index("--timeout") + 1])
        ends = agent.attempt(2, trained, words, fault, number=number, timeout=timeout)
        lines = [line for line in told(ends) if line]
        self.said += [*lines, *(end.out[-300:] for end in ends if "--resume" in end.out)]
        if len(lines) > 1:
            self.wrong.append(f"{len(lines)} lines")
        if any(end.code is None for end in ends):
            self.wrong.append("a rank did not end")
        return ends

    def _ends(self, words: list[str]) -> bool:
        """Whether the command ends the run, as the one that nothing came to."""
        return all(end.code == 0 for end in self._attempt(Agent(), words, _NONE)) and self._same()

    def _same(self) -> bool:
        return result_of(self.run) == result_of(self.whole)


def result_of(run: Path) -> Result:
    """(weights, losses by step) of a run's end."""
    records = map(json.loads, (run / "log.jsonl").read_text(encoding="utf-8").splitlines())
    losses = {record["step"]: record["loss"] for record in records if "loss" in record}
    return (run / f"checkpoints/step-{STEPS}/model.safetensors").read_bytes(), losses


def main() -> int:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(prog="python -m tests.nightly.rank_faults", description=__doc__)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=list(KINDS), metavar="KIND")
    given = parser.parse_args()
    os.environ["TORCH_CPP_LOG_LEVEL"] = "FATAL"  # of the process that ranks are forked off, as the command sets it
    folder = Path(tempfile.mkdtemp(prefix="rank_faults_"))
    data = folder / "texts.jsonl"
    texts = [" ".join("abcdefgh"[(i * j) % 8] * (1 + j % 4) for j in range(30)) for i in range(40)]
    data.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
    whole = Trial("kill", random.Random(0), data, folder / "whole/run", folder / "whole")
    assert whole._ends([*whole.words, "--out", str(whole.run), "--timeout", _LONG]), whole.said
    draw, verdicts = random.Random(given.seed), []
    for number, kind in enumerate(islice(cycle(given.kinds), given.trials)):
        own = folder / f"trial-{number}"
        verdicts.append(Trial(kind, random.Random(draw.randrange(2**32)), data, whole.run, own).verdict())
        tell(verdicts[-1], number)
        if not verdicts[-1].bad:
            shutil.rmtree(own)
    table(verdicts)
    return 1 if any(verdict.bad for verdict in verdicts) else 0


def tell(verdict: Verdict, number: int) -> None:
    """A line of a trial, and where it is bad what was said."""
    print(f"{number}: {verdict.what}: {verdict.outcome}{' BAD ' * verdict.bad}{', '.join(verdict.wrong)}", flush=True)
    for line in verdict.said if verdict.bad else ():
        print(f"    {line[:300]}", flush=True)


def table(verdicts: list[Verdict]) -> None:
    """By kind."""
    print(f"{'fault':<12}{'trials':>8}{'as if nothing':>16}{'lost':>8}{'wrong words':>14}")
    for name in [*dict.fromkeys(verdict.kind for verdict in verdicts), "all"]:
        of = [verdict for verdict in verdicts if name in (verdict.kind, "all")]
        outcomes = Counter(each.outcome for each in of)
        wrong = sum(bool(each.wrong) for each in of)
        print(f"{name:<12}{len(of):>8}{outcomes['same']:>16}{outcomes['lost']:>8}{wrong:>14}")


if __name__ == "__main__":
    sys.exit(main())
