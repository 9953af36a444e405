"""A config survives YAML; what is wrong in it is named, with the nearest name."""

import typing
from dataclasses import replace
from pathlib import Path

import pytest

from lmhead.data.sets.data_config import DataConfig
from lmhead.errors import InputError, LmheadError
from lmhead.training.config.differences import differences
from lmhead.training.config.optimizer_config import FINE_TUNING, Beginning, OptimizerConfig
from lmhead.training.config.train_config import TrainConfig, field_names, nearest, read_yaml, to_yaml


def _rates(rate: float) -> OptimizerConfig:
    return OptimizerConfig(matrix_rate=rate, embedding_rate=rate, head_rate=rate, vector_rate=rate)


def write(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "config.yaml"
    file.write_text(text)
    return file


def test_yaml_gives_the_config_back(tmp_path: Path) -> None:
    config = TrainConfig(seed=3, steps=7, data=DataConfig(paths=("a", "b"), held_out=0.2), prompt="x: y\n")
    config = replace(config, track=("wandb", "tensorboard"))
    assert read_yaml(write(tmp_path, to_yaml(config))) == config


def test_fields_that_yaml_leaves_out_have_their_defaults(tmp_path: Path) -> None:
    config = read_yaml(write(tmp_path, "steps: 5\nminutes: 2\nmodel:\n  num_layers: 2\n"))
    assert (config.steps, config.minutes, config.model.num_layers) == (5, 2.0, 2)
    assert config.optimizer == TrainConfig().optimizer
    assert replace(config.model, num_layers=TrainConfig().model.num_layers) == TrainConfig().model
    assert read_yaml(write(tmp_path, "")) == TrainConfig()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("stepz: 5", r"unknown field stepz, did you mean steps\?"),
        ("model:\n  num_layer: 5", r"unknown field model\.num_layer, did you mean model\.num_layers\?"),
        ("model: 5", r"model must be a mapping of fields, got 5"),
        ("- 1", r"the file must be a mapping of fields"),
        ("steps: many", r"steps must be a whole number, got 'many'"),
        ("steps: true", r"steps must be a whole number, got true"),
        ("precision: float8", r"precision must be one of auto, float32, bfloat16, got 'float8'"),
        ("data:\n  paths: a.txt", r"data\.paths must be a list of strings, got 'a\.txt'"),
        ("track: wandb", r"track must be a list of strings, got 'wandb'"),
        ("track: [csv]", r"track must be one of tensorboard, wandb, trackio, got 'csv'"),
        ("model:\n  num_heads: 7", r"embed_dim must be a multiple of num_heads=7"),
        ("a: [", r"config\.yaml is not YAML"),
        ("steps: 1e3", r"steps must be a whole number, got 1000\.0: write 1000, without a point or an exponent"),
        ("steps: 1_000", r"steps must be a whole number, got '1_000': write 1000"),
        ("compile: yes", r"compile must be true or false, got 'yes': write true"),
        ("out: 0123", r"out must be a string, got 123: put quotes around it"),
        ("device: null", r"device must be a string, got null: put quotes around it"),
        ("z_loss: 1_e-3", r"z_loss must be a number, got '1_e-3'"),
        ("z_loss: small", r"z_loss must be a number, got 'small'"),
        ("seed: 1\nrows: 2\nseed: 3", r"is not YAML: seed is given twice, in line 1 and in line 3"),
        ("model:\n  dropout: 0.1\n  dropout: 0.2", r"dropout is given twice, in line 2 and in line 3"),
        ("z_loss: 1" + "0" * 400, r"z_loss must be a number below 1\.8e308"),
        ("a: &a [x]\nb: &b [*a, *a]\nseed: [*b, *b]", r"unknown field a"),
    ],
)
def test_what_is_wrong_in_yaml_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(LmheadError, match=message):
        read_yaml(write(tmp_path, text))


