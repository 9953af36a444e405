"""A run of ranks that goes on from a checkpoint: by as many, bit for bit; by others, as one that was never saved."""

import json
import shutil
import time
from pathlib import Path

import pytest
from tests.ranks.launched import on_ranks
from tests.training.rank_runs import tiny, trained, trained_alone, words

from lmhead.ranks.ranks import ALONE
from lmhead.training.config.train_config import TrainConfig
from lmhead.training.loop import Trainer
from lmhead.training.reporter import Reporters
from lmhead.training.run.run_folder import RunFolder
from lmhead.training.setup import prepare

HALF, STEPS = 3, 6
OPTIONS = {"steps": STEPS, "save_every": HALF, "keep": 9, "average": True, "eval_every": 2, "sample_every": 100}


def resumed(ranks, folder: Path) -> None:
    """Go on from the checkpoint of half of the steps to the end."""
    run = RunFolder(folder)

    def begin() -> tuple[Path, TrainConfig]:
        run.lock.acquire()
        checkpoint = run.checkpoint_for_use(HALF, use="resume")
        return checkpoint, run.sealed_config(checkpoint)

    checkpoint, config = ranks.agreed(begin)
    ready = prepare(config, run, lambda line: None, checkpoint=checkpoint, ranks=ranks)
    trainer = Trainer(run, ready.config, ready, Reporters(), time.perf_counter())
    trainer.resume(checkpoint)
    trainer.train()
    run.lock.release()


def both(ranks, folder: Path, dropping: TrainConfig, plain: TrainConfig) -> None:
    """Two runs to the end, and of the first one a copy that goes on from its half."""
    trained(ranks, dropping)
    trained(ranks, plain)
    ranks.agreed(lambda: shutil.copytree(dropping.out, folder / "again"))
    resumed(ranks, folder / "again")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Has the runs of two ranks."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "text.txt").write_text(words(200))
    dropping = tiny(folder / "text.txt", folder / "dropping", name="muon", dropout=0.1, tied=True, **OPTIONS)
    on_ranks(2, both, folder, dropping, tiny(folder / "text.txt", folder / "plain", **OPTIONS))
    return folder


def told(run: Path) -> list[dict[str, object]]:
    """What the log says, but for times."""
    records = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [
        {name: value for name, value in record.items() if name not in ("seconds", "started")}
        for record in records
        if "record" not in record
    ]


def compare(run: Path, other: Path) -> None:
    for one, again in zip(told(run), told(other), strict=True):
        assert one.keys() == again.keys()
        for name in one.keys() & {"loss", "nll", "tokens", "grad_norm"}:
            assert again[name] == pytest.approx(one[name], rel=2e-6)


def test_a_run_with_an_average_that_is_evaluated_along_the_way_is_that_of_one_process(
    folder: Path, tmp_path: Path
) -> None:
    trained_alone(tiny(folder / "text.txt", tmp_path / "one", **OPTIONS))
    compare(tmp_path / "one", folder / "plain")


def test_as_many_ranks_go_on_bit_for_bit_with_dropout_muon_and_an_average(folder: Path) -> None:
    one, other = folder / "dropping", folder / "again"
    assert told(one) == told(other)
    for name in ("model.safetensors", "ranks/random-1-of-2.safetensors"):
        files = [(run / "checkpoints" / f"step-{STEPS}" / name).read_bytes() for run in (one, other)]
        assert files[0] == files[1]


@pytest.mark.parametrize(("size", "mesh"), [(4, "dp=2"), (1, None)])
def test_other_numbers_of_ranks_go_on_with_the_losses_of_the_whole_run(
    folder: Path, tmp_path: Path, size: int, mesh: str | None
) -> None:
    run = Path(shutil.copytree(folder / "plain", tmp_path / "run"))
    if size == 1:
        resumed(ALONE, run)
    else:
        on_ranks(size, resumed, run, mesh=mesh)
    compare(folder / "plain", run)
    last = RunFolder(run).checkpoint_for_use(use="resume")
    assert last.name == f"step-{STEPS}"
    assert (last / "ranks").is_dir() == (size > 1)
