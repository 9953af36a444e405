"""What a run says of multi-token prediction survives YAML, follows from the rest, and is refused where none can be."""

from dataclasses import replace
from pathlib import Path

import pytest

from lmhead.cli.flags.parsing import given
from lmhead.cli.flags.train_config import TrainFlags, train_config
from lmhead.errors import ArgumentError, InputError
from lmhead.training.config.multi_token_config import MultiTokenConfig
from lmhead.training.config.train_config import TrainConfig, config_of, read_yaml, to_yaml

TWO = TrainConfig(mtp=MultiTokenConfig(depth=2, kind="recurrent", lambdas=(0.3, 0.1)))
BEHIND = TrainConfig(init="run", mtp=MultiTokenConfig(depth=1))


def flags(*words: str) -> TrainConfig:
    return train_config(given(TrainFlags, words, command="train", about=""))


@pytest.mark.parametrize("config", [TWO, TWO.resolved(), BEHIND.resolved()])
def test_yaml_gives_the_config_back(config: TrainConfig, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(to_yaml(config))
    assert read_yaml(tmp_path / "config.yaml") == config


def test_flags_say_all_of_it() -> None:
    config = flags(
        *("--mtp", "2", "--mtp-kind", "parallel", "--mtp-isolated", "--mtp-lambda", "0.4", "0.2"),
        *("--mtp-later-lambda", "0.1", "--mtp-later-from", "0.5", "--mtp-against", "model"),
        *("--mtp-divergence", "total_variation", "--mtp-reduction", "sum", "--mtp-denominator", "main"),
    )
    assert config.mtp == MultiTokenConfig(
        depth=2,
        kind="parallel",
        isolated=True,
        lambdas=(0.4, 0.2),
        later_lambdas=(0.1,),
        later_from=0.5,
        against="model",
        divergence="total_variation",
        reduction="sum",
        denominator="main",
    )
    assert flags("--mtp", "1", "--no-mtp-isolated", "--mtp-family", "mimo").mtp.isolated is False


def test_modules_behind_a_trained_model_are_isolated_unless_it_is_said() -> None:
    assert BEHIND.resolved().mtp.isolated is True
    assert TWO.resolved().mtp.isolated is False
    assert replace(BEHIND, mtp=replace(BEHIND.mtp, isolated=False)).resolved().mtp.isolated is False
    assert TrainConfig().resolved().mtp == MultiTokenConfig()


def test_new_modules_behind_a_trained_model_have_the_rate_of_drawn_matrices() -> None:
    drawn, kept = BEHIND.resolved(), replace(BEHIND, mtp=replace(BEHIND.mtp, drawn=False)).resolved()
    assert (drawn.optimizer.rates()["matrix"], drawn.optimizer.mtp_rate) == (pytest.approx(0.006), 0.018)
    assert kept.optimizer.mtp_rate == kept.optimizer.rates()["matrix"]
    assert drawn.optimizer.module_rates() == {"matrix": 0.018, "head": 0.004, "vector": 0.004}
    assert drawn.reopened() == replace(BEHIND, mtp=drawn.mtp)
    said = replace(BEHIND, optimizer=replace(BEHIND.optimizer, mtp_rate=0.009)).resolved()
    assert said.optimizer.module_rates() == {"matrix": 0.009, "head": 0.002, "vector": 0.002}
    assert said.reopened().optimizer.mtp_rate == 0.009


def test_modules_that_are_trained_with_the_model_have_its_rates() -> None:
    assert TWO.resolved().optimizer.module_rates() is None
    alone = replace(TWO, mtp=replace(TWO.mtp, isolated=True)).resolved().optimizer
    assert alone.mtp_rate == alone.rates()["matrix"] == 0.018


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--mtp", "0"), "mtp.depth must be >= 1, got 0"),
        (("--mtp", "256"), "mtp.depth must be less than the 256 tokens of a row, got 256: raise model.max_seq_len"),
        (("--mtp-kind", "parallel"), "mtp.kind must come with mtp.depth, got parallel alone: add mtp.depth=1"),
        (("--mtp-isolated",), "mtp.isolated must come with mtp.depth, got True alone"),
        (("--mtp", "3", "--mtp-lambda", "1", "2"), "mtp.lambdas must be one number, or 3, one for each further token"),
        (("--mtp", "1", "--mtp-lambda=-1"), "mtp.lambdas must be finite and >= 0, got -1"),
        (("--mtp", "1", "--mtp-later-from", "0.5"), "mtp.later_from must come with mtp.later_lambdas, got 0.5 alone"),
        (("--mtp", "1", "--mtp-later-lambda", "0.5"), r"mtp.later_lambdas must come with mtp.later_from, got \(0.5,\)"),
        (("--mtp", "1", "--mtp-later-lambda", "1", "--mtp-later-from", "1"), r"mtp.later_from must be in \(0, 1\)"),
        (("--mtp", "1", "--mtp-frozen"), "mtp.frozen must come with init, a model that was trained, got True alone"),
        (("--mtp", "1", "--mtp-against", "model"), "mtp.against must be labels where the modules are not isolated"),
        (("--mtp", "1", "--mtp-divergence", "reverse_kl"), "mtp.divergence must come with mtp.against='model'"),
        (("--mtp", "1", "--mtp-family", "glm"), "family must be one of .*, got 'glm': did you mean glm4_moe"),
        (("--mtp", "1", "--mtp-kind", "parallel", "--mtp-family", "mimo"), "mtp.family must be left out of parallel"),
        (("--mtp", "1", "--mtp-rate", "-1"), "optimizer.mtp_rate must be 0 or finite"),
        (("--mtp-rate", "0.1"), "optimizer.mtp_rate must come with mtp.depth, got 0.1 alone: add mtp.depth=1"),
        (("--mtp", "1", "--no-mtp-drawn"), "mtp.drawn must be on without init, which gives the modules to go on with"),
    ],
)
def test_what_no_run_can_have_is_refused(words: tuple[str, ...], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        flags(*words)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"isolated": False, "frozen": True}, "mtp.isolated must be on where the model is frozen"),
        ({"isolated": False, "against": "model"}, "mtp.against must be labels where the modules are not isolated"),
    ],
)
def test_what_contradicts_itself_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        replace(BEHIND.mtp, **changes).check(init="run", length=64)  # type: ignore[arg-type]


