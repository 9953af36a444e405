"""Calls of tools, and schemas of tools, in the one form that chat templates read.

Arguments become objects, also where they were strings of JSON: a template writes `arguments | tojson`, which would
quote a string once more.
"""

import json
from collections.abc import Mapping
from typing import Any, Final

from lmhead.data.rows.json_file import TwiceError, object_of, what_json_lacks
from lmhead.data.rows.row import Place
from lmhead.data.rows.row_error import broken, did_you_mean, listed
from lmhead.labels.conversation.turn_flags import FLAGS, WHOLE_ALONE
from lmhead.shown import shown_value

_CALL: Final = '{"function": {"name": "...", "arguments": {...}}}'
_TOOL: Final = '{"function": {"name": "...", "description": "...", "parameters": {...}}}'
_ARGUMENTS: Final = ("arguments", "parameters", "args", "input")  # OpenAI, Llama, LangChain, Anthropic
_CALL_TYPES: Final = ("tool_call", "function_call")  # as LangChain and OpenAI's responses call them
_NULLABLE: Final = {"default", "const", "example"}  # keys of a schema whose null means something


def calls_of(place: Place, name: str, value: Any) -> list[dict[str, Any]]:
    """Calls as {"type": "function", "function": {"name": ..., "arguments": {...}}}, ids kept.

    Raises:
        InputError: it is no list of calls.
    """
    value = loaded(place, name, value) if isinstance(value, str) else value
    value = [value] if isinstance(value, Mapping) else value
    if not isinstance(value, list | tuple):
        raise broken(place, name, "be a list of calls", shown_value(value), f"write [{_CALL}]")
    return [call_of(place, f"{name}[{index}]", call) for index, call in enumerate(value)]


def call_of(place: Place, name: str, value: Any) -> dict[str, Any]:
    """One call, as `calls_of` gives it.

    Raises:
        InputError: it is none.
    """
    value = loaded(place, name, value) if isinstance(value, str) else value
    if not isinstance(value, Mapping):
        raise broken(place, name, f"be a call such as {_CALL}", shown_value(value), "write it so")
    call: dict[str, Any] = {key: item for key, item in value.items() if item is not None}
    if call.get("type") == "custom":
        return _custom_call(place, name, call)
    inner: Any = call.pop("function", {})
    if not isinstance(inner, Mapping):
        raise broken(place, f"{name}.function", "be an object", shown_value(inner), f"write {_CALL}")
    function = _function(place, name, call, inner)
    if not isinstance(function.get("name"), str) or not function["name"]:
        near = did_you_mean("name", [*call, *function])
        remedy = f"did you mean {near}?" if near else "name the function that is called"
        raise broken(place, f"{name}.function", "have a name", f"the keys {listed([*call, *function])}", remedy)
    _check_strings(place, f"{name}.function", function)
    if call.get("type") in (None, *_CALL_TYPES):
        call["type"] = "function"
    return {**call, "function": function}


def _function(place: Place, name: str, call: dict[str, Any], inner: Mapping[str, Any]) -> dict[str, Any]:
    """Name and arguments of a call, whatever they are called, each of them once; they are taken out of `call`."""
    for key in FLAGS:
        if call.get(key) is not None or inner.get(key) is not None:
            raise broken(place, f"{name}.{key}", "be absent", shown_value(call.get(key, inner.get(key))), WHOLE_ALONE)
    function = {key: item for key, item in inner.items() if item is not None}
    beside = call.pop("name", None)
    if beside is not None and function.setdefault("name", beside) != beside:
        raise broken(place, f"{name}.name", "be what function says", shown_value(beside), "keep one of the two")
    where = f"{name}.function.arguments"
    given = [(key, each.pop(key)) for each in (function, call) for key in _ARGUMENTS if key in each]
    said = [arguments for _, value in given if (arguments := _arguments(place, where, value))]
    if any(arguments != said[0] for arguments in said):
        got = f"different ones in {listed(dict(given))}"
        raise broken(place, name, "have its arguments once", got, "keep arguments")
    return {**function, "arguments": said[0] if said else {}}


def tools_of(place: Place, name: str, value: Any) -> list[dict[str, Any]] | None:
    """Schemas of tools as {"type": "function", "function": {...}}; None where there are none.

    Raises:
        InputError: it is no list of schemas.
    """
    value = (loaded(place, name, value) if value.strip() else None) if isinstance(value, str) else value
    if not value:
        return None
    value = [value] if isinstance(value, Mapping) else value
    if not isinstance(value, list | tuple):
        raise broken(place, name, "be a list of schemas", shown_value(value), f"write [{_TOOL}]")
    return [_tool(place, f"{name}[{index}]", tool) for index, tool in enumerate(value)]


