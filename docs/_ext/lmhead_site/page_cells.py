"""A page's cells: its text, its python blocks, seen and hidden, in their order.

A page is Markdown that GitHub renders as it is. Three kinds of block run: ```` ```python ````, which is seen; the same
with `>>>`, seen as it stands with the results it claims; `<!-- invisible-code-block: python ... -->`, which is not.
"""

import doctest
import re
from dataclasses import dataclass
from typing import Final, Literal

Kind = Literal["text", "code", "hidden"]
FENCE: Final = re.compile(r"^(?P<indent> *)(?P<fence>`{3,}|~{3,})(?P<language>[^`]*)$")
HIDDEN: Final = re.compile(r"^<!-- *invisible-code-block: *python *$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """Text of a page or code of it; `line` is where its source begins in the page, from 0."""

    kind: Kind
    source: str
    line: int


class PageError(ValueError):
    """A page whose blocks cannot be told apart, with the line, from 1."""

    def __init__(self, line: int, what: str) -> None:
        super().__init__(what)
        self.line = line


def cells_of(text: str) -> list[Cell]:
    """The page in cells; a block of `>>>` gives its text as ```` ```pycon ```` and a hidden cell of what it runs.

    Raises:
        PageError: a block does not end, or a python block stands in a list, where it would not be run.
    """
    lines = text.splitlines()
    found: list[Cell] = []
    text_from = 0
    at = 0
    while at < len(lines):
        fence, hidden = FENCE.match(lines[at]), HIDDEN.match(lines[at])
        if not fence and not hidden:
            at += 1
            continue
        end = _end(lines, at, "-->" if fence is None else fence["fence"])
        language = "python" if fence is None else fence["language"].strip()
        if language == "python":
            if fence is not None and fence["indent"]:
                raise PageError(at + 1, "a python block must begin at the margin, or it is not run")
            _add_text(found, lines[text_from:at], text_from)
            found.extend(_block("\n".join(lines[at + 1 : end]), at + 1, hidden=fence is None))
            text_from = end + 1
        at = end + 1
    _add_text(found, lines[text_from:], text_from)
    return found


def _end(lines: list[str], start: int, closing: str) -> int:
    for at in range(start + 1, len(lines)):
        line = lines[at].strip()
        if line == closing or (closing[0] in "`~" and line.startswith(closing) and set(line) == {closing[0]}):
            return at
    raise PageError(start + 1, f"the block does not end: close it with {closing}")


def _add_text(found: list[Cell], lines: list[str], line: int) -> None:
    if any(each.strip() for each in lines):
        found.append(Cell(kind="text", source="\n".join(lines), line=line))


def _block(source: str, line: int, *, hidden: bool) -> list[Cell]:
    if not source.lstrip().startswith(">>>"):
        return [Cell(kind="hidden" if hidden else "code", source=source, line=line)]
    examples = doctest.DocTestParser().get_examples(source)
    sources = [example.source for example in examples if example.exc_msg is None]  # what it claims, the suite tests
    runs = Cell(kind="hidden", source="".join(sources).rstrip("\n"), line=line)
    return [Cell(kind="text", source=f"```pycon\n{source}\n```", line=line - 1), runs]


def code_of(cells: list[Cell]) -> list[str]:
    """What a page runs, in order."""
    return [cell.source for cell in cells if cell.kind != "text"]
