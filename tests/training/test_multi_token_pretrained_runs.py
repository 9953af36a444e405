"""`lmhead train --init HF --mtp`: modules behind a model of transformers, left alone; resumed exactly; planned."""

import shutil
from pathlib import Path

import pytest
import torch
from tests.training.test_multi_token_runs import resumed, same, steps, weights
from tests.training.tiny_pretrained import write_gemma2, write_mamba

from lmhead.cli.main import main
from lmhead.models.multi_token.multi_token_model import MultiTokenModel
from lmhead.training.run.run_folder import RunFolder
from lmhead.training.weights.published_model import read_model

transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def gemma(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_gemma2(tmp_path_factory.mktemp("gemma") / "model")


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("text")
    for i in range(4):
        (folder / f"{i}.txt").write_text("".join(f"It is {i} and {j}. What is that?\n" for j in range(30)))
    return folder


def words(gemma: Path, text: Path, out: Path, *flags: str) -> list[str]:
    sizes = ("--max-seq-len", "32", "--rows", "2", "--accumulate", "2", "--prompt", "It", "--precision", "float32")
    rare = ("--eval-every", "1000", "--sample-every", "1000", "--quiet")
    return ["train", "--init", str(gemma), "--data", str(text), "--out", str(out), *sizes, *rare, *flags]


@pytest.mark.parametrize(
    "flags",
    [
        ("--mtp", "2", "--mtp-kind", "recurrent", "--no-mtp-isolated"),
        ("--mtp", "2", "--mtp-kind", "parallel"),
    ],
    ids=["recurrent", "parallel"],
)
def test_a_resumed_run_ends_bit_for_bit_as_one_that_was_not(
    gemma: Path, text: Path, tmp_path: Path, flags: tuple[str, ...]
) -> None:
    assert main(words(gemma, text, tmp_path / "whole", "--steps", "4", "--save-every", "2", *flags)) == 0
    again = resumed(tmp_path / "whole", 2, tmp_path / "again")
    assert steps(again) == steps(tmp_path / "whole")
    assert same(weights(again), weights(tmp_path / "whole"))


def test_a_frozen_model_keeps_its_weights_and_its_modules_learn(gemma: Path, text: Path, tmp_path: Path) -> None:
    flags = ("--steps", "6", "--save-every", "3", "--mtp", "2", "--mtp-frozen")
    assert main(words(gemma, text, tmp_path / "run", *flags, "--warmup-steps", "1")) == 0
    before = transformers.AutoModelForCausalLM.from_pretrained(gemma).state_dict()
    after = transformers.AutoModelForCausalLM.from_pretrained(RunFolder(tmp_path / "run").latest()).state_dict()
    assert same(after, before)
    assert all(name.startswith("mtp.") for name in weights(tmp_path / "run"))
    records = steps(tmp_path / "run")
    assert records[-1]["mtp_loss_2"] < records[0]["mtp_loss_2"]
    again = resumed(tmp_path / "run", 3, tmp_path / "again")
    assert same(weights(again), weights(tmp_path / "run"))


def test_isolated_modules_leave_the_model_what_it_is_without_them(gemma: Path, text: Path, tmp_path: Path) -> None:
    assert main(words(gemma, text, tmp_path / "without", "--steps", "3")) == 0
    assert main(words(gemma, text, tmp_path / "with", "--steps", "3", "--mtp", "1")) == 0
    alone = {f"main.{name}": weight for name, weight in weights(tmp_path / "without").items()}
    beside = weights(tmp_path / "with")
    for name, weight in alone.items():
        torch.testing.assert_close(beside[name], weight, rtol=1e-6, atol=1e-7)


def test_the_plan_counts_the_modules(
    gemma: Path, text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["estimate", "--init", str(gemma), "--mtp", "2", "--mtp-frozen"]) == 0
    said = dict(line.split(": ", 1) for line in capsys.readouterr().out.splitlines())
    assert main(words(gemma, text, tmp_path / "run", "--steps", "1", "--mtp", "2", "--mtp-frozen")) == 0
    model = read_model(RunFolder(tmp_path / "run").latest(), device=torch.device("cpu"))
    assert isinstance(model, MultiTokenModel)
    modules = sum(parameter.numel() for parameter in model.mtp.parameters())
    assert said["mtp"].endswith(f"; the model is frozen; about {modules:,} parameters")
    assert said["model"].endswith("parameters, frozen")
    assert f"gradients {4 * modules / 2**20:.1f} MiB" in said["memory"]


def test_a_model_that_modules_cannot_stand_behind_is_refused_in_a_line(
    text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mamba = write_mamba(tmp_path / "mamba")
    capsys.readouterr()
    assert main(words(mamba, text, tmp_path / "run", "--steps", "1", "--mtp", "1")) == 2
    error = capsys.readouterr().err
    assert "must have a last layer that a module can be like" in error
    assert error.count("\n") == 1


def test_frozen_weights_that_are_others_are_refused(
    gemma: Path, text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(gemma, copy)
    assert (
        main(words(copy, text, tmp_path / "run", "--steps", "2", "--save-every", "1", "--mtp", "1", "--mtp-frozen"))
        == 0
    )
    other = transformers.AutoModelForCausalLM.from_pretrained(copy)
    torch.nn.init.ones_(other.model.layers[0].mlp.up_proj.weight)
    other.save_pretrained(copy)
    capsys.readouterr()
    assert main(["train", "--resume", str(tmp_path / "run"), "--step", "1", "--quiet"]) == 2
    assert (
        "the weights of --init that were frozen in training are not those that are there now" in capsys.readouterr().err
    )
