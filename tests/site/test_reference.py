"""docs/reference/: every public name stands on one page, and what its docstring says can be relied on."""

import importlib
import re
from collections import Counter
from pathlib import Path

import pytest
from tests.site.public_callables import PUBLIC, ROOT, Documented, documented, raised_by, takes_tensors

from lmhead.cli.commands import COMMANDS

PAGES = sorted((ROOT / "docs" / "reference").glob("*.md"))
DIRECTIVE = re.compile(r"^\.\. auto\w+:: (lmhead[\w.]+)(?:\(\))?$", re.MULTILINE)
ALL = list({(each.function or each.kind): each for each in documented()}.values())  # what is inherited, once


def names_on(page: Path) -> list[str]:
    return DIRECTIVE.findall(page.read_text(encoding="utf-8"))


def named(each: Documented) -> str:
    return each.name


def test_every_public_name_is_on_exactly_one_page():
    counts = Counter(name for page in PAGES for name in names_on(page))
    assert {name: counts[name] for name in PUBLIC if counts[name] != 1} == {}
    assert [name for name, count in counts.items() if count > 1] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_name_of_a_page_exists(page):
    for name in names_on(page):
        module, _, last = name.rpartition(".")
        assert hasattr(importlib.import_module(module), last), name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_says_what_to_take_for_what_before_it_lists(page):
    opening = page.read_text(encoding="utf-8").partition("```{eval-rst}")[0]
    prose = [line for line in opening.splitlines() if line and not line.startswith(("#", "|"))]
    assert len(" ".join(prose).split()) > 40


def test_the_table_of_the_room_has_every_page():
    rows = re.findall(
        r"^\| .* \| \[.*\]\(([\w-]+\.md)\) \|", (ROOT / "docs/reference/README.md").read_text(encoding="utf-8"), re.M
    )
    assert sorted(rows) == sorted(page.name for page in PAGES if page.name != "README.md")


def test_every_command_has_its_flags():
    page = (ROOT / "docs/reference/command-line.md").read_text(encoding="utf-8")
    assert re.findall(r"^## lmhead (\w+)$", page, re.MULTILINE) == list(COMMANDS)
    assert re.findall(r"^\.\. lmhead-flags:: (\w+)$", page, re.MULTILINE) == list(COMMANDS)


@pytest.mark.parametrize("each", ALL, ids=named)
def test_the_first_line_is_a_sentence(each):
    first = each.docstring.partition("\n")[0]
    assert first.endswith((".", "?")), first
    assert len(first.split()) > 1 or each.name.count(".") > 1  # `[..., T].` does for a property


@pytest.mark.parametrize("each", [each for each in ALL if each.section("Args")], ids=named)
def test_every_argument_that_is_described_exists(each):
    described = each.entries("Args")
    assert set(described) - set(each.parameters) == set()
    assert "" not in described.values()


@pytest.mark.parametrize("each", [each for each in ALL if each.tensors], ids=named)
def test_every_tensor_that_goes_in_has_a_shape(each):
    told = each.entries("Args")
    unshaped = [name for name in each.tensors if not has_shape(each, name, told.get(name, ""))]
    assert unshaped == []


def has_shape(each: Documented, name: str, said: str) -> bool:
    """Beside the parameter, in Args, or in the same sentence of the prose; `divisor` is a number of any shape."""
    beside = each.comments.get(name, "") + said
    if name == "divisor" or re.search(r"\[|shape|as `", beside):
        return True
    in_prose = rf"\b{name.removesuffix('s')}[^.;]*\["
    of_all = each.kind is not None and "shape" in each.docstring  # a record of tensors of one shape
    return of_all or re.search(in_prose, each.docstring.replace("...", "")) is not None


@pytest.mark.parametrize("each", [each for each in ALL if takes_tensors(each.returns)], ids=named)
def test_every_tensor_that_comes_back_has_a_shape(each):
    assert re.search(r"\[|scalar|shape", each.docstring)


@pytest.mark.parametrize("each", [each for each in ALL if each.function is not None], ids=named)
def test_every_error_that_the_code_raises_is_told_of(each):
    assert raised_by(each.function) - set(each.entries("Raises")) == set()


def test_a_missing_shape_or_error_would_be_seen():
    def mean_loss(hidden, token_weight):
        """The mean."""
        raise ArgumentError(token_weight)

    mean_loss.__annotations__ = {"hidden": "Tensor", "token_weight": "Tensor", "return": "Tensor"}
    each = Documented(name="mean_loss", function=mean_loss, docstring="The mean.", comments={}, returns="Tensor")
    assert [name for name in each.tensors if not has_shape(each, name, "")] == ["hidden", "token_weight"]
    assert raised_by(mean_loss) == {"ArgumentError"}


ArgumentError = PUBLIC["lmhead.ArgumentError"]