@pytest.mark.parametrize("written", ["1e-3", "1E-3", "1e-03", "1.0e-3", "+1e-3", ".1e-2", "0.001"])
def test_a_rate_is_the_number_that_yaml_1_2_reads(tmp_path: Path, written: str) -> None:
    config = read_yaml(write(tmp_path, f"optimizer:\n  matrix_rate: {written}\nz_loss: {written}\n"))
    assert (config.optimizer.matrix_rate, config.z_loss) == (0.001, 0.001)


@pytest.mark.parametrize("word", ["no", "yes", "off", "2026-11-28", "12:30:00", "1_000", "=", "1e", "0b1"])
def test_a_text_without_quotes_is_what_was_written(tmp_path: Path, word: str) -> None:
    assert read_yaml(write(tmp_path, f"prompt: {word}\n")).prompt == word


@pytest.mark.parametrize(
    "text", ["1e-3", "no", "null", "~", "", "0o7", "010", "2026-11-28", "<<", "x: y\n", ".inf", "\x1b"]
)
def test_every_text_survives_yaml(tmp_path: Path, text: str) -> None:
    config = TrainConfig(prompt=text, optimizer=OptimizerConfig(matrix_rate=1e-05))
    assert read_yaml(write(tmp_path, to_yaml(config))) == config


def test_another_style_leaves_the_first_ones_options_behind(tmp_path: Path) -> None:
    config = read_yaml(write(tmp_path, "model:\n  style: course\n  num_layers: 2\n"))
    assert (config.model.style, config.model.num_layers, config.model.qk_norm) == ("course", 2, False)
    assert config.model.embed_dim == TrainConfig().model.embed_dim


def test_a_config_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such config file"):
        read_yaml(tmp_path / "no.yaml")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 0}, "steps must be >= 1"),
        ({"minutes": 0.0}, "minutes must be finite and > 0"),
        ({"minutes": float("inf")}, "minutes must be finite and > 0"),
        ({"seed": -1}, "seed must be in"),
        ({"prompt": "\udce9"}, "prompt must be UTF-8"),
        ({"optimizer": OptimizerConfig(clip=-1.0)}, "optimizer.clip must be finite and >= 0"),
        ({"optimizer": OptimizerConfig(matrix_rate=float("nan"))}, "optimizer.matrix_rate must be 0 or finite"),
        ({"optimizer": OptimizerConfig(beta1=1.0)}, r"optimizer.beta1 must be in \[0, 1\)"),
        ({"optimizer": OptimizerConfig(warmup_steps=-1)}, "optimizer.warmup_steps must be >= 0"),
        ({"rows": 0}, "rows must be >= 1"),
        ({"data": DataConfig(held_out=1.0)}, "data.held_out must be in"),
        ({"label_smoothing": 1.0}, "label_smoothing must be in"),
        ({"z_loss": -1.0}, "z_loss must be finite and >= 0"),
        ({"z_loss": float("inf")}, "z_loss must be finite and >= 0"),
        ({"minutes": 1e300}, "minutes must be <= 5,256,000"),
        ({"steps": 10**400}, r"steps must be < 2\^31"),
        ({"rows": 2**20, "accumulate": 2**20}, "rows must be < 2\\^31 when multiplied by accumulate"),
        ({"eval_tokens": 0}, "eval_tokens must be >= 1"),
        ({"keep": 0}, "keep must be >= 1"),
        ({"optimizer": OptimizerConfig(clip=float("nan"))}, "optimizer.clip must be finite and >= 0"),
        ({"optimizer": OptimizerConfig(clip=float("inf"))}, "optimizer.clip must be finite and >= 0"),
        ({"optimizer": OptimizerConfig(lr=0.0)}, "optimizer.lr must be finite and >= 1e-09"),
        ({"optimizer": OptimizerConfig(lr=float("nan"))}, "optimizer.lr must be finite"),
        ({"optimizer": OptimizerConfig(head_rate=1e-300)}, "optimizer.head_rate must be 0 or finite and >= 1e-09"),
        ({"optimizer": replace(_rates(0.1), lr=0.2)}, "optimizer.lr must be left out where all four rates are given"),
        ({"optimizer": OptimizerConfig(weight_decay=10.0)}, "optimizer.weight_decay must be >= 0, and < 1 when mult"),
        ({"optimizer": OptimizerConfig(weight_decay=float("nan"))}, "optimizer.weight_decay must be >= 0"),
        ({"optimizer": OptimizerConfig(momentum=1.0)}, "optimizer.momentum must be in"),
        ({"optimizer": OptimizerConfig(decay_share=float("nan"))}, "optimizer.decay_share must be in"),
        ({"average": True, "optimizer": OptimizerConfig(schedule="cosine")}, "optimizer.decay_share must be in"),
    ],
)
def test_values_that_no_run_can_have_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(LmheadError, match=message):
        replace(TrainConfig(), **change).check()  # type: ignore[arg-type]


