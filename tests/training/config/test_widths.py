"""--embed-dim alone gives heads and an MLP that go with it; what is given wins, in flags as in YAML."""

from dataclasses import replace
from pathlib import Path

import pytest

from lmhead.cli.flags.parsing import given
from lmhead.cli.flags.train_config import TrainFlags, with_flags
from lmhead.errors import ArgumentError
from lmhead.models.config import GPTConfig
from lmhead.training.config.train_config import TrainConfig, default_model, read_yaml, to_yaml
from lmhead.training.config.widths import following_widths


def by_flags(*words: str, base: TrainConfig | None = None) -> GPTConfig:
    return with_flags(base or TrainConfig(), given(TrainFlags, words, command="train", about="")).model


def by_yaml(tmp_path: Path, **fields: object) -> GPTConfig:
    lines = "".join(f"  {name}: {str(value).lower()}\n" for name, value in fields.items())
    (tmp_path / "c.yaml").write_text(f"model:\n{lines}")
    return read_yaml(tmp_path / "c.yaml").model


def flags(**fields: object) -> list[str]:
    words = {name: f"--{name.replace('_', '-')}" for name in fields}
    return [words[name] if value is True else f"{words[name]}={value}" for name, value in fields.items()]


@pytest.mark.parametrize(
    ("fields", "heads", "head", "mlp"),
    [
        ({"embed_dim": 384}, 3, 128, 1536),
        ({"embed_dim": 768}, 6, 128, 3072),
        ({"embed_dim": 320}, 5, 64, 1280),
        ({"embed_dim": 64}, 1, 64, 256),
        ({"embed_dim": 16}, 1, 16, 64),
        ({"embed_dim": 256}, 2, 128, 1024),
        ({"embed_dim": 384, "gated": True}, 3, 128, 1024),
        ({"embed_dim": 384, "num_heads": 4}, 4, 96, 1536),
        ({"embed_dim": 100, "num_heads": 5}, 5, 20, 400),
        ({"embed_dim": 384, "mlp_dim": 100}, 3, 128, 100),
        ({"embed_dim": 512, "num_heads": 2, "mlp_dim": 1024}, 2, 256, 1024),
        ({"embed_dim": 512, "head_dim": 32}, 16, 32, 2048),
        ({"embed_dim": 384, "style": "course"}, 3, 128, 1536),
        ({"style": "course", "embed_dim": 99, "num_heads": 3}, 3, 33, 396),
    ],
)
def test_heads_and_mlp_follow(tmp_path: Path, fields: dict[str, object], heads: int, head: int, mlp: int) -> None:
    for model in (by_flags(*flags(**fields)), by_yaml(tmp_path, **fields)):
        assert (model.num_heads, model.head_width, model.mlp_width) == (heads, head, mlp)


def test_the_default_model_is_what_its_width_gives() -> None:
    wider = replace(default_model(), embed_dim=512, num_heads=4, mlp_dim=2048)
    follows = following_widths(wider, {"embed_dim": 256})
    assert replace(wider, embed_dim=256, **follows) == default_model()  # type: ignore[arg-type]
    assert by_flags() == default_model()


def test_other_spellings_of_the_flag_do_the_same() -> None:
    wanted = by_flags("--embed-dim=384")
    for flag in ("--embed-dim", "--model.embed-dim", "--embed_dim", "--model.embed_dim"):
        assert by_flags(flag, "384") == by_flags(f"{flag}=384") == wanted


@pytest.mark.parametrize(
    ("width", "near"), [(100, "64 and 128"), (63, "62 and 64"), (250, "192 and 256"), (1000, "960 and 1024"), (1, "2")]
)
def test_a_width_that_no_head_divides_is_refused_with_the_nearest(tmp_path: Path, width: int, near: str) -> None:
    for read in (lambda: by_flags(f"--embed-dim={width}"), lambda: by_yaml(tmp_path, embed_dim=width)):
        with pytest.raises(ArgumentError, match=rf"got {width}: the nearest are {near}; or give num_heads"):
            read()


def test_a_files_own_choice_stays_and_its_defaults_follow(tmp_path: Path) -> None:
    written = tmp_path / "run.yaml"
    written.write_text(to_yaml(replace(TrainConfig(), model=by_flags("--embed-dim=512")).resolved()))
    assert by_flags("--embed-dim=384", base=read_yaml(written)) == by_flags("--embed-dim=384")
    own = replace(TrainConfig(), model=replace(default_model(), num_heads=8, mlp_dim=700))
    model = by_flags("--embed-dim=512", base=own)
    assert (model.num_heads, model.mlp_width) == (8, 700)


def test_another_rate_schedule_or_optimiser_reopens_what_a_file_wrote_out(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text(to_yaml(TrainConfig().resolved()))
    base = read_yaml(file)
    for words in (("--lr=0.001",), ("--optimizer.name=adamw",), ("--schedule=cosine",), ("--optimizer.lr", "0.5")):
        parsed = [
            with_flags(each, given(TrainFlags, words, command="train", about="")).resolved().optimizer
            for each in (base, TrainConfig())
        ]
        assert parsed[0] == parsed[1]
