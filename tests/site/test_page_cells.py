"""A page in cells: text, code that is seen, code that is not."""

import pytest

pytest.importorskip("sphinx", reason="the site needs sphinx: pip install 'lmhead[docs]'")

from lmhead_site.page_cells import PageError, cells_of, code_of

PAGE = """# Title

Text.

```python
x = 1
```
<!-- invisible-code-block: python
assert x == 1
-->

```console
$ no python
```

```python
>>> x + 1
2
>>> 1 / 0
Traceback (most recent call last):
ZeroDivisionError: division by zero
```
"""


def test_blocks_are_cells_in_their_order():
    assert [(cell.kind, cell.line) for cell in cells_of(PAGE)] == [
        ("text", 0),
        ("code", 5),
        ("hidden", 8),
        ("text", 10),
        ("text", 15),
        ("hidden", 16),
    ]
    assert code_of(cells_of(PAGE)) == ["x = 1", "assert x == 1", "x + 1"]


def test_a_session_is_shown_with_the_results_it_claims():
    *_, shown, _run = cells_of(PAGE)
    assert shown.source.startswith("```pycon\n>>> x + 1\n2\n>>> 1 / 0\n")


def test_nothing_of_a_page_is_lost():
    source = "\n".join(cell.source for cell in cells_of(PAGE))
    marks = {"```python", "<!-- invisible-code-block: python", "-->"}
    assert {line for line in PAGE.splitlines() if line.strip() and line not in source} == marks


def test_a_fence_within_another_is_text():
    assert [cell.kind for cell in cells_of("````text\n```python\n1\n```\n````\n")] == ["text"]


@pytest.mark.parametrize(
    ("text", "line"),
    [("```python\n1\n", 1), ("x\n\n   ```python\n   1\n   ```\n", 3), ("<!-- invisible-code-block: python\n", 1)],
)
def test_a_block_that_would_not_run_is_refused(text, line):
    with pytest.raises(PageError) as refused:
        cells_of(text)
    assert refused.value.line == line
