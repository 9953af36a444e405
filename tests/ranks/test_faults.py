"""A run of two ranks into which something comes ends as if nothing had, or says in one line what it was."""

import json
import os
import signal
import tempfile
from pathlib import Path

import numpy as np
import pytest
from tests.ranks.faulty_lmhead import Fault, install
from tests.ranks.worlds import Agent, told

from lmhead.cli.main import main
from lmhead.ranks import shared_object
from lmhead.training.config.train_config import TrainConfig
from lmhead.training.run.run_folder import RunFolder

FLAGS = [
    *("--embed-dim", "16", "--num-heads", "2", "--num-layers", "1", "--mlp-dim", "32", "--vocab-size", "280"),
    *("--max-seq-len", "16", "--rows", "3", "--steps", "12", "--precision", "float32", "--device", "cpu", "--quiet"),
    *("--save-every", "4", "--eval-every", "6", "--sample-every", "6", "--keep", "9", "--timeout", "40"),
]


def trained(place, arguments, fault):
    """One rank of `lmhead train`."""
    from lmhead.cli.train import _run

    kind, rank, phase, step = fault.split(":")
    if os.environ["TORCHELASTIC_RESTART_COUNT"] == "0" and place.world.rank == int(rank):
        coming = Fault(kind, phase, int(step))
        coming("start", 0)
        install(coming)
    return _run(arguments, place)


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    data = tmp_path_factory.mktemp("faults") / "texts.jsonl"
    texts = [" ".join("abcdefgh"[(i * j) % 8] * (1 + j % 4) for j in range(30)) for i in range(40)]
    data.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
    return ["--data", str(data), *FLAGS]


@pytest.fixture(scope="module")
def whole(words, tmp_path_factory):
    run = tmp_path_factory.mktemp("whole") / "run"
    ends = Agent().attempt(2, trained, [*words, "--out", str(run)], "kill:7:step:0")
    assert [end.code for end in ends] == [0, 0]
    assert told(ends) == []
    return result_of(run)


def result_of(run: Path):
    """(weights, losses) of the end."""
    records = map(json.loads, (run / "log.jsonl").read_text(encoding="utf-8").splitlines())
    losses = {record["step"]: record["loss"] for record in records if "loss" in record}
    return (run / "checkpoints/step-12/model.safetensors").read_bytes(), losses


@pytest.mark.parametrize("fault", ["kill:0:publish:8"])
def test_a_run_that_is_started_again_where_a_rank_was_killed_ends_as_if_nothing_had_been(fault, words, whole, tmp_path):
    agent = Agent(launched=True, restarts=1)
    ends = agent.attempt(2, trained, [*words, "--out", str(tmp_path / "run")], fault)
    assert -9 in [end.code for end in ends]
    assert told(ends) == []  # the launcher tells
    again = agent.attempt(2, trained, [*words, "--out", str(tmp_path / "run")], fault, number=1)
    assert told(again) == []
    assert [end.code for end in again] == [0, 0]
    assert result_of(tmp_path / "run") == whole


@pytest.mark.parametrize(
    ("fault", "status", "line"),
    [
        ("nan:1:backward:5", 1, "step 6: the loss is nan"),
        ("disk:1:save:4", 2, "cannot save {run}/checkpoints/step-4: rank 1: File too large"),
        ("gone:0:copy:4", 2, "{run}"),
        ("term:1:step:5", 143, ""),
    ],
)
def test_what_comes_to_one_rank_ends_all_and_is_told_once(fault, status, line, words, tmp_path):
    run = tmp_path / "run"
    ends = Agent().attempt(2, trained, [*words, "--out", str(run)], fault)
    assert {end.code for end in ends} == {status}
    lines = told(ends)
    assert len(lines) == (line != "")
    assert not line or line.format(run=run) in lines[0]
    if status == 143:
        assert f"stopped by SIGTERM after step 6, saved; go on with: lmhead train --resume {run}" in ends[0].out
        assert (run / "checkpoints/step-6").is_dir()
    assert not list(run.rglob(".draft-*"))
    assert run.exists() == (not fault.startswith("gone"))  # nothing of it is made again


STOPPED = ["", "stopped by SIGTERM"]  # as of one process that is asked to when its figures are told


def test_one_process_that_is_asked_to_stop_when_all_is_trained_has_nothing_to_go_on_with(
    words, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(RunFolder, "__exit__", lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    assert main(["train", *words, "--out", str(tmp_path / "run")]) == 143
    said = capsys.readouterr()
    assert "after 12 steps" in said.out
    assert said.err.splitlines() == STOPPED


@pytest.mark.parametrize("rank", [0, 1])
def test_nor_have_ranks_of_which_one_is_asked_to(rank, words, tmp_path):
    ends = Agent().attempt(2, trained, [*words, "--out", str(tmp_path / "run")], f"term:{rank}:over:12")
    assert told(ends) == STOPPED
    assert [end.code for end in ends] == [143, 143]


def test_a_rank_that_is_asked_to_stop_when_all_have_come_to_the_end_has_ended_well(words, tmp_path):
    ends = Agent().attempt(2, trained, [*words, "--out", str(tmp_path / "run")], "term:0:left:12")
    assert told(ends) == []
    assert [end.code for end in ends] == [0, 0]
    assert "after 12 steps" in ends[0].out


def shares(place, folder, victim):
    """The numbers that the ranks share by a file in `folder`; who writes it is killed when it is written."""
    tempfile.tempdir = str(folder)
    if place.world.rank == victim:
        install(Fault("kill", "share", 0))
    config = TrainConfig(device="cpu", timeout=30.0)

    def work(ranks):
        numbers = ranks.shared(lambda: np.arange(20_000))
        print(int(numbers.sum()), flush=True)
        return 0

    return place.train(config, work)


def test_what_a_killed_rank_wrote_for_the_others_the_next_ones_remove_and_not_what_is_in_use(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(tmp_path))
        held, in_use = shared_object._locked()
    agent = Agent(restarts=1)
    assert agent.attempt(2, shares, tmp_path, 0)[0].code == -9
    assert len(list(tmp_path.glob("lmhead-ranks-*"))) == 2
    ends = agent.attempt(2, shares, tmp_path, None, number=1)
    assert [end.code for end in ends] == [0, 0]
    assert ends[0].out == f"{sum(range(20_000))}\n"
    assert list(tmp_path.glob("lmhead-ranks-*")) == [in_use]
    os.close(held)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    shared_object.sweep()
    assert not list(tmp_path.glob("lmhead-ranks-*"))
