"""`lmhead estimate`: the plan of a run that is never started."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from lmhead.cli.main import main
from lmhead.cli.plans import plan
from lmhead.models.config import GPTConfig
from lmhead.models.gpt import GPT
from lmhead.models.multi_token.multi_token_model import MultiTokenModel
from lmhead.models.multi_token.style import KINDS, Kind
from lmhead.training.config.train_config import TrainConfig, default_model, to_yaml
from lmhead.training.config.widths import following_widths


def estimate(capsys: pytest.CaptureFixture[str], *flags: str) -> dict[str, str]:
    """The printed lines by what stands before the colon."""
    assert main(["estimate", *flags]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    return dict(line.split(": ", 1) for line in captured.out.splitlines())


def parameters(config: GPTConfig) -> int:
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in GPT.from_config(config).parameters())


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"num_layers": 2, "embed_dim": 64},
        {"vocab_size": 50257, "embed_dim": 768, "num_layers": 12, "num_heads": 12},
        {"gated": True, "num_kv_heads": 1, "mlp_dim": 96},
    ],
)
def test_parameters_are_those_of_the_model(capsys: pytest.CaptureFixture[str], changes: dict[str, int | bool]) -> None:
    switches = [f"--{name.replace('_', '-')}" for name, value in changes.items() if value is True]
    sizes = [f"--{name.replace('_', '-')}={value}" for name, value in changes.items() if value is not True]
    counted = estimate(capsys, *switches, *sizes)["model"]
    wanted = parameters(replace(default_model(), **changes, **following_widths(default_model(), changes)))
    assert counted.startswith(f"{wanted:,} parameters: ")
    parts = [int(part.replace(",", "")) for part in re.findall(r"(?:[a-z]) ([\d,]*\d)", counted)]
    assert sum(parts) == wanted


@pytest.mark.parametrize("kind", KINDS)
def test_further_tokens_are_counted_and_told(capsys: pytest.CaptureFixture[str], kind: Kind) -> None:
    lines = estimate(capsys, "--mtp", "2", "--mtp-kind", kind)
    with torch.device("meta"):
        model = MultiTokenModel.behind(GPT.from_config(default_model()), depth=2, kind=kind)
    counts = (sum(parameter.numel() for parameter in each.parameters()) for each in (model, model.mtp))
    whole, mtp = (f"{count:,}" for count in counts)
    assert lines["model"].startswith(f"{whole} parameters: ")
    assert lines["model"].endswith(f", mtp {mtp}")
    work = {"sequential": "+91%", "recurrent": "+91%", "parallel": "+47%"}[kind]
    assert re.fullmatch(
        rf"2 further tokens by .* \({kind}\); lambda 0.3 .*; {re.escape(work)} work a token", lines["mtp"]
    )
    assert float(lines["work"].split()[0]) > float(estimate(capsys)["work"].split()[0])


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (("--mtp", "1"), "1 further token by a module (sequential); lambda 0.3; their loss trains the model too"),
        (("--mtp", "1", "--mtp-isolated"), "isolated: their loss trains them alone; +"),
        (("--mtp", "2", "--mtp-lambda", "0.5", "0.25"), "; lambda 0.5 0.25; "),
        (
            ("--mtp", "2", "--mtp-later-lambda", "0.1", "--mtp-later-from", "0.68"),
            "lambda 0.3, then 0.1 behind 68% of the steps times their mean",
        ),
        (
            ("--mtp", "2", "--mtp-later-lambda", "0.1", "0.2", "--mtp-later-from", "0.5"),
            "lambda 0.3 times their mean, then 0.1 0.2 behind 50% of the steps; ",
        ),
        (("--mtp", "1", "--mtp-isolated", "--mtp-against", "model"), "alone, from the model's own distributions"),
    ],
)
def test_how_further_tokens_are_trained_is_told(
    capsys: pytest.CaptureFixture[str], flags: tuple[str, ...], says: str
) -> None:
    assert says in estimate(capsys, *flags)["mtp"]


def test_the_modules_rates_are_told_where_they_are_their_own(capsys: pytest.CaptureFixture[str]) -> None:
    rates = estimate(capsys, "--mtp", "1", "--mtp-isolated", "--mtp-rate", "0.009")["rates"]
    assert "vector 0.004; of the modules matrix 0.009, head 0.002, vector 0.002; warm-up" in rates
    assert "modules" not in estimate(capsys, "--mtp", "1")["rates"]


def test_work_memory_and_time_have_a_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    lines = estimate(capsys, "--steps", "50", "--rows", "2")
    assert list(lines) == ["model", "work", "width", "rates", "memory", "time"]
    assert re.search(r"MFLOP a token, the head's share \d+%", lines["work"])
    for part in ("weights", "gradients", "optimizer", "activations", "logits not materialised"):
        assert part in lines["memory"]
    assert lines["time"].startswith("50 steps of 512 tokens, 25,600 tokens, about 0:")
    assert "float32" in lines["time"] or "bfloat16" in lines["time"]


@pytest.mark.parametrize(
    ("flags", "line", "says"),
    [
        ((), "width", "256 in 2 heads of 128, mlp 1,024, 4 layers, rows of 256 tokens"),
        (("--embed-dim", "320"), "width", "320 in 5 heads of 64, mlp 1,280, 4 layers"),
        (("--num-kv-heads", "1"), "width", "2 heads of 128 (1 of keys and values)"),
        ((), "rates", "matrix 0.018, embedding 0.1, head 0.004, vector 0.004; warm-up of 20 steps; linear decay over"),
        (("--lr", "0.009"), "rates", "matrix 0.009, embedding 0.05, head 0.002, vector 0.002, scaled by --lr 0.009;"),
        (("--lr", "0.009", "--head-rate", "1"), "rates", "matrix 0.009, embedding 0.05, head 1, vector 0.002"),
        (("--schedule", "cosine"), "rates", "; cosine decay over the last 100%"),
        (("--schedule", "constant", "--average"), "rates", "; constant; weights averaged over the last 30%"),
        (("--steps", "5"), "rates", "a run of 5 steps gets no rate beyond 25% of these"),
        (("--steps", "20"), "rates", "a run of 20 steps gets no rate beyond 65% of these"),  # falls before it has risen
        (("--average",), "memory", "average "),
    ],
)
def test_what_follows_from_the_flags_is_said(
    capsys: pytest.CaptureFixture[str], flags: tuple[str, ...], line: str, says: str
) -> None:
    assert says in estimate(capsys, *flags)[line]


def test_memory_of_the_logits_is_that_of_one_float32_copy(capsys: pytest.CaptureFixture[str]) -> None:
    memory = estimate(capsys, "--rows", "4", "--vocab-size", "8192", "--steps", "1")["memory"]
    assert "logits not materialised: 32.0 MiB" in memory  # 4 * 256 * 8192 * 4 bytes


def test_without_steps_the_minutes_decide(capsys: pytest.CaptureFixture[str]) -> None:
    assert "2 minutes in all" in estimate(capsys, "--minutes", "2")["time"]


def test_adamw_takes_more_memory_than_muon(capsys: pytest.CaptureFixture[str]) -> None:
    memory = {name: estimate(capsys, "--optimizer.name", name)["memory"] for name in ("adamw", "muon")}
    sizes = {name: float(re.search(r"optimizer ([\d.]+) MiB", line)[1]) for name, line in memory.items()}
    assert sizes["adamw"] > sizes["muon"]


def test_no_data_is_read_and_nothing_is_written(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    estimate(capsys, "--data", "there/is/none", "--out", "run")
    assert list(tmp_path.iterdir()) == []


def test_memory_counts_the_data_and_what_reading_them_takes(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a.txt", "b.jsonl", ".hidden", "c.log"):
        with (tmp_path / name).open("wb") as file:
            file.truncate(2**28)
    memory = estimate(capsys, "--data", str(tmp_path), "--exclude", "*.log", "--steps", "1")["memory"]
    assert "data 392.5 MiB; reading the data, before: at most 2.84 GiB; logits" in memory
    monkeypatch.setattr(plan, "memory_bytes", lambda _: 2**31)
    assert main(["train", "--data", str(tmp_path), "--out", str(tmp_path / "run")]) == 2
    error = capsys.readouterr().err
    assert "the data must be read in the machine's memory, 2.00 GiB, got an estimate of" in error
    assert not (tmp_path / "run").exists()


def test_a_config_file_gives_the_defaults_and_flags_override(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "run.yaml"
    config = TrainConfig(steps=7, rows=2, model=replace(default_model(), num_layers=2))
    file.write_text(to_yaml(config))
    lines = estimate(capsys, "--config", str(file), "--rows", "3")
    assert lines["model"].startswith(f"{parameters(config.model):,} parameters")
    assert lines["time"].startswith("7 steps of 768 tokens")


def test_a_config_that_cannot_be_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["estimate", "--num-heads", "7"]) == 2
    assert "--embed-dim must be a multiple of --num-heads 7" in capsys.readouterr().err
