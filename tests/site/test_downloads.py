"""Notebooks of the course: their code is the page's seen blocks, and needs nothing that is hidden."""

import ast
import builtins

import pytest

pytest.importorskip("myst_nb", reason="the site needs myst-nb: pip install 'lmhead[docs]'")

import nbformat
from tests.site.conftest import DOCS

from lmhead_site.downloads import COURSE, notebook_of
from lmhead_site.page_cells import cells_of

COURSE_PAGES = [
    page for page in sorted((DOCS / "course").glob("*.md")) if COURSE.fullmatch(f"course/{page.stem}") is not None
]
PAGE = """# 1. Title

Text with [a link](02-next.md#there), [`code`](../loss/op.md) and [the web](https://example.org/x).

> [!NOTE]
> Noted.

```python
from lmhead import figures
```
<!-- invisible-code-block: python
assert figures
-->

## Exercises

1. Why?

<details>
<summary>Solution</summary>

Because of [it](#title).

```python
print(1)
```

So it is.

</details>

The end.
"""


def bound(tree: ast.AST) -> set[str]:
    """Names that code gives a value to, wherever it stands outside of functions' bodies or in them."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store | ast.Del):
            names.add(node.id)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.alias):
            names.add((node.asname or node.name).partition(".")[0])
        elif isinstance(node, ast.ExceptHandler) and node.name is not None:
            names.add(node.name)
        elif isinstance(node, ast.arg):
            names.add(node.arg)
    return names


def given_a_value(tree: ast.Module) -> set[str]:
    """Names of the page that code gives a value to: not a module's, nor those within a function or a comprehension."""
    names, waiting = set(), list(tree.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif not isinstance(node, ast.Lambda | ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp):
            waiting += ast.iter_child_nodes(node)
    return names


def used(tree: ast.AST) -> set[str]:
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}


@pytest.mark.parametrize("page", COURSE_PAGES, ids=lambda page: page.stem)
def test_the_code_of_a_notebook_is_what_is_seen_of_its_page(page):
    text = page.read_text(encoding="utf-8")
    notebook = notebook_of(text, page.stem)
    nbformat.validate(notebook)
    first, *code = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    assert code == [cell.source for cell in cells_of(text) if cell.kind == "code"]
    assert all(line.startswith("#") for line in first.splitlines())


@pytest.mark.parametrize("page", COURSE_PAGES, ids=lambda page: page.stem)
def test_what_is_hidden_binds_nothing_that_is_seen(page):
    """Each block uses what seen blocks bind, or builtins; and nothing that a hidden one has given another value."""
    seen, changed = {*dir(builtins), "_"}, set()
    for cell in cells_of(page.read_text(encoding="utf-8")):
        if cell.kind == "text":
            continue
        tree = ast.parse(cell.source)
        if cell.kind == "hidden":
            changed |= given_a_value(tree)
        else:
            seen |= bound(tree)
            changed -= bound(tree)
            assert used(tree) <= seen, f"line {cell.line}: {sorted(used(tree) - seen)}"
            assert not used(tree) & changed, f"line {cell.line}: hidden blocks set {sorted(used(tree) & changed)}"


def test_a_page_becomes_a_notebook():
    notebook = notebook_of(PAGE, "01-title")
    assert [(cell.cell_type, cell.source) for cell in notebook.cells] == [
        ("code", '# What this page needs:\n# %pip install "lmhead[plots]"'),
        (
            "markdown",
            "# 1. Title\n\nText with a link, `code` and [the web](https://example.org/x).\n\n> **Note**\n>\n> Noted.",
        ),
        ("code", "from lmhead import figures"),
        ("markdown", "## Exercises\n\n1. Why?"),
        ("markdown", "<details>\n<summary>Solution</summary>\n\nBecause of it.\n\n</details>"),
        ("code", "print(1)"),
        ("markdown", "<details>\n<summary>Solution</summary>\n\nSo it is.\n\n</details>"),
        ("markdown", "The end."),
    ]
    assert [bool(cell.metadata.get("jupyter")) for cell in notebook.cells] == [*[False] * 5, True, False, False]


def test_the_same_page_gives_the_same_notebook():
    assert notebook_of(PAGE, "01-title") == notebook_of(PAGE, "01-title")
    ids = [cell.id for cell in notebook_of(PAGE, "01-title").cells]
    others = [cell.id for cell in notebook_of(PAGE, "02-other").cells]
    assert len({*ids, *others}) == len(ids) + len(others)
