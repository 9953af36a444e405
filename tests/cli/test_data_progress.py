import io

import pytest
from rich.console import Console

from lmhead.cli import data_progress as module
from lmhead.cli.data_progress import data_progress, progress_line


@pytest.fixture
def clock(monkeypatch):
    """Seconds that the module sees; tests move them."""
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


def test_the_line_says_how_many_and_how_fast():
    assert progress_line("labelling", 12_345, 20_000, "rows", 6.745) == "labelling 12,345 of 20,000 rows  1,830/s"
    assert progress_line("labelling", 64, None, "rows", 0.5) == "labelling 64 rows  128/s"


def test_no_time_at_all_is_no_division_by_zero():
    assert progress_line("labelling", 0, None, "rows", 0.0) == "labelling 0 rows  0/s"


def test_a_file_gets_a_line_every_ten_seconds(clock):
    out = io.StringIO()
    with data_progress(Console(file=out, width=200)) as report:
        for second in range(26):
            clock[0] = 100.0 + second
            report("labelling", second * 10, 1_000, "rows")
    assert out.getvalue().splitlines() == [
        "labelling 100 of 1,000 rows  10/s  1:30 left",
        "labelling 200 of 1,000 rows  10/s  1:20 left",
    ]


def test_what_is_quick_leaves_no_line(clock):
    out = io.StringIO()
    with data_progress(Console(file=out, width=200)) as report:
        report("labelling", 64, None, "rows")
        clock[0] += 9
        report("labelling", 128, None, "rows")
    assert out.getvalue() == ""


def test_a_terminal_gets_one_line_that_goes_away(monkeypatch):
    out = io.StringIO()
    console = Console(file=out, width=200, force_terminal=True)
    seconds = iter(range(0, 1000, 2))
    monkeypatch.setattr(module.time, "monotonic", lambda: next(seconds))
    with data_progress(console) as report:
        report("labelling", 20, 50, "rows")
    assert "labelling 20 of 50 rows" in out.getvalue()
    assert out.getvalue().endswith("\x1b[2K")


def test_bytes_are_told_in_sizes_and_each_thing_by_its_own_time(clock):
    out = io.StringIO()
    with data_progress(Console(file=out, width=200)) as report:
        clock[0] += 10
        report("reading", 12_000_000, 90_000_000, "bytes")
        clock[0] += 5
        report("reading", 90_000_000, 90_000_000, "bytes")
        clock[0] += 5
        report("tokenising", 500, 2_500, "bytes")
    assert out.getvalue().splitlines() == [
        "reading 12.0 MB of 90.0 MB  1.2 MB/s  1:05 left",
        "tokenising 500 bytes of 2.5 kB  100 bytes/s  0:20 left",
    ]


@pytest.mark.parametrize("terminal", [False, True])
def test_waiting_for_somebody_is_told_at_once_and_once(clock, terminal):
    out = io.StringIO()
    with data_progress(Console(file=out, width=200, force_terminal=terminal)) as report:
        for _ in range(3):
            clock[0] += 0.01
            report("waiting for a writer of [b]pipe", 0, None, "bytes")
    assert "waiting for a writer of [b]pipe" in out.getvalue()
    if not terminal:
        assert out.getvalue().splitlines() == ["waiting for a writer of [b]pipe"]


def test_the_same_of_other_texts_is_timed_from_its_own_begin(clock):
    out = io.StringIO()
    with data_progress(Console(file=out, width=200)) as report:
        for second, done, total in [(0, 0, 800), (8, 800, 800), (9, 0, 200), (19, 100, 200)]:
            clock[0] = 100.0 + second
            report("tokenising", done, total, "rows")
    assert out.getvalue().splitlines() == ["tokenising 100 of 200 rows  9/s  0:11 left"]
