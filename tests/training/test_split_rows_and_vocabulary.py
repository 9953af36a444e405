"""Runs with cp and tp in their mesh: the losses and evaluations of one process."""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.ranks.launched import on_ranks
from tests.training.rank_runs import tiny, trained, trained_alone
from tests.training.test_ranks_training import CHATS

from lmhead.training.config.multi_token_config import MultiTokenConfig

TOLERANCE = 2e-6


@pytest.fixture
def chats(tmp_path: Path) -> Path:
    file = tmp_path / "chats.jsonl"
    file.write_text("".join(json.dumps(chat) + "\n" for chat in CHATS))
    return file


def one_and_many(data: Path, out: Path, size: int, mesh: str, **options: Any) -> None:
    one = trained_alone(tiny(data, out / "one", **options))
    many = on_ranks(size, trained, tiny(data, out / "many", mesh=mesh, **options), mesh=mesh)[0]
    for alone, shared in zip(one, many, strict=True):
        if "record" not in alone:  # the header
            alike({**alone, "seconds": 0, "sample": ""}, {**shared, "seconds": 0, "sample": ""})


def alike(one: Any, many: Any) -> None:
    """Equal but for rounding, whatever is within."""
    if isinstance(one, dict):
        assert one.keys() == many.keys()
        for name in one:
            alike(one[name], many[name])
    elif isinstance(one, list | tuple):
        for each, other in zip(one, many, strict=True):
            alike(each, other)
    else:
        assert many == (pytest.approx(one, rel=TOLERANCE, abs=TOLERANCE) if isinstance(one, float) else one)


def test_ranks_that_share_the_tokens_of_rows_train_as_one_process(tmp_path: Path, chats: Path) -> None:
    one_and_many(chats, tmp_path, 2, "cp=2", tied=True, z_loss=1e-4, mtp=MultiTokenConfig(depth=2), steps=6)


def test_a_vocabulary_that_is_cut_over_ranks_trains_as_one_process(tmp_path: Path, chats: Path) -> None:
    one_and_many(chats, tmp_path, 2, "tp=2", label_smoothing=0.1, z_loss=1e-4, rows=5, steps=6)
