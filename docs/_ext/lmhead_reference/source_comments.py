"""What the source says beside a parameter or a field, `hidden: Tensor,  # [..., D]`: shapes stand there, not twice."""

import ast
import dataclasses
import importlib
import inspect
import textwrap
from functools import cache
from types import FunctionType


def parameter_comments(obj: object) -> dict[str, str]:
    """Parameter -> the comment beside it, of a function, or of a class's constructor."""
    if dataclasses.is_dataclass(obj):
        return {}  # its fields say it
    function = _function(obj)
    return _parameter_comments(function) if function is not None else {}


def parameters(obj: object) -> list[str]:
    """The names of the parameters of a function, or of a class's constructor, in their order."""
    function = _function(obj)
    return list(inspect.signature(function).parameters) if function is not None else []


def _function(obj: object) -> FunctionType | None:
    if isinstance(obj, type):
        obj = obj.__init__  # type: ignore[misc]
        if not getattr(obj, "__module__", "").startswith("lmhead"):
            return None  # torch's, of a class that has no constructor of its own
    obj = getattr(obj, "__func__", obj)
    return inspect.unwrap(obj) if inspect.isfunction(obj) else None


@cache
def _parameter_comments(function: FunctionType) -> dict[str, str]:
    source = textwrap.dedent(inspect.getsource(function))
    lines = source.splitlines()
    node = ast.parse(source).body[0]
    if not isinstance(node, ast.FunctionDef):
        return {}
    arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    last_of_line = {argument.lineno: argument for argument in arguments}
    said = {}
    for number, argument in last_of_line.items():
        alone = len([each for each in arguments if each.lineno == number]) == 1
        comment = lines[number - 1].partition("  # ")[2]
        if comment and alone and not comment.startswith(("type:", "noqa")):
            said[argument.arg] = comment
    return said


def field_text(name: str) -> str:
    """The comment beside the field of a dotted name as a sentence; "" where there is none."""
    *path, field = name.split(".")
    owner = _found(path)
    for each in owner.__mro__ if isinstance(owner, type) else ():
        if each.__module__.startswith("lmhead") and (comment := field_comments(each).get(field)):
            return as_sentence(comment)
    return ""


def as_sentence(comment: str) -> str:
    """The comment as a text that stands alone: a capital, a full stop; but a shape stays as it is."""
    return comment if comment.startswith("[") else f"{comment[0].upper()}{comment[1:]}."


def _found(path: list[str]) -> object:
    owner: object = importlib.import_module(path[0])
    for number, part in enumerate(path[1:], 2):
        found = getattr(owner, part, None)
        owner = importlib.import_module(".".join(path[:number])) if found is None else found
    return owner


@cache
def field_comments(kind: type) -> dict[str, str]:
    """Field -> the comment beside it, "" where there is none; of the class's own fields."""
    source = textwrap.dedent(inspect.getsource(kind))
    lines = source.splitlines()
    node = ast.parse(source).body[0]
    assert isinstance(node, ast.ClassDef)
    comments = {}
    for item in node.body:
        target = (
            item.target
            if isinstance(item, ast.AnnAssign)
            else item.targets[0]
            if isinstance(item, ast.Assign)
            else None
        )
        if isinstance(target, ast.Name):
            comments[target.id] = lines[(item.end_lineno or 1) - 1].partition("  # ")[2]
    return comments
