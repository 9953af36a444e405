"""A judge of labelled conversations that knows nothing of how they were labelled.

It renders with transformers, and finds texts by searching for them. Every text of a conversation that it is given is
unique, unless the case says so.
"""

import json
import re
from contextlib import suppress
from itertools import groupby, pairwise, product

from jinja2.exceptions import TemplateError as JinjaError
from transformers.utils.chat_template_utils import render_jinja_template

CONTROL = re.compile(
    r"<\|[^<>|\s]{1,40}\|>|<\uff5c[^<>\s]{1,40}\uff5c>|\[/?[A-Z_]{2,30}\]|</?s>|<(?:start|end)_of_[a-z]+>"
    r"|\[\|[a-z]+\|\]|<\|[^<>|\s]{1,40}>|<[^<>|\s]{1,40}\|>|<sep>|<seed:[a-z_]+>"
)
SPECIAL = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
ENDS = re.compile(
    r"end|eot|eom|eos|</s>|return|call|sep\b|message_sep|<turn\|>|tool_response|/|\uff5cDSML|\"", re.IGNORECASE
)


def render(source, messages, tools=None, prompt=False, **arguments):
    """What transformers renders; in blocks where the template does not show strings."""
    blocks = [{**m, "content": [{"type": "text", "text": m.get("content") or ""}]} for m in messages]
    words = [own for message in messages for own in own_texts(message)]
    try:
        text = _rendered(source, messages, tools, prompt, **arguments)
    except (JinjaError, TypeError, ValueError):
        text = _rendered(source, blocks, tools, prompt, **arguments)
        if not all(word in text for word in words) or re.search("text['\"]: ?['\"]", text):
            raise
        return text
    if words and not any(word in text for word in words):
        return _rendered(source, blocks, tools, prompt, **arguments)
    return text


def renders(source, messages, tools=None):
    """All that transformers renders of the conversation in the forms in which people write it."""
    found = set()
    for form in product(*FORMS):
        written = messages
        for change in form:
            written = [change(message) for message in written]
        with suppress(JinjaError, TypeError, ValueError):
            found.add(_rendered(source, written, tools, False))
    return found


def _as_given(message):
    return message


def _as_blocks(message):
    content = message.get("content")
    return {**message, "content": [{"type": "text", "text": content}]} if isinstance(content, str) else message


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


def _without_a_null(message):
    return {key: value for key, value in message.items() if value is not None}


def _with_a_null(message):
    return message if message.get("content") else {**message, "content": None}


def _with_an_empty_text(message):
    return message if message.get("content") else {**message, "content": ""}


def _with_all_names_of_a_thought(message):
    thought = message.get("reasoning_content")
    return {"thinking": thought, "tool_plan": thought, **message} if thought else message


def _with_a_block_of_thought(message):
    thought, content = message.get("reasoning_content"), message.get("content") or []
    if not thought:
        return message
    rest = {key: value for key, value in message.items() if key != "reasoning_content"}
    text = [{"type": "text", "text": content}] if isinstance(content, str) else content
    return {**rest, "content": [{"type": "thinking", "thinking": thought}, *text]}


FORMS = (
    (_with_object_arguments, _with_json_arguments),
    (_without_a_null, _with_an_empty_text, _with_a_null),
    (_as_given, _with_all_names_of_a_thought, _with_a_block_of_thought),
    (_as_given, _as_blocks),
)


def _rendered(source, messages, tools, prompt, **arguments):
    texts, _ = render_jinja_template(
        [messages], tools=tools, chat_template=source, add_generation_prompt=prompt, **SPECIAL, **arguments
    )
    return texts[0]


def runs(tokenizer, example):
    """(trained, text) of each stretch of tokens that are all trained or all not."""
    stretches = groupby(zip(example.ids.tolist(), example.trained.tolist(), strict=True), key=lambda pair: pair[1])
    for trained, pairs in stretches:
        yield trained, tokenizer.decode([number for number, _ in pairs], skip_special_tokens=False)


