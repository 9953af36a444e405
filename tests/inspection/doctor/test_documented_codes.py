"""docs/data/doctor.md lists every code that there is, and no other."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import lmhead

ROOT = Path(__file__).parents[3]
FILES = sorted((Path(lmhead.__file__).parent / "inspection" / "doctor").glob("*.py"))
MAKERS = {"_found", "_finding", "_named", "counted"}  # functions whose first argument is a code
TABLES = {"_NOTES", "ODDITIES"}  # code -> what is told of it
CODES = {"_CODES"}  # ... -> code


def codes(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and node.arg == "code":
            yield from constants(node.value)
        elif isinstance(node, ast.Call) and node.args:
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if name in MAKERS:
                yield from constants(node.args[0])
        elif isinstance(node, ast.AnnAssign) and getattr(node.target, "id", "") in TABLES:
            assert isinstance(node.value, ast.Dict)
            yield from (key.value for key in node.value.keys if isinstance(key, ast.Constant))
        elif isinstance(node, ast.AnnAssign) and getattr(node.target, "id", "") in CODES:
            assert isinstance(node.value, ast.Dict)
            yield from (value.value for value in node.value.values if isinstance(value, ast.Constant))
        elif isinstance(node, ast.Assign) and "code" in ast.dump(node.targets[0]):
            yield from constants(node.value)


def constants(node: ast.AST) -> Iterator[str]:
    """What looks like a code: words joined by underscores."""
    for one in ast.walk(node):
        if (
            isinstance(one, ast.Constant)
            and isinstance(one.value, str)
            and re.fullmatch(r"[a-z]+(_[a-z]+)+", one.value)
        ):
            yield one.value


KINDS = {"not_transparent", "generation_prompt", "dropped_text", "nothing_to_train", "assistant_header"}


def test_every_code_is_documented():
    made = {code for file in FILES for code in codes(ast.parse(file.read_text(encoding="utf-8")))} - KINDS
    page = (ROOT / "docs" / "data" / "doctor.md").read_text(encoding="utf-8")
    first_cells = [cells[1] for line in page.splitlines() if len(cells := line.split("|")) > 3]
    listed = {code for cell in first_cells for code in re.findall(r"`([a-z_]+)`", cell)}
    assert made - listed - {"reasoning_dropped_earlier"} == set()
    assert listed - made == set()
    assert len(made) > 40
    assert "reasoning_dropped_earlier" in page