def test_differences_name_what_changes_a_runs_numbers_and_nothing_else() -> None:
    one = TrainConfig()
    other = replace(
        one, seed=1, log_every=99, out="x", device="cuda", track=("wandb",), model=replace(one.model, num_layers=9)
    )
    assert differences(one, other) == ["seed: 0 -> 1", f"model.num_layers: {one.model.num_layers} -> 9"]


def test_the_nearest_name_is_found_in_any_group() -> None:
    assert nearest("num_layer", field_names()) == ", did you mean model.num_layers?"
    assert nearest("zzzz", field_names()) == ""


@pytest.mark.parametrize("field", ["norm_eps", "rope_theta", "init_std", "embedding_std"])
@pytest.mark.parametrize("value", [0.0, -1.0, float("inf"), float("nan")])
def test_a_model_of_no_finite_size_is_refused(field: str, value: float) -> None:
    with pytest.raises(LmheadError, match=f"{field} must be finite and > 0"):
        replace(TrainConfig().model, **{field: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["muon", "adamw"])
@pytest.mark.parametrize("beginning", typing.get_args(Beginning))
def test_lr_is_the_matrices_rate_and_the_others_keep_their_proportion(name: str, beginning: Beginning) -> None:
    usual = OptimizerConfig(name=name).rates(beginning)  # type: ignore[arg-type]
    scaled = OptimizerConfig(name=name, lr=3e-4).rates(beginning)  # type: ignore[arg-type]
    assert scaled["matrix"] == 3e-4
    assert scaled == pytest.approx({kind: rate * 3e-4 / usual["matrix"] for kind, rate in usual.items()})
    given = OptimizerConfig(name=name, lr=3e-4, head_rate=0.5).rates(beginning)  # type: ignore[arg-type]
    assert given == {**scaled, "head": 0.5}


def test_without_lr_the_rates_are_the_usual_ones_to_the_bit() -> None:
    assert OptimizerConfig().rates() == {"matrix": 0.018, "embedding": 0.1, "head": 0.004, "vector": 0.004}
    usual = OptimizerConfig().rates()
    assert OptimizerConfig().rates("decoder") == {kind: usual[kind] * FINE_TUNING[kind] for kind in usual}


@pytest.mark.parametrize(
    "given", [{}, {"lr": 0.001}, {"head_rate": 0.5}, {"schedule": "cosine"}, {"schedule": "constant", "lr": 0.5}]
)
@pytest.mark.parametrize("init", [None, "run"])
def test_what_was_written_out_is_open_again_and_what_was_chosen_stays(
    given: dict[str, object], init: str | None
) -> None:
    config = TrainConfig(init=init, optimizer=OptimizerConfig(**given))  # type: ignore[arg-type]
    assert config.resolved().resolved() == config.resolved()
    assert config.resolved().reopened() == config
    config.resolved().check()
