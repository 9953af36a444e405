"""Chat templates run in Jinja's sandbox, and every loop is counted: a template from elsewhere is somebody's program.

The environment is the one that transformers renders in (trimmed blocks, loop controls, `{% generation %}`, `tojson`,
`raise_exception`, `strftime_now`), with the clock stopped and without `lipsum`, which writes by chance.

What ends a render: an attribute that the sandbox calls unsafe, a file, a range of more than 100,000, and whatever costs
more than sandbox_budget.py allows: loops without end, texts that double, huge widths, products and powers.
"""

import json
from collections.abc import Callable, Iterable
from datetime import datetime
from functools import wraps
from types import BuiltinMethodType
from typing import Any, Final

from jinja2 import Template, nodes
from jinja2.exceptions import SecurityError, TemplateRuntimeError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment, safe_range
from jinja2.utils import Namespace
from jinja2.visitor import NodeTransformer

from lmhead.labels.template.sandbox_budget import (
    Budget,
    Budgets,
    charge_filter,
    charge_method,
    charge_operator,
    check_weight,
    weight,
)
from lmhead.labels.template.tested_literals import tested_literals

_OUTPUT: Final = 10_000  # characters of output that are charged at once
_OF_DICTS: Final = frozenset(dir(dict))  # names that an attribute of a dictionary may mean
_JOINED: Final = "~"  # no name that a template could write
_WEIGHED: Final = "[]"
_SCOPES: Final = ("_loop_vars", "_block_vars")  # what Jinja passes along to every call
_FORMATS: Final = frozenset({"format", "format_map"})  # Jinja has its own
_MOST_SAFE: Final = 4096


