"""Averaged weights: the mean of the decay's, published and evaluated; training goes on with its own."""

from pathlib import Path

import pytest
import torch

import lmhead.training.loop
from lmhead.cli.main import main
from lmhead.models.gpt import GPT
from lmhead.models.transformers.formats.pretrained import load_pretrained
from lmhead.training.config.optimizer_config import OptimizerConfig
from lmhead.training.optimizers.optimizer import Optimizers, decay_begins
from lmhead.training.run.run_folder import RunFolder
from lmhead.training.weights.average import WeightAverage

TINY = [
    *("--vocab-size", "300", "--embed-dim", "16", "--num-layers", "1", "--max-seq-len", "32", "--rows", "2"),
    *("--steps", "10", "--save-every", "2", "--eval-every", "7", "--sample-every", "100", "--prompt", "def"),
    *("--warmup-steps", "2", "--decay-share", "0.5", "--dropout", "0.1"),
]


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("text") / "text.txt"
    file.write_text("".join(f"def f{j}(x):\n    return x + {j}\n\n" for j in range(300)))
    return file


def words(text: Path, out: Path, *flags: str) -> list[str]:
    return ["train", "--data", str(text), "--out", str(out), *TINY, *flags]


def state(run: Path) -> dict[str, object]:
    loaded: dict[str, object] = torch.load(RunFolder(run).latest() / "training.pt", weights_only=True)
    return loaded


def test_the_mean_is_of_the_weights_after_each_step_of_the_decay(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[torch.Tensor]] = []
    models: list[GPT] = []
    real = Optimizers.step

    def step(self: Optimizers, factor: float) -> None:
        real(self, factor)
        seen.append([parameter.detach().clone() for parameter in models[0].parameters()])

    real_model = lmhead.training.setup.initial_model
    monkeypatch.setattr(
        lmhead.training.setup,
        "initial_model",
        lambda *given, **named: models.append(real_model(*given, **named)) or models[0],
    )
    monkeypatch.setattr(Optimizers, "step", step)
    assert main(words(text, tmp_path / "run", "--average")) == 0
    assert all(torch.equal(now, last) for now, last in zip(models[0].parameters(), seen[-1], strict=True))
    mean = [torch.stack(weights).double().mean(0) for weights in zip(*seen[5:], strict=True)]
    kept = state(tmp_path / "run")["average"]
    assert isinstance(kept, dict)
    assert (kept["count"], kept["since"]) == (5, 5)
    for one, other in zip(kept["means"], mean, strict=True):
        torch.testing.assert_close(one.double(), other, rtol=1e-6, atol=1e-7)


def test_what_is_published_and_evaluated_is_the_mean(text: Path, tmp_path: Path) -> None:
    assert main(words(text, tmp_path / "plain")) == 0
    assert main(words(text, tmp_path / "mean", "--average")) == 0
    plain, mean = RunFolder(tmp_path / "plain"), RunFolder(tmp_path / "mean")
    one, other = state(plain.path)["model"], state(mean.path)["model"]
    assert isinstance(one, dict)
    assert isinstance(other, dict)
    assert all(torch.equal(one[name], other[name]) for name in one)  # training does not know of it
    figures = [[record["nll"] for record in run.records() if "evaluation" in record] for run in (plain, mean)]
    assert figures[0][0] != figures[1][0]  # at step 7, of the decay
    assert figures[0][1] != figures[1][1]
    kept = state(mean.path)["average"]
    assert isinstance(kept, dict)
    published = load_pretrained(mean.latest()).lm_head.get_parameter("weight")
    assert torch.equal(published, kept["means"][-1])
    assert not torch.equal(published, other["lm_head.weight"])


@pytest.mark.parametrize("killed_at", [3, 7])
def test_a_resumed_average_is_the_same_bit_for_bit(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed_at: int
) -> None:
    flags = ("--average", "--keep-best", "--eval-every", "3")
    assert main(words(text, tmp_path / "whole", *flags)) == 0
    real, calls = lmhead.training.loop.schedule, []

    def schedule(step: int, steps: int | None, config: OptimizerConfig) -> float:
        calls.append(step)
        if step == killed_at:
            raise KeyboardInterrupt  # nothing is saved, as by a kill
        return real(step, steps, config)

    with monkeypatch.context() as patch:
        patch.setattr(lmhead.training.loop, "schedule", schedule)
        assert main(words(text, tmp_path / "killed", *flags)) == 130
    assert main(["train", "--resume", str(tmp_path / "killed")]) == 0
    one, other = state(tmp_path / "whole")["average"], state(tmp_path / "killed")["average"]
    assert isinstance(one, dict)
    assert isinstance(other, dict)
    assert all(torch.equal(a, b) for a, b in zip(one["means"], other["means"], strict=True))
    logs = [
        [
            {name: value for name, value in record.items() if name not in ("seconds", "started")}
            for record in RunFolder(run).records()
        ]
        for run in (tmp_path / "whole", tmp_path / "killed")
    ]
    assert logs[0] == logs[1]
    files = [
        (RunFolder(run).latest() / "model.safetensors").read_bytes()
        for run in (tmp_path / "whole", tmp_path / "killed")
    ]
    assert files[0] == files[1]


def test_another_beginning_of_the_decay_begins_the_mean_anew() -> None:
    model = torch.nn.Linear(1, 1, bias=False)
    average = WeightAverage(model)
    for weight, since in ((1.0, 0), (3.0, 0), (7.0, 5)):
        torch.nn.init.constant_(model.weight, weight)
        average.add(since=since)
    with average.in_place():
        assert model.weight.item() == 7.0


def test_before_the_decay_the_weights_are_the_models_own() -> None:
    model = torch.nn.Linear(1, 1, bias=False)
    average = WeightAverage(model)
    average.add(since=0)
    torch.nn.init.constant_(model.weight, 5.0)
    average.drop()
    with average.in_place():
        assert model.weight.item() == 5.0


def test_the_mean_is_put_back_even_where_an_evaluation_is_ended() -> None:
    model = torch.nn.Linear(1, 1, bias=False)
    average = WeightAverage(model)
    average.add(since=0)
    torch.nn.init.constant_(model.weight, 5.0)
    with pytest.raises(KeyboardInterrupt), average.in_place():
        raise KeyboardInterrupt
    assert model.weight.item() == 5.0


@pytest.mark.parametrize(
    ("options", "begin"),
    [
        ({}, 40),
        ({"decay_share": 0.2}, 80),
        ({"schedule": "constant"}, 70),
        ({"schedule": "cosine"}, 20),
        ({"decay_share": 1.0, "warmup_steps": 7}, 7),
        ({"warmup_steps": 500}, 99),
    ],
)
def test_the_decay_begins_where_the_schedule_says(options: dict[str, object], begin: int) -> None:
    assert decay_begins(100, OptimizerConfig(**options)) == begin  # type: ignore[arg-type]


def test_an_average_over_nothing_or_over_everything_is_refused(
    text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for flags in (("--decay-share", "0"), ("--decay-share", "1")):
        assert main(words(text, tmp_path / "run", "--average", *flags)) == 2
        assert "--decay-share must be in (0, 1) with --average" in capsys.readouterr().err
