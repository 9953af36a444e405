import io

import pytest
from rich.console import Console

from lmhead.cli import labelling_progress as module
from lmhead.cli.labelling_progress import labelling_line, labelling_progress


@pytest.fixture
def clock(monkeypatch):
    """Seconds that the module sees; tests move them."""
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


def test_the_line_says_how_many_and_how_fast():
    assert labelling_line(12_345, 20_000, 6.745) == "labelling 12,345 of 20,000 rows  1,830/s"
    assert labelling_line(64, None, 0.5) == "labelling 64 rows  128/s"


def test_no_time_at_all_is_no_division_by_zero():
    assert labelling_line(0, None, 0.0) == "labelling 0 rows  0/s"


def test_a_file_gets_a_line_every_ten_seconds(clock):
    out = io.StringIO()
    with labelling_progress(Console(file=out, width=200), total=1_000) as report:
        for second in range(26):
            clock[0] = 100.0 + second
            report(second * 10)
    assert out.getvalue().splitlines() == [
        "labelling 100 of 1,000 rows  10/s",
        "labelling 200 of 1,000 rows  10/s",
    ]


def test_what_is_quick_leaves_no_line(clock):
    out = io.StringIO()
    with labelling_progress(Console(file=out, width=200)) as report:
        report(64)
        clock[0] += 9
        report(128)
    assert out.getvalue() == ""


def test_a_terminal_gets_one_line_that_goes_away(monkeypatch):
    out = io.StringIO()
    console = Console(file=out, width=200, force_terminal=True)
    seconds = iter(range(0, 1000, 2))
    monkeypatch.setattr(module.time, "monotonic", lambda: next(seconds))
    with labelling_progress(console, total=50) as report:
        report(20)
    assert "labelling 20 of 50 rows" in out.getvalue()
    assert out.getvalue().endswith("\x1b[2K")
