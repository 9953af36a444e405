"""The config of a model that transformers loads survives YAML, and has rates and optimiser of its own."""

from dataclasses import replace
from pathlib import Path

import pytest

from lmhead.errors import ArgumentError, LmheadError
from lmhead.training.config.differences import differences
from lmhead.training.config.fine_tuning import LoraConfig, PretrainedModel
from lmhead.training.config.optimizer_config import OptimizerConfig
from lmhead.training.config.train_config import TrainConfig, config_of, read_yaml, to_yaml

GEMMA = PretrainedModel(kind="gemma2", vocab_size=300, max_seq_len=64, max_positions=128, parameters=10, trained=10)
FULL = replace(TrainConfig(init="gemma").as_pretrained(GEMMA), seed=1)
LORA = replace(FULL, lora=LoraConfig(rank=8, targets=("q_proj", "v_proj")), quantize="4bit")


@pytest.mark.parametrize("config", [FULL, LORA, LORA.resolved()])
def test_yaml_gives_the_config_back(config: TrainConfig, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(to_yaml(config))
    assert read_yaml(tmp_path / "config.yaml") == config


@pytest.mark.parametrize(("config", "rate"), [(FULL, 2e-5), (LORA, 2e-4)])
def test_every_kind_of_parameter_has_the_rate_that_is_usual_for_what_is_trained(
    config: TrainConfig, rate: float
) -> None:
    config.check()
    resolved = config.resolved().optimizer
    assert resolved.rates() == dict.fromkeys(("matrix", "embedding", "head", "vector"), rate)
    assert (resolved.name, resolved.beta1, resolved.beta2) == ("adamw", 0.9, 0.999)
    assert config.resolved().reopened() == config
    other = replace(config, optimizer=replace(config.optimizer, lr=1e-3)).resolved().optimizer
    assert set(other.rates().values()) == {1e-3}


def test_a_step_reads_as_many_rows_as_the_decoders() -> None:
    assert FULL.rows * FULL.accumulate == TrainConfig().rows * TrainConfig().accumulate


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"optimizer": OptimizerConfig(name="muon")}, "optimizer.name must be adamw where init is no decoder"),
        ({"model": replace(GEMMA, max_seq_len=129)}, "max_seq_len must be at most the 128 tokens that init can read"),
        ({"model": replace(GEMMA, max_seq_len=0)}, "max_seq_len must be >= 1, got 0"),
        ({"quantize": "8bit"}, "quantize must come with lora.rank, got 8bit alone"),
        ({"lora": LoraConfig(targets=("x",))}, r"lora.targets must come with lora.rank, got \('x',\) alone"),
        ({"lora": LoraConfig(rank=-1)}, "lora.rank must be >= 1, got -1"),
        ({"lora": LoraConfig(rank=1, alpha=float("inf"))}, "lora.alpha must be finite and > 0"),
        ({"lora": LoraConfig(rank=1, dropout=1.0)}, r"lora.dropout must be in \[0, 1\)"),
        ({"init": None, "lora": LoraConfig(rank=1)}, "lora.rank must come with init"),
    ],
)
def test_what_no_run_can_have_is_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        replace(FULL, **change).check()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model: {embed_dim: 64}", "model.embed_dim must be left out where init is no decoder of this library, got 64"),
        ("model: {style: modern}", "model.style must be one of pretrained, got 'modern'"),
        ("lora: 16", "lora must be a mapping of fields, got 16"),
        ("quantize: 2bit", "quantize must be one of 4bit, 8bit, got '2bit'"),
    ],
)
def test_what_is_wrong_in_yaml_is_named(text: str, message: str) -> None:
    with pytest.raises(LmheadError, match=message):
        config_of(text, source="config.yaml", default=FULL)


def test_configs_of_two_kinds_differ_by_what_either_has() -> None:
    told = differences(TrainConfig(init="gemma"), FULL)
    assert "model.style: modern -> pretrained" in told
    assert "model.embed_dim: 256 -> None" in told
    assert differences(FULL, FULL) == []
