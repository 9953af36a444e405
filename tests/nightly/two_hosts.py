"""Two hosts, as two network namespaces with hostnames of their own: examples/many_gpus/torchrun.sh against one process.

    python -m tests.nightly.two_hosts            exits with 1 where a loss differs, with 77 where it cannot be tried

1. the launcher on both hosts: the losses of one process;
2. a host is lost in training (its torchrun and its rank by SIGKILL), and given the same line again: the same losses;
3. a host is stopped by SIGTERM: the ranks of both save, the other one waits; the line there again: the same losses;
4. the first host is lost, and with it the place where they meet; the line on both again: the same losses.

The hosts talk over a veth pair, and share nothing but the file system. No root is needed where user namespaces are
allowed; nothing of it outlives this process.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

CANNOT: Final = 77
_ROOT: Final = Path(__file__).parents[2]
_LAUNCHER: Final = _ROOT / "examples" / "many_gpus" / "torchrun.sh"
_HOSTS: Final = ("host-a", "host-b")
_STEPS: Final = 40
_LIMIT: Final = 600  # seconds until a host must have ended
_FLAGS: Final = (
    *("--steps", str(_STEPS), "--save-every", "5", "--vocab-size", "300", "--max-seq-len", "32", "--rows", "6"),
    *("--embed-dim", "32", "--num-layers", "2", "--optimizer", "adamw", "--precision", "float32", "--device", "cpu"),
    *("--eval-every", "20", "--sample-every", "100", "--timeout", "60"),
)
_NETWORK: Final = """
mount -t tmpfs none /run
ip link add veth-a type veth peer name veth-b
for host in a b; do
  ip netns add host-$host
  ip link set veth-$host netns host-$host
  ip -n host-$host link set lo up
  ip -n host-$host link set veth-$host up
done
ip -n host-a address add 10.9.0.1/24 dev veth-a
ip -n host-b address add 10.9.0.2/24 dev veth-b
printf '127.0.0.1 localhost\\n10.9.0.1 host-a\\n10.9.0.2 host-b\\n' > /run/hosts
mount --bind /run/hosts /etc/hosts
"""


def why_not() -> str | None:
    """Why there can be no two hosts on this machine."""
    tried = subprocess.run(
        ["unshare", "-Urnm", "sh", "-ec", _NETWORK], capture_output=True, text=True, check=False
    ) if all(map(_there, ("unshare", "ip", "sh"))) else None  # fmt: skip
    if tried is None:
        return "no unshare or no ip (util-linux, iproute2)"
    return None if tried.returncode == 0 else f"namespaces are not allowed here: {tried.stderr.strip()}"


def _there(program: str) -> bool:
    return any(os.access(Path(folder, program), os.X_OK) for folder in os.get_exec_path())


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """A host that the launcher runs on."""

    name: str
    process: subprocess.Popen[bytes]
    output: Path

    @staticmethod
    def started(name: str, run: Path, flags: Sequence[str]) -> "Host":
        """One that has just been given the line."""
        output = run.with_name(f"{run.name}-{name}.txt")
        line = ["hostname", name, "&&", "exec", "bash", str(_LAUNCHER), _HOSTS[0], "2", str(run), *flags]
        with output.open("ab") as stream:
            process = subprocess.Popen(
                ["ip", "netns", "exec", name, "unshare", "--uts", "sh", "-c", " ".join(line)],
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                env=os.environ | {"PER_HOST": "1"},
                start_new_session=True,
            )
        return Host(name=name, process=process, output=output)

    def lost(self) -> None:
        """Every process of it ends at once, as by a power cut: torchrun's ranks are sessions of their own."""
        for process in [*_below(self.process.pid), self.process.pid]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        self.process.wait()

    def told(self, asked: signal.Signals) -> None:
        """Signal the launcher."""
        self.process.send_signal(asked)

    def ended(self) -> int:
        """Its exit status, once it has ended."""
        try:
            return self.process.wait(_LIMIT)
        except subprocess.TimeoutExpired:
            self.lost()
            raise AssertionError(f"{self.name} did not end:\n{self.said()}") from None

    def said(self) -> str:
        """What it has said."""
        return self.output.read_text(errors="replace")


def _below(process: int) -> list[int]:
    """A process' children, and theirs."""
    with contextlib.suppress(OSError):
        children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
        return [each for child in map(int, children) for each in (child, *_below(child))]
    return []


def losses(run: Path) -> dict[int, float]:
    """Nats of each step in the log; of a step that was taken twice the last one."""
    lines = (run / "log.jsonl").read_text().splitlines() if (run / "log.jsonl").exists() else []
    records = [json.loads(line) for line in lines if line.endswith("}")]
    return {record["step"]: record["loss"] for record in records if "grad_norm" in record}