class Sandbox(ImmutableSandboxedEnvironment):
    """The environment of all chat templates. Each thread's renders are counted apart."""

    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def __init__(self, now: datetime) -> None:
        super().__init__(trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols])
        self._budgets = Budgets()
        self._safe: set[tuple[type, str]] = (
            set()
        )  # what Jinja's sandbox lets through: it asks for the type and the name
        self.concat = self._concat  # type: ignore[method-assign]  # blocks, macros and calls collect by it
        self.filters["tojson"] = _to_json
        self.filters = {name: self._charged(name, function) for name, function in self.filters.items()}
        self.filters |= {_JOINED: self._joined, _WEIGHED: _weighed}  # called at less cost than functions are
        self.globals["raise_exception"] = _raise
        self.globals["strftime_now"] = now.strftime
        self.globals["range"] = self._range
        self.globals["dict"] = _Dict()
        self.globals["namespace"] = _Namespace
        del self.globals["lipsum"]

    @property
    def budget(self) -> Budget:
        """Of the render that runs in this thread."""
        return self._budgets.own

    @property
    def step(self) -> None:
        """Counts one pass: what `compiled` puts into loops. An attribute costs a tenth of what a call does."""
        self._budgets.own.step()

    def compiled(self, source: str) -> tuple[Template, frozenset[str], frozenset[str]]:
        """The template, with every loop and macro counted; the string literals that its expressions name; those tested.

        Raises:
            jinja2.TemplateSyntaxError: it is not Jinja.
            SyntaxError, RecursionError, MemoryError, ValueError: it is nested too deeply, or a number is too long.
        """
        tree = self.parse(source)
        literals = frozenset(node.value for node in tree.find_all(nodes.Const) if isinstance(node.value, str))
        for node in list(tree.find_all((nodes.For, nodes.Macro, nodes.CallBlock))):
            assert isinstance(node, nodes.For | nodes.Macro | nodes.CallBlock)
            node.body.insert(0, nodes.ExprStmt(nodes.EnvironmentAttribute("step"), lineno=node.lineno))
        tested = tested_literals(tree)
        return self.from_string(_Charged().visit(tree)), literals, tested

    def rendered(self, template: Template, variables: dict[str, object], characters: int) -> str:
        """The text of one render of a conversation of `characters`, stopped where it does not end."""
        budget = self.budget
        budget.begin(characters)
        pieces, uncharged = [], 0
        for piece in template.generate(variables):
            pieces.append(piece)
            uncharged += len(piece)
            if uncharged > _OUTPUT:
                budget.make(uncharged)
                uncharged = 0
        return "".join(pieces)

    def getattr(self, obj: Any, attribute: str) -> Any:
        """`obj.attribute`. A dictionary's key that is no attribute of dictionaries is found without an exception."""
        if isinstance(obj, dict) and attribute in obj and attribute not in _OF_DICTS:
            return obj[attribute]
        if (type(obj), attribute) in self._safe:
            value = getattr(obj, attribute, None)
            if value is not None and getattr(value, "__name__", "") not in _FORMATS:
                return value
        elif len(self._safe) < _MOST_SAFE and self.is_safe_attribute(obj, attribute, None):
            self._safe.add((type(obj), attribute))
        return super().getattr(obj, attribute)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> object:
        """`+`, `*`, `**` and `%`, unless what they would make is huge."""
        if operator == "+" and isinstance(left, str) and isinstance(right, str):  # most of what templates do
            self._budgets.own.make(len(left) + len(right))
            return left + right
        charge_operator(self.budget, operator, left, right)
        return super().call_binop(context, operator, left, right)

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805 (as in Jinja)
        """Any call; of a string's methods only what does not make it huge."""
        if type(__obj) is BuiltinMethodType and type(__obj.__self__) is str and __obj.__name__ not in _FORMATS:
            for name in _SCOPES:
                kwargs.pop(name, None)
            charge_method(__self.budget, __obj.__self__, __obj.__name__, args, kwargs)
            return __obj(*args, **kwargs)
        method = getattr(__obj, "__wrapped__", __obj)  # Jinja wraps `format` itself
        text = getattr(method, "__self__", None)
        if isinstance(text, str):
            charge_method(__self.budget, text, method.__name__, args, kwargs)
        return super().call(__context, __obj, *args, **kwargs)

    def _charged(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """A filter that charges before it runs. Jinja may give it its environment or context first."""
        shift = 1 if hasattr(function, "jinja_pass_arg") else 0

        @wraps(function)
        def charged(*args: Any, **kwargs: Any) -> Any:
            value = args[shift] if len(args) > shift else None
            charge_filter(self.budget, name, value, [*args[shift + 1 :], *kwargs.values()])
            return function(*args, **kwargs)

        return charged

    def _concat(self, pieces: Iterable[str]) -> str:
        found = pieces if isinstance(pieces, list) else list(pieces)
        self.budget.make(sum(map(len, found)))
        return "".join(found)

    def _range(self, *bounds: int) -> range:
        found = safe_range(*bounds)
        self.budget.step(len(found))  # what filters and loop conditions pass over is not counted otherwise
        return found

    def _joined(self, *values: object) -> str:
        """`a ~ b`, charged before it is made."""
        self.budget.make(sum(map(weight, values)))
        return "".join(map(str, values))


class _Charged(NodeTransformer):
    """`a ~ b` becomes a filter that charges; lists, tuples and dictionaries go through one that weighs them."""

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802 (as in Jinja)
        """One of them, and those in it."""
        self.generic_visit(node)
        return nodes.Filter(node.nodes[0], _JOINED, node.nodes[1:], [], None, None, lineno=node.lineno)

    def visit_List(self, node: nodes.List) -> nodes.Node:  # noqa: N802
        """A list, unless it holds constants alone."""
        return self._weighed(node, node.items)

    def visit_Tuple(self, node: nodes.Tuple) -> nodes.Node:  # noqa: N802
        """A tuple that is read: one that is written to, as in `for a, b in x`, stays."""
        return node if node.ctx == "store" else self._weighed(node, node.items)

    def visit_Dict(self, node: nodes.Dict) -> nodes.Node:  # noqa: N802
        """A dictionary, unless its values are constants alone."""
        return self._weighed(node, [pair.value for pair in node.items])

    def _weighed(self, node: nodes.Expr, items: list[nodes.Expr]) -> nodes.Node:
        if all(isinstance(item, nodes.Const) for item in items):
            return node
        self.generic_visit(node)
        return nodes.Filter(node, _WEIGHED, [], [], None, None, lineno=node.lineno)


def _weighed(value: Any) -> Any:
    """A list, tuple or dictionary that the template has just made."""
    check_weight(value)
    return value


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
        check_weight([items, named])
        return dict(*items, **named)

    @staticmethod
    def fromkeys(keys: list[object], value: object = None) -> dict[object, object]:
        check_weight([value] * len(keys))
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

    def __repr__(self) -> str:
        return "<Namespace>"  # what is in it may hold itself twice


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
