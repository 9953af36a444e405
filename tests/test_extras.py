"""An extra of pyproject.toml brings what something here imports, and an error names it where that is missing."""

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
FOR_USERS = EXTRAS.keys() - {"test", "check", "docs", "dev"}
SOURCES = [file.read_text() for folder in ("src", "benchmarks") for file in (ROOT / folder).rglob("*.py")]


def imported(source: str) -> Iterator[str]:
    """Top-level packages: by a statement, by `importlib.import_module`, or asked for where transformers imports it."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                yield from (name.name.partition(".")[0] for name in names)
            case ast.ImportFrom(module=str(module)):
                yield module.partition(".")[0]
            case ast.Call(func=ast.Attribute(attr="import_module"), args=[ast.Constant(value=str(module)), *_]):
                yield module.partition(".")[0]
            case ast.Call(func=ast.Name(id="require_package"), args=[ast.Constant(value=str(package)), *_]):
                yield package


IMPORTED = {name for source in SOURCES for name in imported(source)}


@pytest.mark.parametrize("extra", sorted(FOR_USERS))
def test_what_an_extra_brings_is_imported(extra: str) -> None:
    assert {Requirement(line).name for line in EXTRAS[extra]} <= IMPORTED


@pytest.mark.parametrize("extra", sorted(FOR_USERS))
def test_an_error_names_the_extra(extra: str) -> None:
    assert any(f'pip install "lmhead[{extra}]"' in source for source in SOURCES)


def test_no_error_names_an_extra_that_there_is_not() -> None:
    named = {source.split("]")[0] for text in SOURCES for source in text.split("lmhead[")[1:]}
    assert named <= EXTRAS.keys()
