"""`lmhead train --nproc`: what cannot be is refused before anything is started; what is lost is started again."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.ranks.test_faults import FLAGS

from lmhead.cli.main import main
from lmhead.cli.train_ranks import require_same_nproc
from lmhead.errors import ArgumentError, InputError, LostRankError
from lmhead.ranks import launch
from lmhead.ranks.launch import require_ranks
from lmhead.training.run.run_folder import RunFolder

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--nproc", "0"], "--nproc must be >= 1, got 0"),
        (["--nproc", "2", "--mesh", "dp=3"], "--mesh must multiply to the 2 ranks that there are, got dp=3 (3)"),
        (["--nproc", "2", "--timeout", "1e300"], "--timeout must be > 0 and at most a day, 86,400, got 1e+300"),
        (["--mesh", "tp=2"], "--mesh must multiply to the 1 rank that there is, got tp=2 (2)"),
        (["--nproc", "2", "--max-restarts", "-1"], "--max-restarts must be >= 0, got -1"),
        (["--max-restarts", "2"], "--max-restarts must come with --nproc, got 2 alone"),
        (["--nproc", "2", "--resume", "nowhere"], "no run in nowhere"),
        (["--nproc", "2", "--device", "cuda"], "--nproc must be at most the "),
    ],
)
def test_what_cannot_be_is_refused_before_any_process_is_started(words, line, capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(launch, "launch", None)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    monkeypatch.chdir(tmp_path)
    assert main(["train", *words]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"lmhead train: error: {line}")
    assert said.count("\n") == 1


@pytest.mark.parametrize(("device", "missing"), [("cpu", "gloo"), ("cuda", "nccl")])
def test_a_torch_without_a_backend_is_refused(device, missing, monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 8)
    monkeypatch.setattr(f"torch.distributed.is_{missing}_available", lambda: False)
    with pytest.raises(InputError, match=f"it was built without {missing}"):
        require_ranks(2, None, device)


def test_one_gpu_for_all_ranks_is_refused(monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 8)
    with pytest.raises(ArgumentError, match="device must be cuda where each rank has its own, got cuda:1"):
        require_ranks(2, None, "cuda:1")


def test_who_starts_the_ranks_says_how_many_there_are(monkeypatch):
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    require_same_nproc({})
    require_same_nproc({"nproc": 4})
    with pytest.raises(InputError, match="nproc must be the 4 of --nproc-per-node, got 2"):
        require_same_nproc({"nproc": 2})


def test_ranks_share_the_cores_unless_somebody_says_otherwise(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(9), raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert launch._for_ranks(4)["OMP_NUM_THREADS"] == "2"
    assert launch._for_ranks(16)["OMP_NUM_THREADS"] == "1"
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert "OMP_NUM_THREADS" not in launch._for_ranks(4)


def test_a_signal_that_is_ignored_stays_so(monkeypatch):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert launch._for_ranks(2)["TORCHELASTIC_SIGNALS_TO_HANDLE"] == "SIGTERM,SIGINT,SIGQUIT"
    finally:
        signal.signal(signal.SIGHUP, before)


def test_words_reach_the_ranks_as_they_were_given():
    words = ["train", "--prompt", "$$5 for ${local_rank}", ""]
    spec = launch._spec(words, 2, 0)
    from torch.distributed.elastic.utils import macros

    assert macros.substitute(list(spec.args), "1")[-4:] == words
    spec.rdzv_handler.shutdown()


def test_a_lost_rank_is_named_on_one_line_with_status_1(capsys, monkeypatch):
    def lost(*_, **__):
        raise LostRankError("rank 1 must stay until the run is over, got an end by SIGKILL at step 3: start it again")

    monkeypatch.setattr(launch, "launch", lost)
    assert main(["train", "--nproc", "2", "--device", "cpu"]) == 1
    assert capsys.readouterr().err.startswith("lmhead train: error: rank 1 must stay until the run is over")


def test_a_rank_that_is_killed_is_named_and_all_are_started_again(tmp_path):
    data, run = tmp_path / "texts.txt", tmp_path / "run"
    data.write_text("\n".join(" ".join("abcdefgh"[(i * j) % 8] * (1 + j % 4) for j in range(30)) for i in range(40)))
    words = [*FLAGS, "--data", str(data), "--out", str(run), "--nproc", "2", "--max-restarts", "1"]
    done = subprocess.run(
        [sys.executable, "-m", "tests.ranks.faulty_lmhead", "train", *words],
        cwd=ROOT,
        env={**os.environ, "FAULT": "kill:1:step:6", "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.stderr == (
        "rank 1 must stay until the run is over, got an end by SIGKILL at step 7 (the machine's memory may have run "
        "out): restart 1 of 1\n"
    )
    assert done.returncode == 0
    assert "after 12 steps" in done.stdout
    assert RunFolder.open(run).config().nproc == 2
    losses = [record["step"] for record in RunFolder.open(run).records() if "loss" in record]
    assert losses == list(range(1, 13))
