"""Chat templates run in Jinja's sandbox, and every loop is counted: a template from elsewhere is somebody's program.

The environment is the one that transformers renders in (trimmed blocks, loop controls, `{% generation %}`, `tojson`,
`raise_exception`, `strftime_now`), with the clock stopped.

What ends a render: loops and macros that run more than MAX_STEPS times in all, a range of more than 100,000, a text
of more than MAX_CHARACTERS, a product or a power that would be huge, an attribute that the sandbox calls unsafe, a
file. What does not: a string doubled by `~` forty times; whoever runs hostile templates limits the memory as well.
"""

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final

from jinja2 import Template, nodes
from jinja2.exceptions import SecurityError, TemplateRuntimeError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment, safe_range
from jinja2.utils import Namespace

MAX_STEPS: Final = 3_000_000  # passes through loops and macros in one render; a thousand messages, quadratic, take half
MAX_CHARACTERS: Final = 50_000_000
_MAX_EXPONENT: Final = 64


class Sandbox(ImmutableSandboxedEnvironment):
    """The environment of all chat templates. Counts the steps of one render at a time: one sandbox a thread."""

    intercepted_binops = frozenset({"*", "**"})

    def __init__(self, now: datetime) -> None:
        super().__init__(trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols])
        self.steps = 0
        self.filters["tojson"] = _to_json
        self.globals["raise_exception"] = _raise
        self.globals["strftime_now"] = now.strftime
        self.globals["range"] = self._range
        self.globals["dict"] = _Dict()
        self.globals["namespace"] = _Namespace

    def compiled(self, source: str) -> tuple[Template, frozenset[str]]:
        """The template, with every loop and macro counted, and the string literals that its expressions name.

        Raises:
            jinja2.TemplateSyntaxError: it is not Jinja.
        """
        tree = self.parse(source)
        literals = frozenset(node.value for node in tree.find_all(nodes.Const) if isinstance(node.value, str))
        for node in list(tree.find_all((nodes.For, nodes.Macro, nodes.CallBlock))):
            assert isinstance(node, nodes.For | nodes.Macro | nodes.CallBlock)
            count = nodes.Call(nodes.EnvironmentAttribute("step"), [], [], None, None)
            node.body.insert(0, nodes.ExprStmt(count, lineno=node.lineno))
        return self.from_string(tree), literals

    def rendered(self, template: Template, variables: dict[str, object]) -> str:
        """The text of one render, stopped where it does not end."""
        self.steps = 0
        return "".join(self._bounded(template.generate(variables)))

    def step(self, count: int = 1) -> None:
        """Called by every pass through a loop or a macro."""
        self.steps += count
        if self.steps > MAX_STEPS:
            raise SecurityError(f"the template's loops took more than {MAX_STEPS:,} steps")

    def call_binop(self, context: Context, operator: str, left: object, right: object) -> object:
        """`*` and `**`, unless what they would make is huge."""
        if operator == "**" and isinstance(right, int) and abs(right) > _MAX_EXPONENT:
            raise SecurityError(f"an exponent of more than {_MAX_EXPONENT}")
        if operator == "*":
            for sequence, times in ((left, right), (right, left)):
                huge = isinstance(sequence, str | list | tuple) and isinstance(times, int)
                if huge and len(sequence) * times > MAX_CHARACTERS:  # type: ignore[arg-type, operator]
                    raise SecurityError(f"a product of more than {MAX_CHARACTERS:,} characters or items")
        return super().call_binop(context, operator, left, right)

    def _range(self, *bounds: int) -> range:
        found = safe_range(*bounds)
        self.step(len(found))  # what filters and loop conditions pass over is not counted otherwise
        return found

    @staticmethod
    def _bounded(pieces: Iterator[str]) -> Iterator[str]:
        size = 0
        for piece in pieces:
            size += len(piece)
            if size > MAX_CHARACTERS:
                raise SecurityError(f"the template wrote more than {MAX_CHARACTERS:,} characters")
            yield piece


class _Generation(Extension):
    """`{% generation %}`: what stands between renders as it is. Which tokens are learnt is found without it."""

    tags = {"generation"}  # noqa: RUF012 (Jinja's own attribute)

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("_unchanged"), [], [], body, lineno=line)

    @staticmethod
    def _unchanged(caller: object) -> str:
        assert callable(caller)
        return str(caller())


class _Dict:
    """`dict(...)` and `dict.fromkeys(...)` without the type itself, whose attributes lead elsewhere."""

    def __call__(self, *items: Any, **named: Any) -> dict[Any, Any]:
        return dict(*items, **named)

    @staticmethod
    def fromkeys(keys: list[object], value: object = None) -> dict[object, object]:
        return dict.fromkeys(keys, value)


class _Namespace(Namespace):
    """Jinja's namespace without names that begin with an underscore."""

    def __init__(*args: Any, **kwargs: Any) -> None:  # self may be a name in the namespace
        for name in dict(*args[1:], **kwargs):
            _check_public(name)
        Namespace.__init__(*args, **kwargs)

    def __setitem__(self, name: str, value: object) -> None:
        _check_public(name)
        super().__setitem__(name, value)


def _check_public(name: object) -> None:
    if isinstance(name, str) and name.startswith("_"):
        raise SecurityError(f"a namespace must not hold names that begin with an underscore, got {name!r}")


def _to_json(
    value: object,
    ensure_ascii: bool = False,
    indent: int | str | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """JSON as it is: Jinja's own filter would escape HTML."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _raise(message: str) -> None:
    raise TemplateRuntimeError(message)
