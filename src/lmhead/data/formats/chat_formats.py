"""Readers of the formats that become conversations: messages, sharegpt, alpaca, responses, prompt and completion."""

import re
from typing import Any, Final

from lmhead.data.formats.call_text import call_message
from lmhead.data.formats.chat_messages import messages_of
from lmhead.data.formats.content_blocks import text_of
from lmhead.data.formats.row_text import checked_text
from lmhead.data.formats.sample import ChatSample, CompletionSample
from lmhead.data.formats.tool_calls import loaded, tools_of
from lmhead.data.rows.format_columns import COMPLETIONS, CONVERSATIONS, OUTPUTS
from lmhead.data.rows.row import Row
from lmhead.data.rows.row_error import broken, did_you_mean, listed
from lmhead.errors import ArgumentError, InputError
from lmhead.labels.conversation.roles import CALLS, KNOWN, SYNONYMS, near_role
from lmhead.shown import shown_value

_ITEMS: Final = re.compile(r'\s*(\[\s*)?\{\s*"(role|type|content|id)"')  # messages or items as a string of JSON
_INPUTS: Final = ("input", "context")


def read_messages(row: Row) -> ChatSample:
    """`messages`, in the words of OpenAI."""
    return _chat(row, messages_of(row.place, "messages", row.columns["messages"]))


def read_sharegpt(row: Row) -> ChatSample:
    """`conversations` of from and value; of role and content, as some call their messages."""
    name = first(row, CONVERSATIONS)
    items = row.columns[name]
    items = loaded(row.place, name, items) if isinstance(items, str) else items
    if isinstance(items, list | tuple):
        items = [_turn(row, f"{name}[{index}]", item) for index, item in enumerate(items)]
    return _chat(row, messages_of(row.place, name, items))


def read_prompt_completion(row: Row) -> ChatSample | CompletionSample:
    """`prompt` and `completion`, both texts or both messages. Of messages, those of the prompt are not learnt."""
    name = first(row, COMPLETIONS)
    prompt, completion = row.columns["prompt"], row.columns[name]
    if isinstance(prompt, str) and isinstance(completion, str):
        checked_text(row.place, "prompt", prompt)
        if not checked_text(row.place, name, completion):
            raise broken(row.place, name, "hold something to learn", "an empty string", "leave the row out")
        return CompletionSample(place=row.place, prompt=prompt, completion=completion)
    if isinstance(prompt, str):
        remedy = f"write the prompt as messages too, or the {name} as a string"
        raise broken(row.place, name, "be a string where prompt is one", shown_value(completion), remedy)
    if isinstance(completion, str):
        completion = [{"role": "assistant", "content": completion}]
    asked = _unlearnt(messages_of(row.place, "prompt", prompt))
    return _chat(row, _continued(row, ("prompt", name), asked, _learnt(row, name, completion)))


def read_responses(row: Row) -> ChatSample:
    """`input` and `output` of OpenAI's responses, and `instructions`. What the input holds is not learnt."""
    given = row.columns["input"]
    given = [_message("user", given)] if isinstance(given, str) and _ITEMS.match(given) is None else given
    asked = _unlearnt(messages_of(row.place, "input", given))
    instructions = text_of(row.place, "instructions", row.columns.get("instructions", ""))
    asked = [_message("system", instructions), *asked] if instructions else asked
    return _chat(row, _continued(row, ("input", "output"), asked, _learnt(row, "output", row.columns["output"])))


def read_alpaca(row: Row) -> ChatSample:
    """`instruction`, `input` and `output` as a turn of the user and one of the assistant, `history` before them."""
    instruction, output = (
        checked_text(row.place, name, row.columns[name]) for name in ("instruction", first(row, OUTPUTS))
    )
    inputs = (checked_text(row.place, name, row.columns[name]) for name in _INPUTS if name in row.columns)
    given = next(filter(None, inputs), "")  # a second one stays unread, and is told as such
    if not instruction and not given:
        raise broken(row.place, "instruction", "hold a text", "an empty string", "leave the row out")
    if not output:
        raise broken(row.place, first(row, OUTPUTS), "hold something to learn", "an empty string", "leave the row out")
    asked = "\n\n".join(text for text in (instruction, given) if text)
    return _chat(row, [*_history(row), _message("user", asked), _message("assistant", output)])


def first(row: Row, names: tuple[str, ...]) -> str:
    """The first of several names of one column that the row has."""
    return next(name for name in names if name in row.columns)


def _chat(row: Row, messages: list[dict[str, Any]]) -> ChatSample:
    """The conversation with what the other columns say of it: system, tools, chat_template_kwargs."""
    name = next((name for name in ("tools", "functions") if name in row.columns), None)
    return ChatSample(
        place=row.place,
        messages=_with_system(row, messages),
        tools=tools_of(row.place, name, row.columns[name]) if name else None,
        template_arguments=_template_arguments(row),
    )


def _unlearnt(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**message, "train": False} if message["role"] == "assistant" else message for message in messages]


