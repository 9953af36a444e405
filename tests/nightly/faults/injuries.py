"""What happens to a run in a trial: kills, signals, full and read-only disks, damaged files, pipes that close."""

import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.nightly.faults.subjects import Ended, Undisturbed, finish, halved, sample_words, start, train_words

_STATUSES: Final = {signal.SIGHUP: 129, signal.SIGINT: 130, signal.SIGQUIT: 131, signal.SIGTERM: 143}


@dataclass(slots=True, kw_only=True)
class Scene:
    """One trial while it goes on."""

    whole: Undisturbed
    folder: Path  # the trial's own
    draw: random.Random
    said: list[Ended] = field(default_factory=list)  # what the commands of the trial ended with
    wrong: list[str] = field(default_factory=list)  # what no command may do
    what: str = ""  # happened, for whoever reads the table

    @property
    def run(self) -> Path:
        """The run's folder."""
        return self.folder / "run"

    def begin(self, *, stdout: int | None = None, out: Path | None = None) -> subprocess.Popen[bytes]:
        """Start the subject's training."""
        return start(train_words(self.whole.subject, self.whole.data, out or self.run), stdout=stdout)

    def moment(self) -> float:
        """A random one of a whole run, in seconds."""
        return self.draw.uniform(0.05, 1.0) * self.whole.seconds

    def end(self, process: subprocess.Popen[bytes]) -> Ended:
        """Wait, and keep what it said."""
        ended = finish(process)
        if ended.status is None:
            self.wrong.append("hung")
        self.said.append(ended)
        return ended


def killed(scene: Scene) -> None:
    """SIGKILL at random moments, the resumed run's too."""
    times = scene.draw.randint(1, 3)
    scene.what = f"{times} x SIGKILL"
    process = scene.begin()
    for _ in range(times):
        time.sleep(scene.moment())
        process.kill()
        process.communicate()
        process = start(["train", "--resume", str(scene.run)]) if scene.run.exists() else scene.begin()
    process.kill()
    process.communicate()


def signalled(scene: Scene) -> None:
    """A signal that asks to stop, perhaps twice."""
    number = scene.draw.choice(list(_STATUSES))
    twice = scene.draw.random() < 0.3
    scene.what = f"{'2 x ' if twice else ''}{number.name}"
    process = scene.begin()
    time.sleep(scene.moment())
    process.send_signal(number)
    if twice:
        time.sleep(scene.draw.uniform(0, 0.3))
        process.send_signal(number)
    ended = scene.end(process)
    if ended.status not in (0, _STATUSES[number], -number):
        scene.wrong.append(f"status {ended.status} after {number.name}")


def reader_gone(scene: Scene) -> None:
    """Whoever reads the output goes away after some bytes."""
    process = scene.begin()
    assert process.stdout is not None
    wanted = scene.draw.choice((0, 10, 200, 600, 1500))
    scene.what = f"pipe closed after {wanted} bytes"
    process.stdout.read(wanted)
    process.stdout.close()
    process.wait()
    if process.returncode != 0:
        scene.wrong.append(f"status {process.returncode} with its reader gone")


def output_full(scene: Scene) -> None:
    """Standard output is a full disk."""
    scene.what = "> /dev/full"
    full = os.open("/dev/full", os.O_WRONLY)
    ended = scene.end(scene.begin(stdout=full))
    os.close(full)
    if ended.status != 0:
        scene.wrong.append(f"status {ended.status} with a full standard output")


def disk_full(scene: Scene) -> None:
    """The run's disk fills up at some moment; later there is room."""
    used = sum(path.stat().st_size for path in scene.whole.run.rglob("*") if path.is_file())
    size = int(used * scene.draw.uniform(0.05, 1.3)) // 4096 * 4096 + 8192
    scene.what = f"a disk of {size // 1024} KiB, {used // 1024} needed"
    with _disk_of_its_own(scene, size):
        ended = scene.end(scene.begin())
    if ended.status not in (0, 2):
        scene.wrong.append(f"status {ended.status} on a full disk")


