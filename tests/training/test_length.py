"""Minutes become as many steps as fit beside everything else; what xz makes of the text is bounded in time."""

import lzma
from dataclasses import replace

import pytest

from lmhead.training import xz
from lmhead.training.config.train_config import TrainConfig
from lmhead.training.length import Seconds, steps_that_fit
from lmhead.training.xz import xz_bits, xz_seconds

CONFIG = TrainConfig(save_every=10, eval_every=20, sample_every=50)
EACH = Seconds(step=1.0, save=2.0, sample=5.0, part=4.0, whole=30.0, closing=3.0)


@pytest.mark.parametrize("keep_best", [False, True])
@pytest.mark.parametrize("left", [60.0, 1000.0, 50_000.0])
def test_a_run_ends_within_its_time_and_wastes_little(left: float, keep_best: bool) -> None:
    config = replace(CONFIG, keep_best=keep_best)
    steps = steps_that_fit(EACH, left, config)
    spent = 0.0
    for step in range(1, steps + 1):
        spent += EACH.step
        spent += EACH.save * (step % 10 == 0 or step == steps or (keep_best and step % 20 == 0))
        if step != steps:
            spent += EACH.sample * (step % 50 == 0) + EACH.part * (step % 20 == 0)
    spent += EACH.sample + EACH.whole + EACH.closing + (EACH.part if keep_best else 0.0)
    assert spent <= left
    assert spent > left * 0.96 - 5


def test_one_step_is_taken_where_there_is_no_time_left() -> None:
    assert steps_that_fit(EACH, -5.0, CONFIG) == 1


def test_the_figure_is_that_of_xz() -> None:
    text = b"".join(b"line %d of the text\n" % i for i in range(30_000))
    assert xz_bits(text) == 8 * len(lzma.compress(text, preset=9 | lzma.PRESET_EXTREME)) / len(text)


def test_a_text_that_takes_too_long_has_a_reason_instead_of_a_figure() -> None:
    clock = iter(range(0, 10_000, 10))
    assert xz_bits(b"a" * 2**21, now=lambda: float(next(clock))) == "it takes more than 30 seconds"


def test_too_little_memory_is_a_reason_too(monkeypatch: pytest.MonkeyPatch) -> None:
    class Refused:
        def __init__(self, **options: object) -> None:
            raise MemoryError

    monkeypatch.setattr(xz.lzma, "LZMACompressor", Refused)
    assert xz_bits(b"text") == "it needs more memory than there is"


def test_its_time_is_told_from_a_piece_and_bounded() -> None:
    clock = iter([0.0, 0.0, 0.25, 0.5])
    assert xz_seconds(b"a" * 2**20, now=lambda: next(clock)) == 2.0
    clock = iter([0.0, 0.0, 20.0, 20.0])
    assert xz_seconds(b"a" * 2**20, now=lambda: next(clock)) == 30.0
