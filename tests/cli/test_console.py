"""Where a line may be redrawn: on a terminal that can, looked at by somebody."""

import io
import sys

import pytest

from lmhead.cli.console import console


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def a_terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Standard output as one, with nothing set that says more of it. Not a fixture: pytest has its own by then."""
    stream = Terminal()
    monkeypatch.setattr(sys, "stdout", stream)
    for name in ("CI", "NO_COLOR", "FORCE_COLOR", "COLUMNS", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    return stream


@pytest.mark.parametrize(
    ("environment", "redraws"),
    [
        ({}, True),
        ({"NO_COLOR": "1"}, True),
        ({"TERM": "dumb"}, False),
        ({"TERM": "unknown"}, False),
        ({"CI": "true"}, False),
        ({"CI": ""}, True),
    ],
)
def test_a_line_is_redrawn_where_the_terminal_can(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], redraws: bool
) -> None:
    a_terminal(monkeypatch)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert console().is_interactive == redraws
    assert not console(quiet=True).is_interactive


@pytest.mark.parametrize("name", ["FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"])
def test_nothing_makes_a_file_a_terminal(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "1")
    out = io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    made = console()
    assert not made.is_interactive
    made.print("a" * 500, style="red")
    assert out.getvalue() == "a" * 500 + "\n"


def test_columns_are_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    a_terminal(monkeypatch)
    for columns, width in (("60", 60), ("0", 80)):
        monkeypatch.setenv("COLUMNS", columns)
        assert console().width == width


def test_no_color_leaves_no_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = a_terminal(monkeypatch)
    monkeypatch.setenv("NO_COLOR", "1")
    console().print("text", style="red")
    assert "31m" not in terminal.getvalue()


def test_quiet_prints_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = a_terminal(monkeypatch)
    console(quiet=True).print("text")
    assert terminal.getvalue() == ""


def test_lines_are_neither_wrapped_nor_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = a_terminal(monkeypatch)
    monkeypatch.setenv("COLUMNS", "40")
    console().print("word " * 30)
    assert terminal.getvalue() == "word " * 30 + "\n"