def _learnt(row: Row, name: str, value: Any) -> list[dict[str, Any]]:
    """The messages of a column that holds what is learnt."""
    messages = messages_of(row.place, name, value)
    if not any(message["role"] == "assistant" for message in messages):
        roles = listed(message["role"] for message in messages)
        got = f"the roles {roles}" if roles else "nothing that has a text"
        raise broken(row.place, name, "hold an assistant's message", got, "it is what is learnt")
    return messages


def _continued(
    row: Row, names: tuple[str, str], asked: list[dict[str, Any]], learnt: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """The prompt, of which nothing is learnt, and the completion.

    A prompt that ends in an assistant's message has begun the answer, which the completion goes on with: one message,
    whose `prefill` is not learnt.
    """
    begun, goes_on = asked[-1], learnt[0]
    if begun["role"] != "assistant" or goes_on["role"] != "assistant":
        return asked + learnt
    other = next((key for key in ("tool_calls", "reasoning_content", "tool_plan") if begun.get(key)), None)
    other = other or next((key for key in ("reasoning_content", "tool_plan") if goes_on.get(key)), None)
    if other:
        remedy = f"write the answer whole into the {names[1]}, and end the {names[0]} before it"
        rule = f"end in a text where the {names[1]} goes on with it"
        raise broken(row.place, names[0], rule, f"{other} there", remedy)
    text = begun.get("content", "")
    whole = {**goes_on, "content": text + goes_on.get("content", "")}
    prefill = text + goes_on.get("prefill", "")
    return [*asked[:-1], {**whole, "prefill": prefill} if prefill else whole, *learnt[1:]]


def _with_system(row: Row, messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    system = text_of(row.place, "system", row.columns.get("system", ""))
    if not system:
        return messages
    if messages[0]["role"] != "system":
        return [_message("system", system), *messages]
    if messages[0].get("content") != system:
        remedy = "keep one of the two"
        raise broken(row.place, "system", "say what the first message says", "another system prompt", remedy)
    return messages


def _template_arguments(row: Row) -> dict[str, Any]:
    from lmhead.labels.template.template_names import check_names

    name = "chat_template_kwargs"
    value = row.columns.get(name, {})
    value = loaded(row.place, name, value) if isinstance(value, str) else value
    if not isinstance(value, dict):
        raise broken(row.place, name, "be an object", shown_value(value), 'write {"enable_thinking": false}')
    try:
        check_names(value, name)
    except ArgumentError as error:
        raise InputError(f"{row.place}: {error}") from None
    return value


def _turn(row: Row, name: str, item: Any) -> Any:
    """An item of from and value as a message of role and content; any other as it is."""
    if not isinstance(item, dict) or "from" not in item:
        return item
    speaker, value = item["from"], item.get("value")
    if speaker not in KNOWN:
        rule = "be human, gpt, system, tool, function_call or observation"
        near = near_role(speaker) if isinstance(speaker, str) else None
        remedy = f"did you mean {near}?" if near else "name one of these"
        raise broken(row.place, f"{name}.from", rule, shown_value(speaker), remedy)
    if value is None:
        near = did_you_mean("value", item) or ("content" if "content" in item else None)
        remedy = f"rename {near} to value" if near and near != "value" else 'give it a text, "" for none'
        got = "null" if "value" in item else f"the keys {listed(item)}"
        raise broken(row.place, f"{name}.value", "be a string", got, remedy)
    _check_twins(row, name, item)
    kept = {key: item[key] for key in item if key not in ("from", "value", "role", "content")}
    if speaker in CALLS:
        found = call_message(row.place, f"{name}.value", value)
        twice = next((key for key in found if kept.get(key) not in (None, "", [])), None)
        if twice:
            raise broken(row.place, f"{name}.{twice}", "stand once", "another in value", "keep one of the two")
        return {**kept, "role": speaker, **found}
    checked_text(row.place, f"{name}.value", value)
    return {**kept, "role": speaker, "content": value}


def _check_twins(row: Row, name: str, item: dict[str, Any]) -> None:
    """Raise InputError where role and content say something else than from and value beside them."""
    role, content = item.get("role"), item.get("content")
    if role is not None and role != item["from"] and _meaning(role) != _meaning(item["from"]):
        raise broken(row.place, f"{name}.role", "say what from says", shown_value(role), "keep one of the two")
    if content is not None and content != item["value"]:
        raise broken(row.place, f"{name}.content", "say what value says", shown_value(content), "keep one of the two")


def _meaning(speaker: object) -> object:
    return SYNONYMS.get(speaker, speaker) if isinstance(speaker, str) else speaker


def _history(row: Row) -> list[dict[str, Any]]:
    history = row.columns.get("history") or []
    form = "be a list of pairs of instruction and output"
    if not isinstance(history, list):
        raise broken(row.place, "history", form, shown_value(history), 'write [["...", "..."], ...]')
    messages = []
    for index, pair in enumerate(history):
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise broken(row.place, f"history[{index}]", "be [instruction, output]", shown_value(pair), "write a pair")
        for role, text in zip(("user", "assistant"), pair, strict=True):
            at = f"history[{index}][{int(role == 'assistant')}]"
            messages.append(_message(role, checked_text(row.place, at, text)))
    return messages


def _message(role: str, text: str) -> dict[str, Any]:
    return {"role": role, "content": text}
