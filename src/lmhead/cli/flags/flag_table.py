"""Flags of a dataclass: a record a field, groups dotted, each with its help text, read from the class's source.

A field's text is the string under it, or the comment beside it. `Annotated[..., POSITIONAL]` takes the words that
belong to no flag, or the first of them where it is no tuple; `Annotated[..., HIDDEN]` is a field and no flag.
"""

import ast
import dataclasses
import inspect
import types
import typing
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, Literal

from lmhead.training.config.train_config import group_of

POSITIONAL: Final = "positional"
HIDDEN: Final = "hidden"
_OF_MTP: Final = (
    *("kind", "drawn", "isolated", "frozen", "against", "divergence", "later_from", "reduction", "denominator"),
    "family",
)
_ALIASES: Final = {
    "data.paths": "data",
    "page": "out",
    "optimizer.name": "optimizer",
    "lora.rank": "lora",
    **{f"lora.{leaf}": f"lora-{leaf}" for leaf in ("alpha", "dropout", "targets")},
    "mtp.depth": "mtp",
    "mtp.lambdas": "mtp-lambda",
    "mtp.later_lambdas": "mtp-later-lambda",
    **{f"mtp.{leaf}": f"mtp-{leaf.replace('_', '-')}" for leaf in _OF_MTP},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Flag:
    """One field as a flag."""

    field: str  # dotted: model.embed_dim
    name: str  # the shortest that is accepted: embed-dim
    kind: Any  # int, float, str, bool, tuple, or a Literal
    optional: bool  # None is a value
    default: object
    text: str  # "" where nobody wrote one
    positional: bool = False
    entry: Any = str  # of a tuple: the kind of each, str, float or a Literal

    @property
    def written(self) -> str:
        """As people write it: --embed-dim; RUN for a word that stands without a flag."""
        return self.name.upper() if self.positional else f"--{self.name}"

    @property
    def full(self) -> str:
        """The name that no other flag has: model.embed-dim."""
        return self.field.replace("_", "-")

    @property
    def group(self) -> str:
        """What stands before the dot; "" for a field of the whole."""
        return self.field.rpartition(".")[0]

    @property
    def choices(self) -> tuple[str, ...]:
        """The values of a Literal, or of a list of them."""
        kind = self.entry if self.kind is tuple else self.kind
        return typing.get_args(kind) if typing.get_origin(kind) is Literal else ()

    @property
    def negated(self) -> str:
        """A switch that is turned off: no-compile, model.no-gated is no-gated."""
        return negated(self.name)


def negated(name: str) -> str:
    """The switch that turns `name` off."""
    group, dot, leaf = name.rpartition(".")
    return f"{group}{dot}no-{leaf}"


def flags_of(kind: type) -> list[Flag]:
    """Every field of `kind`, in its order."""
    found = list(_fields(kind, kind(), ""))
    leaves = Counter(flag.field.rpartition(".")[2] for flag in found if flag.field not in _ALIASES)

    def short(flag: Flag) -> str:
        leaf = flag.field.rpartition(".")[2]
        return _ALIASES.get(flag.field) or (leaf if leaves[leaf] == 1 else flag.field).replace("_", "-")

    return [dataclasses.replace(flag, name=short(flag)) for flag in found]


def groups_of(kind: type) -> dict[str, str]:
    """Group -> the first line of what its class says of itself."""
    nested = {item.name: group for item in dataclasses.fields(kind) if (group := group_of(item.type)) is not None}
    return {name: (inspect.getdoc(each) or "").partition("\n")[0] for name, each in nested.items()}


def _fields(kind: type, default: object, prefix: str) -> Iterator[Flag]:
    texts = _texts(kind)
    for item in dataclasses.fields(kind):
        annotation: Any = item.type
        marks: list[Any] = []
        if typing.get_origin(annotation) is typing.Annotated:
            annotation, *marks = typing.get_args(annotation)
        if HIDDEN in marks:
            continue
        value = getattr(default, item.name)
        if (group := group_of(annotation)) is not None:
            yield from _fields(group, value, f"{prefix}{item.name}.")
            continue
        optional = typing.get_origin(annotation) in (types.UnionType, typing.Union)  # of a Literal it is the latter
        inner = typing.get_args(annotation)[0] if optional else annotation
        yield Flag(
            field=prefix + item.name,
            name="",
            kind=tuple if typing.get_origin(inner) is tuple else inner,
            optional=optional,
            default=value,
            text=texts.get(item.name, ""),
            positional=POSITIONAL in marks,
            entry=typing.get_args(inner)[0] if typing.get_origin(inner) is tuple else str,
        )


@cache
def _texts(kind: type) -> dict[str, str]:
    """What the class and those that it extends say of each field."""
    texts: dict[str, str] = {}
    for each in reversed(kind.__mro__):
        if dataclasses.is_dataclass(each):
            texts |= _written(inspect.getsource(each))
    return texts


def _written(source: str) -> dict[str, str]:
    lines = source.splitlines()
    body = typing.cast(ast.ClassDef, ast.parse(source).body[0]).body
    texts = {}
    for node, following in zip(body, [*body[1:], None], strict=True):
        if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name):
            continue
        comment = lines[(node.end_lineno or 1) - 1].encode()[node.end_col_offset :].decode().strip()
        if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
            texts[node.target.id] = " ".join(str(following.value.value).split())
        elif comment.startswith("#"):
            text = comment.lstrip("# ")
            texts[node.target.id] = f"{text[0].upper()}{text[1:]}."
    return texts
