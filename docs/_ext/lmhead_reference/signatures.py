"""Signatures as people need them: one for each function, with every keyword that it takes."""

import inspect
import typing
from types import FunctionType

import sphinx.util.inspect
from sphinx.application import Sphinx
from sphinx.errors import PycodeError
from sphinx.pycode import ModuleAnalyzer

_NOT_SHOWN = (
    "extra_repr",
    "T_destination",
    "call_super_init",
    "dump_patches",
    "training",
    "args",
)  # what torch asks for, and Python of an exception

_REFUSED = "misplaced"  # ids by position, of which nobody knows whether they are labels or targets


def connect(app: Sphinx) -> None:
    """Have each signature changed as autodoc makes it."""
    app.connect("autodoc-before-process-signature", _without_overloads)
    app.connect("autodoc-process-signature", _signature)
    app.connect("autodoc-skip-member", _skipped)


def _without_overloads(app: Sphinx, obj: object, bound_method: bool) -> None:
    """Overloads are for type checkers; the function itself has all parameters, with shapes beside them."""
    try:
        analyzer = ModuleAnalyzer.for_module(getattr(obj, "__module__", None) or "lmhead")
        analyzer.analyze()
    except PycodeError:
        return
    analyzer.overloads.clear()


def _signature(
    app: Sphinx, what: str, name: str, obj: object, options: object, signature: str | None, returns: str | None
) -> tuple[str, str | None] | None:
    if what in ("class", "exception") and signature == "()":
        return ("", None)  # `autoclass:: lmhead.Report()`: a record that nobody makes by hand
    function = vars(obj).get("__init__") if isinstance(obj, type) else getattr(obj, "__func__", obj)
    if not inspect.isfunction(function) or not any(map(_is_rewritten, inspect.signature(function).parameters.values())):
        return None
    return (with_keywords(function, bound=what in ("method", "class", "exception")), returns)


def with_keywords(function: FunctionType, *, bound: bool = False) -> str:
    """(hidden: Tensor, *, reduction: .. = ...): keywords that are passed on, each by its name.

    `...` is the default of whom they are passed on to. What is taken by position to be refused is not shown.
    """
    full = sphinx.util.inspect.signature(function, bound_method=bound)
    parameters = [each for parameter in full.parameters.values() for each in _rewritten(parameter)]
    return sphinx.util.inspect.stringify_signature(
        full.replace(parameters=parameters),
        show_return_annotation=False,
        unqualified_typehints=True,
        short_literals=True,
    )


def _is_rewritten(parameter: inspect.Parameter) -> bool:
    return parameter.name == _REFUSED or typing.get_origin(parameter.annotation) is typing.Unpack


def _rewritten(parameter: inspect.Parameter) -> list[inspect.Parameter]:
    if not _is_rewritten(parameter):
        return [parameter]
    if parameter.name == _REFUSED:
        return []
    (kind,) = typing.get_args(parameter.annotation)
    return [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=_ELSEWHERE, annotation=annotation)
        for name, annotation in typing.get_type_hints(kind).items()
    ]


class _Elsewhere:
    def __repr__(self) -> str:
        return "..."


_ELSEWHERE = _Elsewhere()


def _skipped(app: Sphinx, what: str, name: str, obj: object, skip: bool, options: object) -> bool | None:
    own_call = name == "__call__" and str(getattr(obj, "__module__", "")).startswith("lmhead") and obj.__doc__
    return True if name in _NOT_SHOWN or (name == "__call__" and not own_call) else None
