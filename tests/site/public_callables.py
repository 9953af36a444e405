"""The public functions, classes and methods of lmhead, with what their sources and docstrings say."""

import ast
import dataclasses
import enum
import inspect
import re
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FunctionType
from typing import Any

import lmhead
from lmhead import figures

ROOT = Path(__file__).parent.parent.parent
sys.path.append(str(ROOT / "docs" / "_ext" / "lmhead_reference"))

from source_comments import field_comments, parameter_comments  # noqa: E402

PUBLIC = {
    **{f"lmhead.{name}": getattr(lmhead, name) for name in lmhead.__all__},
    **{f"lmhead.figures.{name}": getattr(figures, name) for name in figures.__all__},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Documented:
    """A function, a method or a constructor: what takes arguments and has a docstring."""

    name: str
    function: FunctionType | None  # of a class its own constructor; None where it has none
    kind: type | None = None
    docstring: str
    comments: dict[str, str]  # of parameters, in the source
    returns: str  # its annotation

    @property
    def parameters(self) -> dict[str, inspect.Parameter]:
        """Without the one that is bound."""
        if self.function is None and not dataclasses.is_dataclass(self.kind):
            return {}
        found = dict(inspect.signature(self.function or self.kind).parameters)  # type: ignore[arg-type]
        return {name: each for name, each in found.items() if name not in ("self", "cls")}

    @property
    def tensors(self) -> list[str]:
        """The parameters that take tensors as they are, not in a mapping or by a function."""
        return [name for name, each in self.parameters.items() if takes_tensors(each.annotation)]

    def section(self, head: str) -> str:
        """What stands in a section; "" where there is none."""
        found = re.search(rf"^{head}:\n((?:    .*\n|\n)*)", self.docstring + "\n", re.MULTILINE)
        return textwrap.dedent(found[1]) if found else ""

    def entries(self, head: str) -> dict[str, str]:
        """Name -> what is said of it."""
        text = re.sub(r"\n\s+", " ", self.section(head))
        pairs = re.findall(r"^([\w.]+(?:, [\w.]+)*): (.*)$", text, re.MULTILINE)
        return {name: said for names, said in pairs for name in names.split(", ")}


def takes_tensors(annotation: object) -> bool:
    """A Tensor, or a sequence of them."""
    return bool(re.search(r"\bTensor\b", str(annotation))) and not re.search("Mapping|dict|Callable", str(annotation))


def documented() -> Iterator[Documented]:
    """Every public function, every public class, and what the classes define themselves, as far as lmhead does."""
    for name, value in PUBLIC.items():
        if isinstance(value, type):
            yield from _of_class(name, value)
        elif isinstance(value, FunctionType):
            yield _of_function(name, value)


def _of_class(name: str, kind: type) -> Iterator[Documented]:
    init = kind.__init__
    ours = isinstance(init, FunctionType) and init.__module__.startswith("lmhead")
    own = ours and not dataclasses.is_dataclass(kind) and not issubclass(kind, Exception)
    yield Documented(
        name=name,
        kind=kind,
        function=init if own else None,
        docstring=inspect.cleandoc(kind.__doc__ or ""),
        comments=field_comments(kind) if dataclasses.is_dataclass(kind) else parameter_comments(kind) if own else {},
        returns="",
    )
    if issubclass(kind, enum.Enum):
        return
    for base in kind.__mro__:
        if base.__module__.startswith("lmhead"):
            for member, value in vars(base).items():
                function = getattr(value, "fget", getattr(value, "__func__", value))
                if not member.startswith("_") and isinstance(function, FunctionType):
                    yield _of_function(f"{name}.{member}", inspect.unwrap(function))


def _of_function(name: str, function: FunctionType) -> Documented:
    return Documented(
        name=name,
        function=function,
        docstring=inspect.cleandoc(function.__doc__ or ""),
        comments=parameter_comments(function),
        returns=str(function.__annotations__.get("return", "")),
    )


def raised_by(function: FunctionType) -> set[str]:
    """The errors of lmhead that the function raises, by itself or by what it calls of its own module."""
    return _raised(function, set())


def _raised(function: Any, seen: set[str]) -> set[str]:
    node = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
    raised: set[str] = set()
    for each in ast.walk(node):
        called = each.func.id if isinstance(each, ast.Call) and isinstance(each.func, ast.Name) else None
        if isinstance(each, ast.Raise) and isinstance(each.exc, ast.Call) and isinstance(each.exc.func, ast.Name):
            raised.add(each.exc.func.id)
        elif called in ("require", "require_sizes"):
            raised.add("ArgumentError")
        elif called in ("require_kind", "require_numbers", "require_known"):
            raised.add("ArgumentTypeError")
        elif called is not None and called not in seen:
            target = function.__globals__.get(called)
            if isinstance(target, FunctionType) and target.__module__ == function.__module__:
                raised |= _raised(inspect.unwrap(target), seen | {called})
    return {name for name in raised if name.endswith("Error") and hasattr(lmhead, name)}
