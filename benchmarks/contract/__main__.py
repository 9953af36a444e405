"""Who keeps the contract: every case against this library, torch, and the peers from PyPI that run here.

    python -m benchmarks.contract                    a table; JSON in benchmarks/results/contract.json: minutes
    python -m benchmarks.contract --only TRL lmhead  some of them, nothing saved
    python -m benchmarks.contract --list             the cases, with what each is there for

benchmarks/peers.py says how to get the peers, and with which versions this was run. Each runs in a process of its own,
which is started again for the rest where a case crashes it or takes longer than two minutes.
"""

import argparse
import faulthandler
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch

import lmhead
from benchmarks.contract.cases import BEYOND_THE_INTERPRETER, CASES, Outcome, attempt
from benchmarks.contract.subject import Subject
from benchmarks.harness import Report
from benchmarks.peers import Peer, peers

_OURS = "lmhead"
_SECONDS_A_CASE = 120
_WIDTH = 56  # characters of a cell; the JSON has the whole message


@dataclass(slots=True, kw_only=True)
class Verdict:
    """What became of one implementation."""

    version: str | None
    refusal: str | None = None  # why it cannot run at all
    interpreted: bool = False
    outcomes: dict[str, Outcome] = field(default_factory=dict)


def implementations() -> dict[str, Peer]:
    """This library's op as it chooses its back-end, then the peers."""
    ours = Peer(name=_OURS, package="lmhead", make=lambda: lmhead.linear_cross_entropy)
    return {_OURS: ours, **peers()}


def judge(peer: Peer) -> Verdict:
    """Every case, in as many fresh processes as that takes."""
    verdict = Verdict(version=peer.version(), interpreted=peer.interpreted)
    if verdict.version is None:
        verdict.refusal = f"{peer.package} is not installed"
        return verdict
    while verdict.refusal is None and len(verdict.outcomes) < len(CASES):
        _run_a_worker(peer, verdict)
    return verdict


def _run_a_worker(peer: Peer, verdict: Verdict) -> None:
    """Adds to the verdict what one process gets done; where it dies, that is the outcome of the case it was at."""
    left = [name for name in CASES if name not in verdict.outcomes]
    with tempfile.TemporaryDirectory() as folder:
        answers = Path(folder) / "answers.jsonl"
        command = [sys.executable, "-m", "benchmarks.contract", "--worker", peer.name, str(answers), *left]
        done = subprocess.run(command, env={**os.environ, **peer.environment}, capture_output=True, check=False)
        lines = [json.loads(line) for line in answers.read_text().splitlines()] if answers.exists() else []
    for line in lines:
        if "refusal" in line:
            verdict.refusal = line["refusal"]
        else:
            verdict.outcomes[line["case"]] = Outcome(holds=line["holds"], says=line["says"])
    unfinished = [name for name in left if name not in verdict.outcomes]
    if verdict.refusal is None and unfinished:
        how = f"killed by signal {-done.returncode}" if done.returncode < 0 else "hangs or leaves Python"
        if lines:
            verdict.outcomes[unfinished[0]] = Outcome(holds=False, says=how)
        else:
            verdict.refusal = f"{how}: {done.stderr.decode(errors='replace').strip()[-100:]}"


def work(name: str, answers: Path, cases: list[str]) -> None:
    """In the worker: one JSON line for whether it runs, then one for each case, each written when it is known."""
    os.chdir(answers.parent)  # some leave caches where they run
    peer = implementations()[name]
    with answers.open("a") as file:

        def tell(line: dict[str, object]) -> None:
            file.write(json.dumps(line) + "\n")
            file.flush()

        faulthandler.dump_traceback_later(_SECONDS_A_CASE, exit=True)
        refusal = peer.refusal()
        tell({"refusal": refusal})
        if refusal is not None:
            return
        subject = Subject(loss=peer.loss())
        for case in cases:
            faulthandler.dump_traceback_later(_SECONDS_A_CASE, exit=True)
            outcome = attempt(case, subject, fresh=peer.compiled, interpreted=peer.interpreted)
            tell({"case": case, **asdict(outcome)})
        faulthandler.cancel_dump_traceback_later()


def report(verdicts: dict[str, Verdict]) -> Report:
    """Cases down, implementations across."""
    running = {name: verdict for name, verdict in verdicts.items() if verdict.refusal is None}
    columns = tuple(
        name if verdict.version == torch.__version__ else f"{name} {verdict.version}"
        for name, verdict in running.items()
    )
    made = Report(name="contract", title="the autograd contract", columns=("", *columns))
    for case in CASES:
        cells = (_cell(verdict.outcomes[case]) for verdict in running.values())
        made.rows.append((case.replace("_", " "), *cells))
    counts = (_count(verdict) for verdict in running.values())
    made.rows.append(("**cases that hold**", *counts))
    made.notes += [
        f"{name} {verdict.version or ''} cannot run here: {verdict.refusal}."
        for name, verdict in verdicts.items()
        if verdict.refusal is not None
    ]
    interpreted = [name for name, verdict in running.items() if verdict.interpreted]
    if interpreted:
        why = " and ".join(dict.fromkeys(BEYOND_THE_INTERPRETER.values()))
        made.notes.append(f"No GPU here: {' and '.join(interpreted)} ran in Triton's interpreter. Not judged: {why}.")
    made.measured = {name: asdict(verdict) for name, verdict in verdicts.items()}
    return made


def _cell(outcome: Outcome) -> str:
    if outcome.holds is None:
        return "not judged"
    if outcome.holds:
        return f"yes, {outcome.says}" if outcome.says else "yes"
    kind, _, message = outcome.says.partition(": ")
    says = (message if kind.isidentifier() and message else outcome.says).replace("|", "\\|")
    return f"**no**: {says if len(says) <= _WIDTH else says[: _WIDTH - 3].rstrip() + '...'}"


def _count(verdict: Verdict) -> str:
    judged = [outcome.holds for outcome in verdict.outcomes.values() if outcome.holds is not None]
    return f"{sum(judged)} of {len(judged)}"


def main() -> None:
    """Parse the command line, run, print, save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=[*implementations()], help="nothing is saved")
    parser.add_argument("--list", action="store_true", help="the cases, and what each is there for")
    parser.add_argument("--worker", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.worker:
        name, answers, *cases = arguments.worker
        work(name, Path(answers), cases)
        return
    if arguments.list:
        for name, case in CASES.items():
            print(f"{name}: {' '.join((case.__doc__ or '').split())}")
        return
    verdicts = {}
    for name in arguments.only or implementations():
        verdicts[name] = judge(implementations()[name])
        print(f"{name}: {verdicts[name].refusal or _count(verdicts[name])}", file=sys.stderr, flush=True)
    made = report(verdicts)
    print(made.table())
    if not arguments.only:
        print(f"\n{made.save()}")


if __name__ == "__main__":
    main()
