"""What a run shows on a terminal."""

import io

import pytest
from rich.console import Console

from lmhead.cli.console import make_reporter
from lmhead.training.config import TrainConfig
from lmhead.training.loop import StepRecord


@pytest.mark.parametrize("width", [60, 80, 200])
def test_the_step_is_seen_on_a_terminal_of_any_width(width: int) -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=width)
    record = StepRecord(
        step=123,
        steps=4000,
        tokens=512,
        read=600,
        loss=2.5,
        grad_norm=1.0,
        rate=0.5,
        tokens_per_second=2000.0,
        trained_per_second=1800.0,
        seconds=9.0,
    )
    with make_reporter(console, TrainConfig()) as reporter:
        reporter.step(record)
    assert "step 123/4,000" in out.getvalue()
