"""YAML 1.2 -> plain Python values and back: the one place where a config's text is read.

PyYAML reads YAML 1.1, where `1e-3` is text, `no` is false, `12:30` is 750 and `010` is 8. Here a plain word is
null, true or false, a number as YAML 1.2's core schema writes it (`1e-3`, `0o7`, `0x1f`, `.inf`), or text.
Anchors and merges (`<<: *name`) work; a field that is given twice is refused.
"""

import re
from collections.abc import Hashable
from typing import Any, ClassVar, Final

import yaml

_TAG: Final = "tag:yaml.org,2002:"
_MERGE: Final = f"{_TAG}merge"
_WORDS: Final = {"null": r"~|null|Null|NULL|", "bool": r"true|True|TRUE|false|False|FALSE"}
_NUMBERS: Final = {
    "int": r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+",
    "float": r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
}


def load_yaml(text: str) -> object:
    """What the text says, in dicts, lists, strings, numbers, booleans and None.

    Raises:
        yaml.YAMLError: it is not YAML, names a field twice, nests too deeply, or has a tag that is none of these kinds.

    Example:
        >>> load_yaml("rate: 1e-3\\nname: no\\nday: 2026-11-28")
        {'rate': 0.001, 'name': 'no', 'day': '2026-11-28'}
    """
    try:
        return yaml.load(text, _Loader)
    except RecursionError:
        raise yaml.YAMLError("it nests too deeply") from None


def dump_yaml(tree: object) -> str:
    """Text that `load_yaml` gives back."""
    return str(yaml.dump(tree, Dumper=_Dumper, sort_keys=False))


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: Any = {}  # noqa: RUF012  (PyYAML keeps it on the class)
    yaml_constructors: ClassVar[Any] = {}


class _Dumper(yaml.SafeDumper):
    """Puts quotes around every text that this loader or one of YAML 1.1 would take for something else."""


def _scalar(loader: _Loader, node: yaml.ScalarNode) -> str:
    return str(loader.construct_scalar(node))


def _word(loader: _Loader, node: yaml.ScalarNode) -> bool | None:
    return {"t": True, "f": False}.get(_checked(loader, node, _WORDS).lower()[:1])


def _number(loader: _Loader, node: yaml.ScalarNode) -> int | float:
    text = _checked(loader, node, _NUMBERS)
    if node.tag == f"{_TAG}float":
        return float(re.sub(r"\.(?=inf|nan)", "", text.lower()))
    base = {"0o": 8, "0x": 16}.get(text[:2], 10)
    try:
        return int(text, base)
    except ValueError:  # thousands of digits
        raise yaml.constructor.ConstructorError(None, None, "a number is too long", node.start_mark) from None


def _checked(loader: _Loader, node: yaml.ScalarNode, patterns: dict[str, str]) -> str:
    """The text of a word or a number: behind a tag of the writer's own it need not be one."""
    text = _scalar(loader, node)
    kind = node.tag.removeprefix(_TAG)
    if not re.fullmatch(patterns[kind], text):
        raise yaml.constructor.ConstructorError(None, None, f"{text!r} is no {kind}", node.start_mark)
    return text


def _mapping(loader: _Loader, node: yaml.Node) -> dict[Hashable, Any]:
    if not isinstance(node, yaml.MappingNode):
        raise yaml.constructor.ConstructorError(None, None, "this is no mapping", node.start_mark)
    lines: dict[object, int] = {}
    for key, _ in node.value:
        if key.tag == _MERGE:
            continue
        name, line = loader.construct_object(key, deep=True), key.start_mark.line + 1
        if isinstance(name, Hashable):
            if name in lines:
                problem = f"{name} is given twice, in line {lines[name]} and in line {line}: keep one of them"
                raise yaml.constructor.ConstructorError(None, None, problem)
            lines[name] = line
    return loader.construct_mapping(node, deep=True)


def _sequence(loader: _Loader, node: yaml.Node) -> list[Any]:
    if not isinstance(node, yaml.SequenceNode):
        raise yaml.constructor.ConstructorError(None, None, "this is no list", node.start_mark)
    return loader.construct_sequence(node, deep=True)


def _foreign(loader: _Loader, node: yaml.Node) -> object:
    raise yaml.constructor.ConstructorError(None, None, f"the tag {node.tag} has no meaning here", node.start_mark)


for _reader_or_writer in (_Loader, _Dumper):
    _reader_or_writer.add_implicit_resolver(_MERGE, re.compile(r"<<\Z"), ["<"])
for _kind, _pattern in {**_WORDS, **_NUMBERS}.items():
    _first = list("-+.0123456789") if _kind in _NUMBERS else ["~", "n", "N", "t", "T", "f", "F", ""]
    for _reader_or_writer in (_Loader, _Dumper):
        _reader_or_writer.add_implicit_resolver(f"{_TAG}{_kind}", re.compile(rf"(?:{_pattern})\Z"), _first)
    _Loader.add_constructor(f"{_TAG}{_kind}", _number if _kind in _NUMBERS else _word)
_Loader.add_constructor(f"{_TAG}str", _scalar)
_Loader.add_constructor(f"{_TAG}map", _mapping)
_Loader.add_constructor(f"{_TAG}seq", _sequence)
_Loader.add_constructor(None, _foreign)
