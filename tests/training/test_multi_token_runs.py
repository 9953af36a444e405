"""`lmhead train --mtp`: a run of each kind, logged, resumed exactly; behind a trained model, which it leaves alone."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.training.chat_runs import write_chat

from lmhead.cli.main import main
from lmhead.models.gpt import GPT
from lmhead.models.multi_token.multi_token_model import MultiTokenModel
from lmhead.models.transformers.formats.pretrained import load_pretrained
from lmhead.training.run.run_folder import RunFolder

TINY = [
    *("--vocab-size", "300", "--embed-dim", "32", "--num-heads", "2", "--num-layers", "1", "--max-seq-len", "32"),
    *("--rows", "4", "--log-every", "1", "--eval-every", "1000", "--sample-every", "1000", "--prompt", "def"),
]
DRAWN = ("--steps", "12", "--save-every", "6", "--mtp", "2")
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("text")
    for i in range(6):
        lines = [f"def f{i}_{j}(x):\n    return x + {i * j}\n\n" for j in range(30)]
        (folder / f"{i}.py").write_text("".join(lines))
    return folder


@pytest.fixture(scope="module")
def plain(text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained run without modules."""
    run = tmp_path_factory.mktemp("plain") / "run"
    train(text, run, *TINY, "--steps", "12")
    return run


