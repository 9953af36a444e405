"""What the documentation shows, runs: every python block of the pages, every example of the docstrings, every link."""

import doctest
import importlib
import io
import json
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from sybil import Sybil
from sybil.document import Document
from sybil.parsers.markdown import PythonCodeBlockParser

import lmhead

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def name_of(page: Path) -> str:
    """docs/loss/op.md."""
    return page.relative_to(ROOT).as_posix()


MODULES = sorted(module.name for module in pkgutil.walk_packages(lmhead.__path__, "lmhead."))


def read(page: Path) -> Document:
    """The page with its python blocks; blocks of one page share their names, hidden ones (HTML comments) too."""
    return Sybil(parsers=[PythonCodeBlockParser()], path=str(page.parent)).parse(page)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_python_block_of_a_page_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    try:
        for example in read(page).examples():
            example.evaluate()
    finally:
        torch.set_printoptions(profile="default")  # a page may want fewer digits


def test_every_block_names_its_language():
    """One without a name would be skipped: python is run, console and text are not."""
    unnamed = [f"{page.name}: {language}" for page in PAGES for language in languages(page) if language not in KNOWN]
    assert unnamed == []


KNOWN = {"python", "console", "text", "yaml", "{eval-rst}"}  # the last in docs/reference alone


def languages(page: Path) -> Iterator[str]:
    """What stands behind each opening fence."""
    yield from re.findall(r"^```(.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)[::2]


@pytest.mark.parametrize("name", MODULES)
def test_every_example_of_a_docstring_runs(name):
    if name.startswith("lmhead.ops.triton.") and name.endswith((".kernels", ".row_pass", ".row_math", ".row_top")):
        pytest.importorskip("triton")
    module = importlib.import_module(name)
    report = io.StringIO()
    runner = doctest.DocTestRunner(verbose=False)
    for test in doctest.DocTestFinder(exclude_empty=True).find(module, name):
        runner.run(test, out=report.write)
    assert runner.summarize(verbose=False).failed == 0, report.getvalue()


def test_a_wrong_example_would_be_seen(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("```python\n>>> 1 + 1\n3\n```\n\n```python\nassert False\n```\n")
    examples = list(read(page).examples())
    assert len(examples) == 2
    for example in examples:
        with pytest.raises((AssertionError, Exception)):
            example.evaluate()


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_to_a_file_leads_somewhere(page):
    targets = re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8"))
    files = [target for target in targets if "://" not in target]
    assert [target for target in files if not (page.parent / target).exists()] == []


def test_every_test_that_a_page_names_exists():
    for page in PAGES:
        for name, file in re.findall(r"\[`(test_\w+)`\]\(([\w/.]+)\)", page.read_text(encoding="utf-8")):
            assert f"def {name}(" in (page.parent / file).read_text(encoding="utf-8"), f"{page.name}: {name}"


def test_the_table_of_peers_is_what_was_measured():
    """docs/loss/op.md shows the cases of results/contract.json that somebody fails, and counts the others."""
    measured = json.loads((ROOT / "benchmarks" / "results" / "contract.json").read_text(encoding="utf-8"))
    where = [i for i, name in enumerate(measured["columns"]) if name and "as they come" not in name]
    *cases, _total = measured["rows"]
    verdicts = {row[0]: [verdict(row[i]) for i in where] for row in cases}
    failed = {name: cells for name, cells in verdicts.items() if set(cells) != {"yes"}}
    page = (ROOT / "docs" / "loss" / "op.md").read_text(encoding="utf-8")
    lines = [[cell.strip(" *") for cell in line.strip("|").split("|")] for line in page.splitlines()]
    assert {cells[0]: cells[1:] for cells in lines if cells[0] in verdicts and len(cells) > 9} == failed
    assert f"{len(verdicts)} cases" in page
    assert f"{len(verdicts) - len(failed)} cases hold" in page


def verdict(cell: str) -> str:
    return "yes" if cell.startswith("yes") else "·" if cell.startswith("not judged") else "no"
