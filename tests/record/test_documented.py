"""docs/seeing/record.md has every key that is checked, under its kind, and nothing else; and what is shown is short."""

import re
from pathlib import Path

import pytest

from lmhead.labels.targets import Reason
from lmhead.record.line_check import FIELDS
from lmhead.record.token_column import COLUMNS

PAGE = (Path(__file__).parent.parent.parent / "docs" / "seeing" / "record.md").read_text(encoding="utf-8")
BESIDE = {"header": {"record"}, "row": {"spans", "names", "sources", "against"}}  # checked elsewhere


def keys(kind: str) -> set[str]:
    """What a kind's table names in its first column."""
    section = PAGE.split(f"\n**{kind.capitalize()}**")[1].split("\n**")[0].split("\n| reason |")[0]
    cells = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    return {name for cell in cells for name in re.findall(r"`(\w+)`", cell)}


@pytest.mark.parametrize("kind", ["header", "step", "evaluation", "row"])
def test_each_key_is_documented(kind: str) -> None:
    checked = COLUMNS if kind == "row" else FIELDS[kind]
    assert keys(kind) == set(checked) | BESIDE.get(kind, set())


@pytest.mark.parametrize("kind", ["sample", "finding"])
def test_each_key_of_a_sentence_is_documented(kind: str) -> None:
    sentence = PAGE.split(f"\n**{kind.capitalize()}**")[1].split("\n**")[0]
    assert set(FIELDS[kind]) <= set(re.findall(r"`(\w+)`", sentence))


def test_each_reason_is_documented() -> None:
    table = PAGE.split("\n| reason |")[1].split("\n\n")[0]
    assert sorted(map(int, re.findall(r"\| (\d+) ", table))) == sorted(map(int, Reason))


def test_what_other_trainers_write_is_about_ten_lines() -> None:
    """Of the loop those lines that write, of the callback all but its heads."""
    loop, callback = (re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL))[:2]
    assert len([line for line in loop.splitlines() if "log" in line or "line" in line or "began" in line]) <= 10
    body = [line for line in callback.splitlines() if line.strip() and not re.match(r"\s*(def|class|import) ", line)]
    assert len(body) <= 10
