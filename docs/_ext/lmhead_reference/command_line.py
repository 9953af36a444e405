"""The directive `lmhead-flags`: a command's usage and flags, of the dataclass that the command itself reads."""

import re
from collections.abc import Iterator

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from lmhead.cli.commands import config_of, module_of
from lmhead.cli.flags.flag_help import GENERAL, entry
from lmhead.cli.flags.flag_table import Flag, flags_of, groups_of
from lmhead_reference.docstring_form import prose


def connect(app: Sphinx) -> None:
    """Make the directive known."""
    app.add_directive("lmhead-flags", Flags)


class Flags(SphinxDirective):
    """`.. lmhead-flags:: train`"""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """What stands in its place."""
        command = self.arguments[0]
        module = module_of(command)
        self.env.note_dependency(str(module.__file__))
        return self.parse_text_to_nodes("\n".join(_rest(command, module.ABOUT, config_of(command))))


def _rest(command: str, about: str, kind: type) -> Iterator[str]:
    flags = flags_of(kind)
    words = [f"[{flag.written} ...]" if flag.kind is tuple else flag.written for flag in flags if flag.positional]
    yield from (_escaped(about), "", ".. code-block:: text", "")
    yield from (f"   {' '.join(['lmhead', command, *words, '[flags]'])}", "", f".. program:: lmhead {command}", "")
    yield from _options(flag for flag in flags if flag.positional)
    headings = groups_of(kind)
    groups = list(dict.fromkeys(flag.group for flag in flags if not flag.positional))
    for group in groups:
        if len(groups) > 1:
            said = headings.get(group, "")
            yield from (f".. rubric:: {group or GENERAL}{': ' if said else ''}{_escaped(said)}", "")
        yield from _options(flag for flag in flags if flag.group == group and not flag.positional)


def _options(flags: Iterator[Flag]) -> Iterator[str]:
    for flag in flags:
        written, text = (flag.written, flag.text) if flag.positional else entry(flag)
        full = "" if flag.positional or flag.full == flag.name else f" In full, and in YAML: ``{flag.field}``."
        yield from (f".. option:: {written}", "", f"   {_escaped(text)}{full}", "")


def _escaped(text: str) -> str:
    """Prose in which flags are code."""
    return prose(re.sub(r"(?<![\w`-])(--[a-z][\w-]*)", r"`\1`", text))