def loaded(place: Place, name: str, text: str) -> Any:
    """What a string of JSON holds.

    Raises:
        InputError: it is no JSON.
    """
    try:
        return json.loads(text, object_pairs_hook=object_of)
    except TwiceError as error:
        raise broken(place, name, "name each key once", str(error), "keep the one that is meant") from None
    except (ValueError, RecursionError) as error:
        at = (
            f"{what_json_lacks(error)} at character {error.pos}"
            if isinstance(error, json.JSONDecodeError)
            else "it is too large"
        )
        remedy = f"{at}; write it with json.dumps, or not as a string"
        raise broken(place, name, "be JSON where it is a string", shown_value(text), remedy) from None


def _custom_call(place: Place, name: str, call: Mapping[str, Any]) -> dict[str, Any]:
    """OpenAI's custom call, whose input is a text, as a call of a function with the argument `input`."""
    custom = call.get("custom", call)
    text = custom.get("input") if isinstance(custom, Mapping) else None
    if not isinstance(text, str):
        remedy = 'write {"type": "custom", "custom": {"name": "...", "input": "..."}}'
        raise broken(place, f"{name}.custom", "hold a name and an input that is a string", shown_value(custom), remedy)
    rest = {key: item for key, item in call.items() if key not in ("type", "custom", "name", "input")}
    return call_of(place, name, {**rest, "function": {"name": custom.get("name"), "arguments": {"input": text}}})


def _arguments(place: Place, name: str, value: Any) -> dict[str, Any]:
    if isinstance(value, str):
        value = loaded(place, name, value) if value.strip() else {}
    if isinstance(value, list) and not value:  # an empty map of Parquet, or an empty object as PHP writes it
        value = {}
    if not isinstance(value, Mapping):
        remedy = "name each argument" if value is not None else "write {} for none"
        raise broken(place, name, "be an object, or one as a string of JSON", shown_value(value), remedy)
    return dict(value)


def _tool(place: Place, name: str, value: Any) -> dict[str, Any]:
    value = loaded(place, name, value) if isinstance(value, str) else value
    if not isinstance(value, Mapping):
        raise broken(place, name, f"be a schema such as {_TOOL}", shown_value(value), "write it so")
    tool: dict[str, Any] = without_null_keys(value)
    _check_strings(place, name, tool)
    inner = tool.get("function", tool)
    if not isinstance(inner, Mapping) or not isinstance(inner.get("name"), str):
        if "type" in tool and tool["type"] != "function":
            return tool  # a tool that a provider runs has no schema
        got = f"the keys {listed(inner)}" if isinstance(inner, Mapping) else shown_value(inner)
        raise broken(place, name, "have a function with a name", got, f"write {_TOOL}")
    return tool if "function" in tool else {"type": "function", "function": _flat(tool)}


def _flat(tool: Mapping[str, Any]) -> dict[str, Any]:
    """A schema that stands beside its type, as OpenAI's responses and Anthropic write it, without the type."""
    schema = {key: item for key, item in tool.items() if key != "type" or item not in ("function", "custom")}
    if "input_schema" in schema and "parameters" not in schema:
        schema = {"parameters" if key == "input_schema" else key: item for key, item in schema.items()}
    return schema


def without_null_keys(value: Any) -> Any:
    """A schema without the nulls that tables fill in: no key of a schema is null but those that hold a value."""
    if isinstance(value, Mapping):
        return {key: without_null_keys(item) for key, item in value.items() if item is not None or key in _NULLABLE}
    return [without_null_keys(item) for item in value] if isinstance(value, list | tuple) else value


def _check_strings(place: Place, name: str, value: Any) -> None:
    """Raise InputError unless JSON in UTF-8 can write the value: no half of a pair, no NaN."""
    try:
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except UnicodeEncodeError as error:
        half = f"\\u{ord(error.object[error.start]):04x}, half of a pair"
        raise broken(place, name, "be Unicode text", half, "mend the row, or leave it out") from None
    except ValueError:
        raise broken(place, name, "hold numbers that JSON has", "NaN or Infinity", "write null, or a string") from None
    except TypeError as error:  # a date of a Parquet column
        raise broken(place, name, "hold what JSON has", str(error), "write it as a string") from None
