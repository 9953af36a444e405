"""What is wrong with a page fails the build of the site, and the message says where."""

import pytest
from tests.site.conftest import build

WRONG = {
    "link": ("[there](nowhere.md)", "cross-reference target not found: 'nowhere.md'"),
    "anchor": ("[there](right.md#nowhere)", "local id not found in doc 'right': 'nowhere'"),
    "own-anchor": ("[there](#nowhere)", "cross-reference target not found: 'nowhere'"),
    "folder": ("[there](../files)", "cross-reference target not found: '../files'"),
    "name": ("`lmhead.nowhere`", "lmhead.nowhere names nothing"),
    "typo": ("`lmhead.causal_lm_los(1, 2)`", "names nothing of the library: did you mean lmhead.causal_lm_loss?"),
    "image": ('<img src="right.md">', "an image needs an alternative text"),
    "markdown-image": ("![](../files/image.png)", "an image needs an alternative text"),
    "formula": (r"$\nosuchcommand x$", "is not known"),
    "raises": ("```python\n1 / 0\n```", "ZeroDivisionError: division by zero"),
    "endless": ("```python\nwhile True: ...\n```", "a block must end within 8 s"),
    "hidden-raises": ("<!-- invisible-code-block: python\nassert 1 == 2\n-->", "AssertionError"),
    "stderr": (
        '```python\nimport sys\n\nprint("!", file=sys.stderr)\n```',
        "this block wrote to stderr; mend what it tells of: !",
    ),
    "figure": (
        "```python\nfrom matplotlib.figure import Figure\n\nFigure()\n```",
        "an image needs an alternative text",
    ),
    "open": ("```python\n1", "the block does not end: close it with ```"),
    "in-a-list": ("1. x\n\n   ```python\n   1\n   ```", "a python block must begin at the margin"),
    "same-title": ("x", "has the title Wrong name too: give one of the two another"),
    "language": ("```nosuchlanguage\nx\n```", "Pygments lexer name 'nosuchlanguage' is not known"),
}
RIGHT = """# Right

[a section](#a-section), [a file](../files/program.py), `lmhead.patch`, `lmhead.figures.nll_curve(...)`,
`ChatLabeler`, `lmhead train`, $x^2$, <https://example.org>.

## A section

> [!NOTE]
> A note.

```python
print(6 * 7)
```

![a square](../files/image.png)
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """One page for each thing that can be wrong, and one where nothing is."""
    pytest.importorskip("PIL")
    from PIL import Image

    folder = tmp_path_factory.mktemp("site")
    (folder / "files").mkdir()
    (folder / "files" / "program.py").write_text('"""A program."""\n')
    Image.new("RGB", (4, 4)).save(folder / "files" / "image.png")
    names = ["right", *(f"wrong-{name}" for name in WRONG)]
    index = "# Index\n\n:::{toctree}\n" + "\n".join(names) + "\n:::\n"
    wrong = {
        f"wrong-{name}.md": f"# Wrong {'name' if name == 'same-title' else name}\n\n{text}\n"
        for name, (text, _) in WRONG.items()
    }
    (folder / "docs").mkdir()
    for name, text in ({"index.md": index, "right.md": RIGHT} | wrong).items():
        (folder / "docs" / name).write_text(text, encoding="utf-8")
    return build(folder / "docs", folder / "built", "-D", "site_seconds=8")


def test_each_wrong_page_fails_the_build_and_is_named(built):
    assert built.status != 0
    told = "\n".join(built.warnings)
    for name, (_, message) in WRONG.items():
        at = told.find(f"wrong-{name}.md:")
        assert at >= 0, f"{name}: {told}"
        following = told[at:].partition("\n/")[0]
        assert message in following, f"{name}: {following}"
    assert "/right.md:" not in told


def test_what_a_right_page_prints_is_shown(built):
    page = (built.folder / "right.html").read_text(encoding="utf-8")
    assert ">42\n<" in page
    assert "<math" in page
    assert 'href="files/files/program.py.html"' in page
    assert "A program." in (built.folder / "files/files/program.py.html").read_text(encoding="utf-8")
