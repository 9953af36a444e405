"""Docstrings of this library as reStructuredText. They are written for a terminal; napoleon is not needed.

- Code stands in single backticks, and `*`, `|` and `_` in prose are themselves.
- An indented block is code: the plain torch that a function equals, or how it is called.
- Sections are Args, Returns, Raises and Example; of several names before a colon, each gets what is said.
- What the source says beside a parameter, `hidden: Tensor,  # [..., D]`, comes first in what is said of it
  (source_comments.py); signatures.py has what becomes of signatures.
"""

import ast
import re
import textwrap
from collections.abc import Iterator, Sequence
from itertools import groupby

from sphinx.application import Sphinx
from sphinx.pycode import ModuleAnalyzer
from torch import nn

from lmhead_reference.source_comments import as_sentence, field_comments, field_text, parameter_comments, parameters

SECTIONS = ("Args", "Returns", "Raises", "Example")
_APART = "\\ "  # nothing, between a name in backticks and a letter
# What is code in prose: `x`; shapes: [..., D], [R, T], [1 + K].
_CODE = re.compile(r"(`[^`]+`|(?<!\w)\[(?:\.\.\.|[BTNDVKRS](?: \+ \w)?|[1-9](?: \+ \w|(?=, )))(?:, [\w .+]+)*\])")
Entries = dict[tuple[str, ...], list[str]]  # names before a colon -> the lines behind it


def connect(app: Sphinx) -> None:
    """Have each docstring changed as autodoc reads it."""
    app.connect("autodoc-process-docstring", _changed)


def _changed(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    if what in ("attribute", "property", "data") and not any(lines):
        lines[:] = [field_text(name)]
    if not _said_here(obj):
        lines[:] = []
    if isinstance(obj, type):
        _tell_fields(obj)
    called = what in ("function", "method", "class", "exception")
    lines[:] = as_rest(lines, parameter_comments(obj) if called else {}, parameters(obj) if called else [])


def _tell_fields(kind: type) -> None:
    """To Sphinx, the comments beside fields that have no value: of others it asks us (`field_text`)."""
    for each in kind.__mro__:
        if each.__module__.startswith("lmhead"):
            analyzer = ModuleAnalyzer.for_module(each.__module__)
            analyzer.analyze()
            for field, comment in field_comments(each).items():
                if comment:
                    analyzer.attr_docs.setdefault((each.__qualname__, field), [as_sentence(comment), ""])


def _said_here(obj: object) -> bool:
    """Not of a method that has torch's own docstring."""
    return getattr(obj, "__doc__", None) != nn.Module.forward.__doc__


def as_rest(lines: list[str], comments: dict[str, str], order: Sequence[str] = ()) -> list[str]:
    """The lines of a docstring as reStructuredText, with the comments beside the parameters, in their order."""
    before, sections, behind = _parts(lines)
    arguments = _ordered(_with_comments(_entries(sections.get("Args", [])), comments), order)
    made = [*_paragraphs(before), ""]
    made += _fields("param", arguments)
    if returned := sections.get("Returns"):
        made += _field("returns", returned)
    made += _fields("raises", _entries(sections.get("Raises", [])))
    if example := sections.get("Example"):
        made += ["", ".. rubric:: Example", "", *example, ""]
    return [*made, "", *_paragraphs(behind)]


def _parts(lines: list[str]) -> tuple[list[str], dict[str, list[str]], list[str]]:
    """(what stands before the sections, the sections' lines without their indent, what stands behind them)."""
    before: list[str] = []
    behind: list[str] = []
    sections: dict[str, list[str]] = {}
    section: list[str] | None = None
    for line in lines:
        if line.endswith(":") and line[:-1] in SECTIONS:
            section = sections.setdefault(line[:-1], [])
        elif line and not line.startswith(" "):
            section = None
            (behind if sections else before).append(line)
        elif section is not None:
            section.append(line[4:])
        else:
            (behind if sections else before).append(line)
    return before, sections, behind


def _paragraphs(lines: list[str]) -> Iterator[str]:
    """Prose, in which an indented block is code."""
    for is_code, group in groupby(_continued(lines), key=lambda line: line.startswith("    ")):
        block = list(group)
        yield from _code(block) if is_code else prose("\n".join(block)).split("\n")


def _continued(lines: list[str]) -> Iterator[str]:
    """The lines, with an empty one inside of code indented as the code is."""
    for number, line in enumerate(lines):
        follows = next((each for each in lines[number:] if each.strip()), "")
        inside = not line.strip() and number and lines[number - 1].startswith("    ") and follows.startswith("    ")
        yield "    " if inside else line


def _code(block: list[str]) -> Iterator[str]:
    text = textwrap.dedent("\n".join(block)).strip("\n")
    try:
        ast.parse(text)
        language = "python"
    except SyntaxError:
        language = "text"
    yield from ("", f".. code-block:: {language}", "", *(f"   {line}" for line in text.split("\n")), "")


def prose(text: str) -> str:
    """Single backticks to double ones, shapes as code; what would be markup elsewhere is escaped."""
    pieces = _CODE.split(text)  # every other one is code
    for number in range(0, len(pieces), 2):
        pieces[number] = re.sub(r"([\\*|]|_(?!\w))", r"\\\1", pieces[number])
    for number in range(1, len(pieces), 2):
        before, behind = pieces[number - 1][-1:], pieces[number + 1][:1]
        code = f"``{pieces[number].strip('`')}``"
        pieces[number] = (_APART if before.isalnum() else "") + code + (_APART if behind.isalnum() else "")
    return "".join(pieces)


def _entries(lines: list[str]) -> Entries:
    """`name: text`, with what is indented below it."""
    entries: Entries = {}
    names: tuple[str, ...] = ()
    for line in lines:
        if found := re.match(r"([\w.]+(?:, [\w.]+)*): *(.*)", line):
            names = tuple(found[1].split(", "))
            entries[names] = [found[2]]
        elif names and line.strip():
            entries[names].append(line.strip())
    return entries


def _with_comments(entries: Entries, comments: dict[str, str]) -> Entries:
    """Of each parameter the comment, then what the docstring says."""
    told = {name: names for names in entries for name in names}
    made: Entries = {}
    for name, comment in comments.items():
        said = entries[told[name]] if name in told else []
        made[(name,)] = [f"{comment}; {said[0]}" if said else f"{comment}.", *said[1:]]
    for names, said in entries.items():
        rest = tuple(name for name in names if name not in comments)
        if rest:
            made[rest] = said
    return made


def _ordered(entries: Entries, order: Sequence[str]) -> Entries:
    place = {name: number for number, name in enumerate(order)}
    return dict(sorted(entries.items(), key=lambda entry: place.get(entry[0][0], len(place))))


def _fields(kind: str, entries: Entries) -> Iterator[str]:
    for names, said in entries.items():
        for name in names:
            yield from _field(f"{kind} {name}", said)


def _field(name: str, lines: list[str]) -> Iterator[str]:
    first, *more = prose("\n".join(lines)).split("\n")
    yield f":{name}: {first}"
    yield from (f"    {line}" for line in more)
