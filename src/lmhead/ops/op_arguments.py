"""A problem as the flat arguments of a custom op, and back: its dataclass is the only list of them.

Custom ops take tensors and plain values, no records. The fields of a kind of problem, and of the records in it, are
laid out in a row, tensors first; names, types and shapes are to be read in the dataclass.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from inspect import Parameter
from typing import Any, Generic, Literal, TypeVar, get_args, get_origin, get_type_hints

from torch import Tensor

P = TypeVar("P")
Path = tuple[str, ...]  # ("hidden",), or ("options", "z_loss") of a record in the problem


class OpArguments(Generic[P]):
    """Of one kind of problem.

    Args:
        but: fields that are no arguments: they are said beside the problem, or always have their defaults. (torch goes
            through all arguments for each of them: few are fast.)
    """

    def __init__(self, kind: type[P], *, but: Collection[str]) -> None:
        hints = dict(_plain_fields(kind, (), but))
        self.paths: list[Path] = sorted(hints, key=lambda path: not _is_tensor(hints[path]))
        self.tensors = sum(map(_is_tensor, hints.values()))  # so many of them are, the first
        self.parameters = [
            Parameter("_".join(path), Parameter.POSITIONAL_OR_KEYWORD, annotation=_in_schema(hints[path]))
            for path in self.paths
        ]
        self._record = _Record.of(kind, (), {path: place for place, path in enumerate(self.paths)}, but)

    def of(self, problem: P) -> list[Any]:
        """The arguments of `problem`, in order."""
        return [_at(problem, path) for path in self.paths]

    def problem(self, values: Sequence[Any], **more: Mapping[str, int]) -> P:
        """The problem of these arguments, and of what is said beside them."""
        made: P = self._record.made(values, more)
        return made


@dataclass(frozen=True, slots=True, kw_only=True)
class _Record:
    """How a dataclass is made of arguments."""

    kind: type
    places: Mapping[str, int]  # field -> its place among the arguments
    records: Mapping[str, "_Record"]  # the fields that are records themselves

    @staticmethod
    def of(kind: type, above: Path, places: Mapping[Path, int], but: Collection[str]) -> "_Record":
        hints = get_type_hints(kind)
        inner = [name for name in hints if is_dataclass(hints[name]) and name not in but]
        return _Record(
            kind=kind,
            places={name: places[*above, name] for name in hints if (*above, name) in places},
            records={name: _Record.of(hints[name], (*above, name), places, but) for name in inner},
        )

    def made(self, values: Sequence[Any], more: Mapping[str, object]) -> Any:
        given = {name: values[place] for name, place in self.places.items()}
        for name, record in self.records.items():
            given[name] = record.made(values, {})
        return self.kind(**given, **more)


def _plain_fields(kind: type, above: Path, but: Collection[str]) -> Iterator[tuple[Path, Any]]:
    """(path, type) of each field that is no record, through all records."""
    hints = get_type_hints(kind)
    for field in fields(kind):
        hint, path = hints[field.name], (*above, field.name)
        if field.name in but:
            continue
        if is_dataclass(hint):
            yield from _plain_fields(hint, path, but)  # type: ignore[arg-type]
        else:
            yield path, hint


def _is_tensor(hint: Any) -> bool:
    return hint is Tensor or Tensor in get_args(hint)


def _in_schema(hint: Any) -> Any:
    """The type that torch has for it: of a choice, that of the values."""
    return type(get_args(hint)[0]) if get_origin(hint) is Literal else hint


def _at(record: Any, path: Path) -> Any:
    for name in path:
        record = getattr(record, name)
    return record
