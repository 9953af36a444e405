"""One trial: injure a run, do what the messages say, and compare the end with that of the undisturbed run."""

import random
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.nightly.faults.injuries import INJURIES, Scene
from tests.nightly.faults.subjects import Ended, Undisturbed, advised, finish, result_of, start, train_words

_TRIES: Final = 4  # commands that somebody types after an injury before giving up


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What became of a trial."""

    injury: str
    subject: str
    seed: int
    what: str
    outcome: str  # "same": as if nothing had been; "told": refused by name, and nothing was lost; else "lost"
    wrong: tuple[str, ...]
    said: tuple[str, ...]  # last lines

    @property
    def bad(self) -> bool:
        """Whether something is to be mended."""
        return self.outcome == "lost" or bool(self.wrong)


def run_trial(injury: str, whole: Undisturbed, seed: int, folder: Path) -> Verdict:
    """Injure, recover, judge; the trial's folder is removed where all is well."""
    folder.mkdir(parents=True, exist_ok=True)
    scene = Scene(whole=whole, folder=folder, draw=random.Random(f"{injury} {seed}"))
    INJURIES[injury](scene)
    outcome = _recover(scene)
    wrong = [*scene.wrong, *("traceback" for ended in scene.said if ended.traceback)]
    verdict = Verdict(
        injury=injury,
        subject=whole.subject.name,
        seed=seed,
        what=scene.what,
        outcome=outcome,
        wrong=tuple(wrong),
        said=tuple(ended.last_line for ended in scene.said),
    )
    if not verdict.bad:
        shutil.rmtree(folder)
    return verdict


def _recover(scene: Scene) -> str:
    """Resume, as the messages say, until the run has ended; "told" where a file has to be brought back first."""
    words = ["train", "--resume", str(scene.run)]
    if not (scene.run / "config.yaml").exists() and not any(scene.run.glob("checkpoints/step-*")):
        words = train_words(scene.whole.subject, scene.whole.data, scene.run)  # it had not begun
    tried: list[list[str]] = []
    for _ in range(_TRIES):
        tried.append(words)
        ended = _typed(scene, words)
        if ended.status == 0:
            return _judged(scene)
        ways = [way for way in advised(ended.output) if way not in tried]
        if not ways:
            return "told" if _tells(scene, ended) else "lost"
        words = ways[0]
    return "lost"


def _typed(scene: Scene, words: list[str]) -> Ended:
    ended = finish(start(words))
    if ended.status is None:
        scene.wrong.append("hung")
    scene.said.append(ended)
    return ended


def _judged(scene: Scene) -> str:
    weights, losses = result_of(scene.run)
    if weights != scene.whole.weights:
        return "lost"
    injured_log = scene.what.endswith("log.jsonl")  # what is written there is gone, or other: no later step can know
    return "same" if injured_log or losses == scene.whole.losses else "lost"


def _tells(scene: Scene, ended: Ended) -> bool:
    """Whether a refusal is one line that names the damaged file, and the file, brought back, heals the run."""
    name = scene.what.split()[-1]
    if ended.status != 2 or "error:" not in ended.last_line or Path(name).name not in ended.last_line:
        return False
    original = scene.whole.run / name
    if not original.exists():
        return False
    shutil.copy(original, scene.run / name)
    return _typed(scene, ["train", "--resume", str(scene.run)]).status == 0 and _judged(scene) == "same"