def both(run: Path, flags: Sequence[str], disturb: Callable[[list[Host]], list[Host]] | None = None) -> None:
    """Run the launcher on both hosts to the end; `disturb` them when some steps are taken, and get those that go on."""
    hosts = [Host.started(name, run, flags) for name in _HOSTS]
    try:
        if disturb is not None:
            _wait_for_steps(run, 8, hosts)
            hosts = disturb(hosts)
        for host in hosts:
            status = host.ended()
            assert status == 0, f"{host.name} ended with {status}:\n{host.said()}"
    finally:
        for host in hosts:
            host.lost()


def _wait_for_steps(run: Path, steps: int, hosts: Sequence[Host]) -> None:
    deadline = time.monotonic() + _LIMIT
    while max(losses(run), default=0) < steps:
        assert time.monotonic() < deadline, "no step was taken:\n" + "\n".join(host.said() for host in hosts)
        assert all(host.process.poll() is None for host in hosts), "\n".join(host.said() for host in hosts)
        time.sleep(0.05)


def _second_lost(run: Path, flags: Sequence[str]) -> Callable[[list[Host]], list[Host]]:
    def disturb(hosts: list[Host]) -> list[Host]:
        hosts[1].lost()
        time.sleep(2)
        return [hosts[0], Host.started(_HOSTS[1], run, flags)]

    return disturb


def _stopped(run: Path, flags: Sequence[str]) -> Callable[[list[Host]], list[Host]]:
    def disturb(hosts: list[Host]) -> list[Host]:
        hosts[1].told(signal.SIGTERM)
        assert hosts[1].ended() != 0, f"{hosts[1].name} was not stopped:\n{hosts[1].said()}"
        assert max(losses(run)) < _STEPS, "it ended before it was stopped"
        return [hosts[0], Host.started(_HOSTS[1], run, flags)]

    return disturb


def _first_lost(run: Path, flags: Sequence[str]) -> Callable[[list[Host]], list[Host]]:
    def disturb(hosts: list[Host]) -> list[Host]:
        hosts[0].lost()
        assert hosts[1].ended() != 0, f"{hosts[1].name} went on alone:\n{hosts[1].said()}"
        return [Host.started(name, run, flags) for name in _HOSTS]

    return disturb


def main(only: Sequence[str]) -> int:
    """Try all, or those that are named; print what came of each."""
    data = Path(tempfile.mkdtemp(prefix="two-hosts-"))
    text = data / "text.txt"
    text.write_text("\n\n".join(f"the {n % 7} cats sat on the {n % 11} mats and slept {n}." for n in range(2500)))
    flags = ["--data", str(text), *_FLAGS]
    alone = data / "alone"
    one = [sys.executable, "-m", "lmhead", "train", *flags, "--out", str(alone)]
    subprocess.run(one, check=True, stdout=subprocess.DEVNULL)
    expected = losses(alone)
    assert len(expected) == _STEPS
    disturbances = {"plain": None, "second-lost": _second_lost, "stopped": _stopped, "first-lost": _first_lost}
    wrong = 0
    for name, disturb in disturbances.items():
        if only and name not in only:
            continue
        run, since = data / name, time.monotonic()
        try:
            both(run, flags, None if disturb is None else disturb(run, flags))
            found = losses(run)
            apart = max(abs(found.get(step, float("inf")) - loss) for step, loss in expected.items())
            result = f"{apart:.1e} nats from one process at most" + ("" if apart <= 1e-6 else ": DIFFERENT")
            wrong += apart > 1e-6
        except AssertionError as error:
            result, wrong = f"FAILED: {error}", wrong + 1
        print(f"{name}: {result}, {time.monotonic() - since:.0f} s", flush=True)
    print(f"in {data}" if wrong else "as one process")
    return 1 if wrong else 0


if __name__ == "__main__":
    if os.environ.get("LMHEAD_TWO_HOSTS") is None:
        if (reason := why_not()) is not None:
            print(f"not tried: {reason}")
            sys.exit(CANNOT)
        inside = f"{_NETWORK}\nexec {sys.executable} -m tests.nightly.two_hosts {' '.join(sys.argv[1:])}"
        os.environ["LMHEAD_TWO_HOSTS"] = "1"
        os.execvp("unshare", ["unshare", "-Urnm", "--pid", "--fork", "--mount-proc", "sh", "-ec", inside])
    sys.exit(main(sys.argv[1:]))