def test_another_kind_than_that_of_inits_modules_is_left_to_those_who_know_them() -> None:
    kept = replace(BEHIND.mtp, drawn=False, family="mellum", kind="parallel")
    kept.check(init="run", length=64)
    with pytest.raises(ArgumentError, match=r"mtp\.family must be left out of parallel heads"):
        replace(kept, drawn=True).check(init="run", length=64)


def test_adapters_that_nothing_would_train_are_refused() -> None:
    both = replace(BEHIND, mtp=replace(BEHIND.mtp, frozen=True), lora=replace(BEHIND.lora, rank=8))
    with pytest.raises(ArgumentError, match=r"lora\.rank must be left out with mtp\.frozen=True, .*, got 8"):
        both.check()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mtp: {depth: 1, lambdas: 0.3}", "mtp.lambdas must be a list of numbers, got 0.3"),
        ("mtp: {depth: 1, lambdas: [a]}", r"mtp.lambdas must be a list of numbers, got \['a'\]"),
        ("mtp: {depht: 1}", "unknown field mtp.depht, did you mean mtp.depth?"),
    ],
)
def test_yaml_that_does_not_fit_is_refused(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        config_of(text, source="config.yaml")


def test_a_list_of_numbers_in_yaml_may_have_whole_ones() -> None:
    assert config_of("mtp: {depth: 2, lambdas: [1, 0.5]}", source="config.yaml").mtp.lambdas == (1.0, 0.5)


def test_the_decay_of_a_step_is_below_1_by_the_modules_rate_too() -> None:
    config = replace(BEHIND, optimizer=replace(BEHIND.optimizer, mtp_rate=0.5, weight_decay=2.0))
    with pytest.raises(ArgumentError, match=r"weight_decay must be >= 0, and < 1 when .* got 2.0: that rate is 0.5"):
        config.check()
    replace(config, optimizer=replace(config.optimizer, weight_decay=1.9)).check()
