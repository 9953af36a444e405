"""Signatures as people need them: one for each function, with every keyword that it takes."""

import inspect
import typing

import sphinx.util.inspect
from sphinx.application import Sphinx
from sphinx.errors import PycodeError
from sphinx.pycode import ModuleAnalyzer

_NOT_SHOWN = ("extra_repr", "T_destination", "call_super_init", "dump_patches", "training")  # torch asks for them


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
    if not inspect.isfunction(function) or (keywords := _keywords(function)) is None:
        return None
    bound = what in ("method", "class", "exception")
    full = sphinx.util.inspect.signature(function, bound_method=bound)
    plain = [each for each in full.parameters.values() if each.kind is not each.VAR_KEYWORD]
    expanded = full.replace(parameters=[*plain, *keywords])
    text = sphinx.util.inspect.stringify_signature(
        expanded, show_return_annotation=False, unqualified_typehints=True, short_literals=True
    )
    return (text, returns)


def _keywords(function: typing.Any) -> list[inspect.Parameter] | None:
    """`**options: Unpack[Keywords]` as parameters; `...` is the default of whom they are passed on to."""
    hints = (
        typing.get_type_hints(function, include_extras=True, localns={"TYPE_CHECKING": True})
        if _may_unpack(function)
        else {}
    )
    for parameter in inspect.signature(function).parameters.values():
        hint = hints.get(parameter.name)
        if parameter.kind is parameter.VAR_KEYWORD and typing.get_origin(hint) is typing.Unpack:
            (kind,) = typing.get_args(hint)
            return [
                inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=_ELSEWHERE, annotation=annotation)
                for name, annotation in typing.get_type_hints(kind).items()
            ]
    return None


def _may_unpack(function: typing.Any) -> bool:
    return any(
        "Unpack" in str(hint) or "Keywords" in str(hint) or "LossTerms" in str(hint)
        for hint in function.__annotations__.values()
    )


class _Elsewhere:
    def __repr__(self) -> str:
        return "..."


_ELSEWHERE = _Elsewhere()


def _skipped(app: Sphinx, what: str, name: str, obj: object, skip: bool, options: object) -> bool | None:
    return True if name in _NOT_SHOWN else None