def disk_read_only(scene: Scene) -> None:
    """The run's disk becomes read-only at some moment; later it can be written."""
    with _disk_of_its_own(scene, 1 << 26):
        process = scene.begin()
        time.sleep(scene.moment())
        done = False
        for _ in range(200):  # the system refuses while a file is open for writing
            done = subprocess.run(["mount", "-o", "remount,ro", str(scene.run)], capture_output=True).returncode == 0
            if done or process.poll() is not None:
                break
            time.sleep(0.002)
        scene.what = "read-only" if done else "read-only came too late"
        ended = scene.end(process)
    if ended.status not in (0, 2):
        scene.wrong.append(f"status {ended.status} on a read-only disk")


def folder_gone(scene: Scene) -> None:
    """The run's folder is moved away in the middle, and comes back."""
    process = scene.begin()
    time.sleep(scene.moment())
    away = scene.folder / "away"
    moved = scene.run.exists()
    if moved:
        scene.run.rename(away)
    scene.what = "folder moved away" if moved else "folder not there yet"
    scene.end(process)
    if moved and not scene.run.exists():
        away.rename(scene.run)
    elif moved:
        scene.wrong.append("made its vanished folder anew")


def _damage(name: str, harm: Callable[[bytearray, random.Random], bytearray | None]) -> Callable[[Scene], None]:
    def damaged(scene: Scene) -> None:
        halved(scene.whole.run, scene.folder)
        files = sorted(path for path in scene.run.rglob("*") if path.is_file() and not path.name.startswith("."))
        victim = scene.draw.choice(files)
        scene.what = f"{name} {victim.relative_to(scene.run)}"
        content = harm(bytearray(victim.read_bytes()), scene.draw)
        if content is None:
            victim.unlink()
        else:
            victim.write_bytes(content)
        listed, sampled = (scene.end(start(words)) for words in (["runs", str(scene.folder)], sample_words(scene.run)))
        for ended, command in ((listed, "runs"), (sampled, "sample")):
            if ended.status not in (0, 2):
                scene.wrong.append(f"lmhead {command}: status {ended.status}")
        if sampled.status == 0 and scene.whole.sampled not in sampled.output:
            scene.wrong.append("sampled from what is damaged")

    damaged.__doc__ = f"A random file of a stopped run is {name}."
    return damaged


def _cut(content: bytearray, draw: random.Random) -> bytearray:
    return content[: draw.randrange(len(content))] if content else content


def _flipped(content: bytearray, draw: random.Random) -> bytearray:
    for _ in range(draw.choice((1, 1, 8, 64))):
        if content:
            content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    return content


@contextmanager
def _disk_of_its_own(scene: Scene, size: int) -> Iterator[None]:
    """The run's folder on a disk of so many bytes; afterwards what is on it, in a folder as large as anybody likes."""
    kept = scene.folder / "kept"
    scene.run.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(scene.run)], check=True)
    try:
        yield
        shutil.copytree(scene.run, kept, symlinks=True)
    finally:
        subprocess.run(["umount", str(scene.run)], check=True)
    scene.run.rmdir()
    kept.rename(scene.run)


INJURIES: Final[dict[str, Callable[[Scene], None]]] = {
    "killed": killed,
    "signalled": signalled,
    "reader gone": reader_gone,
    "output full": output_full,
    "disk full": disk_full,
    "disk read-only": disk_read_only,
    "folder gone": folder_gone,
    "cut off": _damage("cut off", _cut),
    "flipped": _damage("flipped", _flipped),
    "emptied": _damage("emptied", lambda content, draw: bytearray()),
    "garbled": _damage("garbled", lambda content, draw: bytearray(draw.randbytes(max(1, len(content))))),
    "deleted": _damage("deleted", lambda content, draw: None),
}
NEED_MOUNTS: Final = frozenset({"disk full", "disk read-only"})  # root's, on Linux
