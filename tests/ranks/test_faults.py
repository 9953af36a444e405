"""A run of two ranks into which something comes ends as if nothing had, or says in one line what it was."""

import json
from pathlib import Path

import pytest
from tests.ranks.faulty_lmhead import Fault, install
from tests.ranks.worlds import Agent, told

FLAGS = [
    *("--embed-dim", "16", "--num-heads", "2", "--num-layers", "1", "--mlp-dim", "32", "--vocab-size", "280"),
    *("--max-seq-len", "16", "--rows", "3", "--steps", "12", "--precision", "float32", "--device", "cpu", "--quiet"),
    *("--save-every", "4", "--eval-every", "6", "--sample-every", "6", "--keep", "9", "--timeout", "40"),
]


def trained(place, arguments, fault):
    """One rank of `lmhead train`."""
    import os

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
