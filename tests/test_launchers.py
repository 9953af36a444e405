"""The launchers of examples/many_gpus: their syntax, the flags that they name, and what they would start.

torchrun, Slurm and Ray are played by stubs that write down what they were given. tests/nightly/two_hosts.py runs the
first one for real.
"""

import importlib.util
import os
import re
import signal
import subprocess
import sys
import time
import types
from pathlib import Path

import pytest
import yaml

from lmhead.cli.flags.flag_table import flags_of
from lmhead.cli.flags.train_config import TrainFlags

FOLDER = Path(__file__).parent.parent / "examples" / "many_gpus"
SCRIPTS = sorted(FOLDER.glob("*.sh"))
LAUNCHERS = [path for path in sorted(FOLDER.iterdir()) if path.suffix in (".sh", ".yaml", ".py")]
TASK = yaml.safe_load((FOLDER / "skypilot.yaml").read_text())


@pytest.fixture
def stubs(tmp_path, monkeypatch):
    """A folder at the head of the PATH: `stubs(name, script)` puts a program there."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")

    def stub(name: str, script: str) -> None:
        (folder / name).write_text(f"#!/usr/bin/env bash\n{script}\n")
        (folder / name).chmod(0o755)

    return stub


def given(path: Path) -> list[str]:
    """What a stub was called with, a word a line."""
    return path.read_text().splitlines()


def value_of(words: list[str], flag: str) -> str:
    return words[words.index(flag) + 1]


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_every_script_parses(path):
    subprocess.run(["bash", "-n", str(path)], check=True)
    assert os.access(path, os.X_OK)


def test_the_scripts_of_the_sky_task_parse():
    for script in (TASK["setup"], TASK["run"]):
        subprocess.run(["bash", "-n"], input=script, text=True, check=True)


@pytest.mark.parametrize("path", LAUNCHERS, ids=lambda path: path.name)
def test_every_flag_is_one_of_the_program_that_it_is_given_to(path):
    from torch.distributed.run import get_args_parser

    torchrun = {flag for action in get_args_parser()._actions for flag in action.option_strings}
    train = {flag.written for flag in flags_of(TrainFlags)}
    others = {
        "--kill-on-bad-exit",
        "--signal",
        "--env",
        "--nodes",
        "--workers",
        "--no-gpu",
        "--failures",
    }  # srun's, sky's, our own
    named = set(re.findall(r"(?<![\w-])--[a-z][\w-]+", without_directives(path.read_text())))
    assert named - torchrun - train - others == set()


def without_directives(text: str) -> str:
    return "\n".join(line for line in text.splitlines() if not line.startswith("#SBATCH"))


def test_torchrun_is_given_the_hosts_and_a_line_that_each_rank_of_each_attempt_begins_with(stubs, tmp_path):
    stubs("torchrun", f'printf "%s\\n" "$@" > {tmp_path}/torchrun; exec "${{@: -7}}"')
    stubs("python", f'printf "%s\\n" "$@" > {tmp_path}/python')
    run = tmp_path / "my runs" / "books"
    line = ["bash", str(FOLDER / "torchrun.sh"), "gpu-a", "2", str(run), "--steps", "7"]
    subprocess.run(line, check=True, env=os.environ | {"PER_HOST": "4", "HERE": "10.0.0.7"})
    words = given(tmp_path / "torchrun")
    flags = ("--nnodes", "--nproc-per-node", "--rdzv-endpoint", "--rdzv-id", "--local-addr")
    assert [value_of(words, flag) for flag in flags] == ["2", "4", "gpu-a", "books", "10.0.0.7"]
    begins = ["-m", "lmhead", "train", "--out", str(run), "--steps", "7"]
    assert given(tmp_path / "python") == begins
    run.mkdir(parents=True)
    (run / "config.yaml").touch()
    subprocess.run(line, check=True)
    assert given(tmp_path / "python") == ["-m", "lmhead", "train", "--resume", str(run)]
    words = given(tmp_path / "torchrun")
    assert value_of(words, "--nproc-per-node") == "gpu"
    assert "--local-addr" not in words


def test_without_words_a_script_says_how_it_is_used():
    for path in SCRIPTS:
        done = subprocess.run(["bash", str(path)], capture_output=True, text=True, check=False)
        assert done.returncode == 2
        assert "[flags of lmhead train]" in done.stderr


def test_every_directive_of_slurm_stands_before_the_first_command_and_has_a_value_or_none():
    lines = (FOLDER / "slurm.sh").read_text().splitlines()
    commands = next(number for number, line in enumerate(lines) if line and not line.startswith("#"))
    directives = [number for number, line in enumerate(lines) if line.startswith("#SBATCH")]
    assert directives
    assert max(directives) < commands
    switches, valued = {"--requeue", "--exclusive"}, {
        "--job-name", "--nodes", "--ntasks-per-node", "--gpus-per-node", "--cpus-per-task",
        "--time", "--open-mode", "--output", "--signal",
    }  # fmt: skip
    for number in directives:
        name, sign, value = lines[number].removeprefix("#SBATCH ").partition("=")
        assert name in (valued if sign else switches)
        assert bool(value) == bool(sign)


SLURM = {"SLURM_JOB_NODELIST": "gpu-[07-10]", "SLURM_JOB_NUM_NODES": "4", "SLURM_JOB_ID": "123456"}


@pytest.fixture
def slurm(stubs, tmp_path):
    stubs("scontrol", f'[[ $1 == show ]] && printf "gpu-07\\ngpu-08\\n" || echo "$@" > {tmp_path}/scontrol')
    stubs("scancel", f'echo "$@" > {tmp_path}/scancel; kill -TERM "$(cat {tmp_path}/steps)"')
    stubs("srun", f'printf "%s\\n" "$@" > {tmp_path}/srun; exec bash {tmp_path}/step')
    (tmp_path / "step").write_text("exit 0")
    return ["bash", str(FOLDER / "slurm.sh"), str(tmp_path / "run"), "--steps", "7"]


def test_slurm_starts_one_torchrun_a_host_that_meet_at_the_first(slurm, tmp_path):
    subprocess.run(slurm, check=True, env=os.environ | SLURM)
    words = given(tmp_path / "srun")
    assert words[words.index("-m") :] == ["-m", "lmhead", "train", "--out", str(tmp_path / "run"), "--steps", "7"]
    assert value_of(words, "--nnodes") == "4"
    assert value_of(words, "--rdzv-endpoint") == "gpu-07:23456"
    assert not (tmp_path / "scontrol").exists()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").touch()
    subprocess.run(slurm, check=True, env=os.environ | SLURM)
    words = given(tmp_path / "srun")
    assert words[words.index("-m") :] == ["-m", "lmhead", "train", "--resume", str(tmp_path / "run")]


def test_a_step_that_fails_is_the_job_s_status_and_is_not_queued_again(slurm, tmp_path):
    (tmp_path / "step").write_text("exit 3")
    assert subprocess.run(slurm, check=False, env=os.environ | SLURM).returncode == 3
    assert not (tmp_path / "scontrol").exists()


def test_out_of_time_the_ranks_save_before_the_job_is_queued_again(slurm, tmp_path):
    (tmp_path / "step").write_text(
        f"trap 'sleep 0.3; echo saved > {tmp_path}/saved; exit 1' TERM\n"
        f"echo $$ > {tmp_path}/new; mv {tmp_path}/new {tmp_path}/steps\n"
        "for _ in $(seq 200); do sleep 0.05; done; exit 4"
    )
    job = subprocess.Popen(slurm, env=os.environ | SLURM)
    while not (tmp_path / "steps").exists():
        time.sleep(0.02)
    job.send_signal(signal.SIGUSR1)
    job.wait(30)
    assert (tmp_path / "saved").exists()
    assert (tmp_path / "scancel").read_text().split() == ["--signal=TERM", "123456.0"]
    assert (tmp_path / "scontrol").read_text().split() == ["requeue", "123456"]


def test_the_sky_task_has_what_sky_knows_and_starts_torchrun_on_each_host(stubs, tmp_path):
    known = {"name", "num_nodes", "resources", "volumes", "envs", "workdir", "setup", "run"}
    assert set(TASK) == known
    assert set(TASK["resources"]) == {"infra", "accelerators", "use_spot", "job_recovery"}
    assert set(TASK["resources"]["job_recovery"]) == {"strategy", "max_restarts_on_errors"}
    volume = yaml.safe_load((FOLDER / "skypilot_volume.yaml").read_text())
    assert list(TASK["volumes"].values()) == [volume["name"]]
    assert TASK["envs"]["RUN"].startswith(next(iter(TASK["volumes"])))
    stubs("torchrun", f'printf "%s\\n" "$@" > {tmp_path}/torchrun')
    there = {"SKYPILOT_NODE_IPS": "10.0.0.1\n10.0.0.2", "SKYPILOT_NUM_NODES": "2", "SKYPILOT_NODE_RANK": "1"}
    there |= {"SKYPILOT_NUM_GPUS_PER_NODE": "8", "RUN": str(tmp_path / "run"), "FLAGS": "--data a b --steps 7"}
    subprocess.run(["bash", "-euc", TASK["run"]], check=True, env=os.environ | there)
    words = given(tmp_path / "torchrun")
    flags = ("--nnodes", "--nproc-per-node", "--node-rank", "--master-addr")
    assert [value_of(words, flag) for flag in flags] == ["2", "8", "1", "10.0.0.1"]
    assert words[words.index("-m") :] == [
        *("-m", "lmhead", "train", "--out", str(tmp_path / "run"), "--data", "a", "b", "--steps", "7"),
    ]


@pytest.fixture
def ray_train(monkeypatch):
    """The launcher of Ray Train, with a stub of Ray where there is none."""
    context = types.SimpleNamespace(
        get_world_rank=lambda: 0, get_world_size=lambda: 2, get_local_rank=lambda: 0, get_node_rank=lambda: 0
    )
    ray, train, torch = (types.ModuleType(name) for name in ("ray", "ray.train", "ray.train.torch"))
    ray.train, ray.util = train, types.SimpleNamespace(get_node_ip_address=lambda: "10.0.0.1")
    train.torch, train.get_context = torch, lambda: context
    torch.TorchConfig = torch.TorchTrainer = None
    for module in (ray, train, torch):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    spec = importlib.util.spec_from_file_location("ray_train", FOLDER / "ray_train.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module.dist, "broadcast_object_list", lambda agreed, src: None)
    return module


def test_a_worker_of_ray_is_one_rank_that_goes_on_with_a_run(ray_train, tmp_path, monkeypatch):
    started = []
    monkeypatch.setattr(ray_train.subprocess, "run", lambda words, env, check: started.append((words, env)))
    ray_train.train({"run": str(tmp_path), "flags": ["--steps", "7"]})
    (tmp_path / "config.yaml").touch()
    ray_train.train({"run": str(tmp_path), "flags": ["--steps", "7"]})
    (first, there), (second, _) = started
    assert first[1:] == ["-m", "lmhead", "train", "--out", str(tmp_path), "--steps", "7"]
    assert second[1:] == ["-m", "lmhead", "train", "--resume", str(tmp_path)]
    assert [there[name] for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR")] == ["0", "2", "0", "10.0.0.1"]
