"""docs/ranks/scaling.md shows what the command prints, and what was measured."""

import re
from pathlib import Path

import pytest
from benchmarks.ranks import on_paper

from lmhead.cli.main import main

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "ranks" / "scaling.md").read_text(encoding="utf-8")
TABLES = {
    "hardware": on_paper.hardware_table,
    "measured": on_paper.measured_table,
    "others": on_paper.others_table,
    "8B": lambda: on_paper.plan_table("llama-3-8b", on_paper.EIGHT),
    "70B": lambda: on_paper.plan_table("llama-3-70b", on_paper.SEVENTY),
}


@pytest.mark.parametrize("name", TABLES)
def test_every_table_is_what_the_formulas_give(name):
    assert TABLES[name]() in PAGE


def test_the_command_prints_what_the_page_shows(capsys, monkeypatch):
    found = re.search(r"```console\n\$ lmhead (estimate .*)\n((?:.*\n)*?)```", PAGE)
    assert found is not None
    monkeypatch.chdir(ROOT)
    assert main(found[1].split()) == 0
    assert capsys.readouterr().out == found[2]