@pytest.fixture(scope="module")
def two(text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained run with two modules."""
    run = tmp_path_factory.mktemp("two") / "run"
    train(text, run, *TINY, *DRAWN)
    return run


def train(text: Path, out: Path, *flags: str) -> None:
    assert main(["train", "--data", str(text), "--out", str(out), "--quiet", *flags]) == 0


def behind(text: Path, init: Path, out: Path, *flags: str) -> None:
    fixed = ("--rows", "4", "--eval-every", "1000", "--sample-every", "1000", "--prompt", "def")
    train(text, out, "--init", str(init), *fixed, *flags)


def steps(run: Path) -> list[dict[str, Any]]:
    return [
        {name: value for name, value in record.items() if name != "seconds"}
        for record in RunFolder(run).records()
        if "loss" in record
    ]


def weights(run: Path) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(RunFolder(run).latest() / "training.pt", weights_only=True)["model"]
    return state


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def model_of(run: Path) -> MultiTokenModel:
    model = load_pretrained(RunFolder(run).latest())
    assert isinstance(model, MultiTokenModel)
    return model


def resumed(run: Path, step: int, folder: Path) -> Path:
    """A copy of a run that has taken its last steps again."""
    shutil.copytree(run, folder)
    assert main(["train", "--resume", str(folder), "--step", str(step), "--quiet"]) == 0
    return folder


@pytest.mark.parametrize(
    "flags",
    [
        ("--mtp", "2", "--average"),
        ("--mtp", "3", "--mtp-kind", "recurrent", "--dropout", "0.1", "--accumulate", "2"),
        (
            "--mtp",
            "2",
            "--mtp-kind",
            "parallel",
            "--mtp-lambda",
            "1",
            "--mtp-later-lambda",
            "0",
            "--mtp-later-from",
            ".5",
        ),
        ("--mtp", "1", "--mtp-isolated", "--mtp-against", "model", "--optimizer", "adamw"),
    ],
    ids=["sequential", "recurrent", "parallel", "isolated"],
)
def test_a_resumed_run_ends_bit_for_bit_as_one_that_was_not(text: Path, tmp_path: Path, flags: tuple[str, ...]) -> None:
    train(text, tmp_path / "whole", *TINY, "--steps", "8", "--save-every", "3", "--keep", "9", *flags)
    again = resumed(tmp_path / "whole", 3, tmp_path / "again")
    assert steps(again) == steps(tmp_path / "whole")
    assert same(weights(again), weights(tmp_path / "whole"))


def test_a_step_tells_the_loss_of_every_further_token(two: Path) -> None:
    records = steps(two)
    assert [record["step"] for record in records] == list(range(1, 13))
    for record in records:
        total = record["loss"] + 0.15 * (record["mtp_loss_1"] + record["mtp_loss_2"])
        assert record["total_loss"] == pytest.approx(total, rel=1e-5)
        assert "mtp_grad_norm" not in record
    assert records[-1]["mtp_loss_2"] < records[0]["mtp_loss_2"]


def test_a_run_without_modules_says_nothing_of_them(plain: Path) -> None:
    assert set(steps(plain)[0]) == {"step", "loss", "grad_norm", "rate", "tokens", "sources"}


def test_the_lambda_falls_behind_its_share_of_the_steps(text: Path, tmp_path: Path) -> None:
    flags = ("--mtp", "1", "--mtp-lambda", "0.5", "--mtp-later-lambda", "0", "--mtp-later-from", "0.5")
    train(text, tmp_path / "run", *TINY, "--steps", "4", *flags)
    *first, third, last = steps(tmp_path / "run")
    weighed = [(record["total_loss"] - record["loss"]) / record["mtp_loss_1"] for record in first]
    assert weighed == pytest.approx([0.5, 0.5], abs=1e-5)
    for record in (third, last):  # what weighs nothing is not computed
        assert record["total_loss"] == pytest.approx(record["loss"], rel=1e-6)
        assert "mtp_loss_1" not in record


def test_the_published_checkpoint_has_the_modules(two: Path) -> None:
    model = model_of(two)
    assert (model.kind, model.depth) == ("sequential", 2)
    trained = weights(two)
    for name, weight in model.mtp.named_parameters():
        if f"mtp.{name}" in trained:  # norms without weights are ones there
            assert torch.equal(weight, trained[f"mtp.{name}"])


def test_isolated_modules_leave_the_model_bit_for_bit_what_it_is_without_them(
    text: Path, two: Path, tmp_path: Path
) -> None:
    behind(text, two, tmp_path / "without", "--steps", "5", "--mtp", "none")
    behind(text, two, tmp_path / "trained on", "--steps", "5")
    behind(text, two, tmp_path / "drawn", "--steps", "5", "--mtp", "3", "--mtp-drawn", "--mtp-kind", "recurrent")
    alone = weights(tmp_path / "without")
    assert not any(name.startswith("mtp.") for name in alone)
    for name in ("trained on", "drawn"):
        main_weights = {
            each.removeprefix("main."): weight
            for each, weight in weights(tmp_path / name).items()
            if each.startswith("main.")
        }
        assert same(main_weights, alone)
        assert [record["grad_norm"] for record in steps(tmp_path / name)] == [
            record["grad_norm"] for record in steps(tmp_path / "without")
        ]
        assert all(record["mtp_grad_norm"] > 0 for record in steps(tmp_path / name))


def test_modules_that_a_model_has_are_trained_on(text: Path, two: Path, tmp_path: Path) -> None:
    behind(text, two, tmp_path / "run", "--steps", "1", "--mtp-rate", "1e-9", "--lr", "1e-7")
    config = RunFolder(tmp_path / "run").config()
    assert (config.mtp.depth, config.mtp.kind, config.mtp.drawn, config.mtp.isolated) == (2, "sequential", False, True)
    before, after = model_of(two).mtp, model_of(tmp_path / "run").mtp
    for one, other in zip(before.parameters(), after.parameters(), strict=True):
        torch.testing.assert_close(other, one, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", ["sequential", "parallel"])
def test_a_frozen_model_keeps_its_weights_to_the_bit(text: Path, plain: Path, tmp_path: Path, kind: str) -> None:
    flags = ("--steps", "6", "--save-every", "3", "--mtp", "2", "--mtp-kind", kind, "--mtp-frozen")
    behind(text, plain, tmp_path / "run", *flags, "--mtp-against", "model")
    before, after = load_pretrained(RunFolder(plain).latest()), model_of(tmp_path / "run")
    assert isinstance(before, GPT)
    assert same(dict(after.main.state_dict()), dict(before.state_dict()))
    assert all(name.startswith("mtp.") for name in weights(tmp_path / "run"))
    records = steps(tmp_path / "run")
    assert records[-1]["mtp_loss_1"] < records[0]["mtp_loss_1"]
    again = resumed(tmp_path / "run", 3, tmp_path / "again")
    assert same(weights(again), weights(tmp_path / "run"))
    assert steps(again) == records


def test_a_frozen_model_that_would_need_new_tokens_is_refused(
    plain: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chat = write_chat(tmp_path / "chat.jsonl", 20)
    words = ["train", "--data", str(chat), "--out", str(tmp_path / "run"), "--init", str(plain), "--steps", "1"]
    assert main([*words, "--max-seq-len", "256", "--mtp", "1", "--mtp-frozen"]) == 2
    assert (
        "--mtp-frozen must be off where the tokenizer has tokens that --init has never seen" in capsys.readouterr().err
    )


def test_conversations_are_trained_with_further_tokens(plain: Path, tmp_path: Path) -> None:
    chat = write_chat(tmp_path / "chat.jsonl", 30)
    behind(chat, plain, tmp_path / "run", "--steps", "2", "--mtp", "2", "--max-seq-len", "256")
    assert all(record["mtp_loss_2"] > 0 for record in steps(tmp_path / "run"))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--mtp", "3"), "--mtp must be that of --init's modules, 2, got 3: leave --mtp out, or draw new modules: "),
        (("--mtp-kind", "recurrent"), "--mtp-kind must be that of --init's modules, sequential, got recurrent"),
        (("--mtp-family", "deepseek_v3"), "--mtp-family must be that of --init's modules, "),
    ],
)
def test_other_modules_than_those_that_a_model_has_are_refused(
    text: Path, two: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: tuple[str, ...], message: str
) -> None:
    words = ["train", "--data", str(text), "--out", str(tmp_path / "run"), "--init", str(two), "--steps", "1", *flags]
    assert main(words) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_modules_of_a_model_without_any_are_refused(
    text: Path, plain: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["train", "--data", str(text), "--out", str(tmp_path / "run"), "--init", str(plain), "--steps", "1"]
    assert main([*words, "--mtp", "1", "--no-mtp-drawn"]) == 2
    assert "--mtp-drawn must be on where --init has no modules, got False: leave it out" in capsys.readouterr().err


def test_modules_that_are_left_out_are_told(
    text: Path, two: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["train", "--data", str(text), "--out", str(tmp_path / "run"), "--init", str(two), "--steps", "1"]
    assert main([*words, "--mtp", "none"]) == 0
    assert "init: its modules of multi-token prediction are left out" in capsys.readouterr().out


def test_the_plan_and_the_header_say_what_stands_behind_the_model(
    text: Path, plain: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["train", "--data", str(text), "--out", str(tmp_path / "run"), "--init", str(plain), "--steps", "1"]
    assert main([*words, "--mtp", "2", "--mtp-frozen", "--mtp-against", "model"]) == 0
    said = capsys.readouterr().out
    assert "mtp: 2 further tokens by a chain of 2 modules (sequential); lambda 0.3 times their mean" in said
    assert "the model is frozen, from the model's own distributions" in said
    header = json.loads((tmp_path / "run" / "log.jsonl").read_text().splitlines()[0])
    mtp = sum(parameter.numel() for parameter in model_of(tmp_path / "run").mtp.parameters())
    assert header["model"]["mtp"] == header["model"]["trained"] == mtp