def own_texts(message):
    """The texts of a message that must be learnt or must not be, in order; reasoning apart."""
    content = message.get("content") or ""
    texts = [content.split("</think>")[-1].strip()] if content.strip() else []
    for call in message.get("tool_calls") or ():
        texts += [call["function"]["name"], *call["function"]["arguments"].values()]
    return [text for text in texts if text]


def thoughts(message):
    """The texts of an assistant's reasoning."""
    inline = re.findall(r"<think>(.*)</think>", message.get("content") or "", re.DOTALL)
    return [text.strip() for text in [*inline, message.get("reasoning_content") or ""] if text.strip()]


def faults(source, tokenizer, example, messages, tools=None):
    """What is wrong with the labels of a conversation where every assistant's turn is learnt."""
    text = render(source, messages, tools)
    stretches = list(runs(tokenizer, example))
    found = []
    decoded = tokenizer.decode(example.ids.tolist(), skip_special_tokens=False)
    if decoded != text and decoded not in renders(source, messages, tools):
        found.append("the tokens do not decode to the rendered text")
    learnt = [run for trained, run in stretches if trained]
    untrained = "\0".join(run for trained, run in stretches if not trained)
    turns = [message for message in messages if message["role"] == "assistant"]
    if len(learnt) != len(turns):
        return [*found, f"{len(learnt)} trained stretches for {len(turns)} turns"]
    for turn, run in zip(turns, learnt, strict=True):
        found += turn_faults(turn, run)
    shared = {text for turn in turns for text in own_texts(turn)}
    for message in messages:
        if message["role"] != "assistant":
            found += other_faults(message, untrained, learnt, shared)
    return found + prompt_faults(source, messages, tools, stretches) + ending_faults(stretches)


def turn_faults(turn, run):
    texts = own_texts(turn)
    place = 0
    for text in texts:
        if text not in run[place:]:
            return [f"{text!r} is not in the trained {run!r}"]
        place = run.index(text, place) + len(text)
    rest = run[place:]
    ends = CONTROL.findall(rest)
    found = [f"{end!r} ends no turn, in {run!r}" for end in ends if not ENDS.search(end)]
    if ends and not rest.endswith(ends[-1]):
        found.append(f"more is trained than up to a control token: {run!r}")
    head = run[: run.index(texts[0])] if texts else run
    for thought in thoughts(turn):
        head = head.replace(thought, "")
    if re.search(r"(?<!<\|start\|>)\b(assistant|model|CHATBOT_TOKEN|user|USER_TOKEN)\b", head):
        found.append(f"a header is trained: {run!r}")
    return found


def other_faults(message, untrained, learnt, shared):
    text = CONTROL.split((message.get("content") or "").strip())[0].strip()
    found = []
    if text and text not in untrained:
        found.append(f"{text!r} is not in the untrained text")
    if text and text not in shared and any(text in run for run in learnt):
        found.append(f"{text!r} of {message['role']} is trained")
    return found


def ending_faults(stretches):
    """No control token that ends a turn stands right behind what is trained."""
    found = []
    for (trained, run), (_, following) in pairwise(stretches):
        end = CONTROL.match(following.lstrip())
        if trained and end and not CONTROL.search(run) and re.search(r"end|eot|</s>", end.group()):
            found.append(f"{end.group()!r} behind {run!r} is not trained")
    return found


def prompt_faults(source, messages, tools, stretches):
    """The last turn begins where the prompt that inference gives ends, if the rendered text begins with that prompt."""
    if messages[-1]["role"] != "assistant":
        return []
    last = max(index for index, (trained, _) in enumerate(stretches) if trained)
    before = "".join(run for _, run in stretches[:last])
    text = "".join(run for _, run in stretches)
    try:
        prompt = render(source, messages[:-1], tools, prompt=True)
    except Exception:  # noqa: BLE001 (a template may refuse a prompt for any reason)
        return []
    if text.startswith(prompt) and before != prompt:
        return [f"the last turn begins behind {before[-60:]!r}, the prompt ends with {prompt[-60:]!r}"]
    return []
