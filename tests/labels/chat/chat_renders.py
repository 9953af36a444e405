"""What transformers renders of a conversation, in every form in which people write the same conversation."""

import json
import re
from contextlib import suppress
from itertools import product

from jinja2.exceptions import TemplateError as JinjaError
from transformers.utils.chat_template_utils import render_jinja_template

SPECIAL = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
OURS = ("train", "weight", "prefill", "loss", "mask")  # keys that say what is learnt
REFUSED = (JinjaError, TypeError, ValueError)


def render(source, messages, tools=None, prompt=False, words=(), **arguments):
    """What transformers renders; in blocks where the template does not show strings, which `words` occur in."""
    messages = [_bare(message) for message in messages]
    blocks = [_as_blocks({**message, "content": message.get("content") or ""}) for message in messages]
    try:
        text = rendered(source, messages, tools, prompt, **arguments)
    except REFUSED:
        text = rendered(source, blocks, tools, prompt, **arguments)
        if not all(word in text for word in words) or re.search("text['\"]: ?['\"]", text):
            raise
        return text
    if words and not any(word in text for word in words):
        return rendered(source, blocks, tools, prompt, **arguments)
    return text


def renders(source, messages, tools=None):
    """What transformers renders of the conversation in each form in which people write it, as far as it renders."""
    for written in in_forms(messages):
        with suppress(*REFUSED):
            yield rendered(source, written, tools, False)


def in_forms(messages):
    """The conversation in each form in which people write it."""
    known = []
    for form in product(*FORMS):
        written = [_bare(message) for message in messages]
        for change in form:
            written = [change(message) for message in written]
        if written not in known:
            known.append(written)
            yield written


def rendered(source, messages, tools, prompt, **arguments):
    texts, _ = render_jinja_template(
        [messages], tools=tools, chat_template=source, add_generation_prompt=prompt, **SPECIAL, **arguments
    )
    return texts[0]


def _bare(message):
    return {key: value for key, value in message.items() if key not in OURS}


def _as_given(message):
    return message


def _as_blocks(message):
    content = message.get("content")
    if isinstance(content, str):
        return {**message, "content": [{"type": "text", "text": content}]}
    if isinstance(content, list):
        texts = [isinstance(block, dict) and str(block.get("type")).endswith("_text") for block in content]
        renamed = [
            {**block, "type": "text"} if is_text else block for block, is_text in zip(content, texts, strict=True)
        ]
        return {**message, "content": renamed}
    return message


def _as_a_string(message):
    content = message.get("content")
    if not isinstance(content, list):
        return message
    texts = [block if isinstance(block, str) else block.get("text") for block in content]
    return message if None in texts else {**message, "content": "".join(texts)}


def _with_json_arguments(message):
    return _with_arguments(
        message, lambda value: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    )


def _with_object_arguments(message):
    return _with_arguments(message, lambda value: json.loads(value) if isinstance(value, str) else value)


def _with_arguments(message, change):
    if not message.get("tool_calls"):
        return message
    calls = [
        {**call, "function": {**call["function"], "arguments": change(call["function"]["arguments"])}}
        for call in message["tool_calls"]
    ]
    return {**message, "tool_calls": calls}


def _without_nulls(message):
    return {key: value for key, value in message.items() if value is not None}


def _with_a_null(message):
    return message if message.get("content") else {**_without_nulls(message), "content": None}


def _with_an_empty_text(message):
    return message if message.get("content") else {**_without_nulls(message), "content": ""}


def _with_all_names_of_a_thought(message):
    message = _with_a_field(message)
    thought = message.get("reasoning_content")
    return {"thinking": thought, "tool_plan": thought, **message} if thought else message


def _with_a_field(message):
    """The blocks of thought that a content begins with as a field."""
    content = message.get("content")
    if not isinstance(content, list):
        return message
    thoughts = [block["thinking"] for block in content if isinstance(block, dict) and block.get("type") == "thinking"]
    if not thoughts or content[len(thoughts) - 1].get("type") != "thinking":
        return message
    return {**message, "reasoning_content": "\n\n".join(thoughts), "content": content[len(thoughts) :]}


def _with_a_block_of_thought(message):
    message = _with_a_field(message)
    thought, content = message.get("reasoning_content"), message.get("content") or []
    if not thought:
        return message
    rest = {key: value for key, value in message.items() if key != "reasoning_content"}
    text = [{"type": "text", "text": content}] if isinstance(content, str) else content
    return {**rest, "content": [{"type": "thinking", "thinking": thought}, *text]}


FORMS = (
    (_as_given, _with_object_arguments, _with_json_arguments),
    (_with_all_names_of_a_thought, _as_given, _with_a_block_of_thought),
    (_as_a_string, _as_blocks, _as_given),
    (_with_an_empty_text, _without_nulls, _with_a_null),
)
