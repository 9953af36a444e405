"""A judge of labelled conversations that knows nothing of how they were labelled.

It renders with transformers (chat_renders.py), and finds what a conversation says by searching for it. Every text and
every number of a conversation that it is given is unique, unless the case says so.
"""

import json
import re
from collections import Counter
from itertools import groupby, pairwise

from tests.labels.chat import chat_renders
from tests.labels.chat.chat_renders import SPECIAL, renders

__all__ = ["CONTROL", "SPECIAL", "faults", "is_kept", "own_texts", "render", "runs"]

CONTROL = re.compile(
    r"<\|[^<>|\s]{1,40}\|>|<\uff5c[^<>\s]{1,40}\uff5c>|\[/?[A-Z_]{2,30}\]|</?s>|<(?:start|end)_of_[a-z]+>"
    r"|\[\|[a-z]+\|\]|<\|[^<>|\s]{1,40}>|<[^<>|\s]{1,40}\|>|<sep>|<seed:[a-z_]+>"
)
ENDS = re.compile(
    r"end|eot|eom|eos|</s>|return|call|sep|<turn\|>|tool_response|suffix|/|\uff5cDSML|\"|hy_place", re.IGNORECASE
)
THOUGHTS = ("thinking", "reasoning")
SAYS_NOTHING = {
    "type",
    "id",
    "tool_use_id",
    "tool_call_id",
    "name",
    "signature",
    "cache_control",
    "annotations",
    "role",
}
EMPTY_TAGS = re.compile(r"</?think>|\[/?THINK\]|<\|(?:START|END)_THINKING\|>|<\|channel\|>\w+<\|message\|>|\s")


def render(source, messages, tools=None, prompt=False, **arguments):
    """What transformers renders; in blocks where the template does not show strings."""
    words = [own for message in messages for own in own_texts(message)]
    return chat_renders.render(source, messages, tools, prompt, words, **arguments)


def runs(tokenizer, example):
    """(trained, text) of each stretch of tokens that are all trained or all not."""
    stretches = groupby(zip(example.ids.tolist(), example.trained.tolist(), strict=True), key=lambda pair: pair[1])
    for trained, pairs in stretches:
        yield trained, tokenizer.decode([number for number, _ in pairs], skip_special_tokens=False)


def own_texts(message):
    """The texts of a message that must be learnt or must not be, in order; reasoning and calls apart."""
    content = message.get("content") or ""
    blocks = [content] if isinstance(content, str) else content
    texts = [text for block in blocks for text in _block_texts(block)]
    return [text for text in texts if text]


def _block_texts(block):
    if isinstance(block, str):
        return [block.split("</think>")[-1].strip()]
    if block.get("type") in (*THOUGHTS, "tool_use"):
        return []
    return [text for key, value in block.items() if key not in SAYS_NOTHING for text in _strings(value)]


def calls(message):
    """(name, arguments as an object) of each call."""
    found = []
    for call in message.get("tool_calls") or ():
        given = call["function"]["arguments"]
        found.append((call["function"]["name"], json.loads(given) if isinstance(given, str) else given))
    content = message.get("content")
    blocks = [block for block in content if isinstance(block, dict)] if isinstance(content, list) else []
    return found + [(block["name"], block["input"]) for block in blocks if block.get("type") == "tool_use"]


def thoughts(message):
    """The texts of an assistant's reasoning."""
    content = message.get("content") or ""
    if isinstance(content, str):
        found = re.findall(r"<think>(.*)</think>", content, re.DOTALL)
    else:
        blocks = [block for block in content if isinstance(block, dict) and block.get("type") in THOUGHTS]
        found = [text for block in blocks for key in THOUGHTS for text in _strings(block.get(key))]
    found += [message.get(key) or "" for key in ("reasoning_content", "tool_plan")]
    return [text.strip() for text in found if text.strip()]


def is_kept(text, messages, tools=None):
    """Whether a render holds all that the messages and the tools say."""
    words = [word for message in messages for word in own_texts(message)]
    names = Counter(tool["function"]["name"] for tool in tools or ())
    for message in messages:
        for name, arguments in calls(message):
            words += _leaves(arguments)
            names[name] += 1
    for tool in tools or ():
        for key, value in _named(tool):
            said = key in ("description", "enum", "default")
            words += [str(item) for item in (value if isinstance(value, list) else [value]) if said]
    kept = all(any(form in text for form in _forms(word)) for word in words)
    as_blocks = re.search(r'"type": ?"(?:text|thinking|tool_use|tool_result)"', text)  # printed, not read
    return kept and not as_blocks and all(text.count(name) >= count for name, count in names.items())


def faults(source, tokenizer, example, messages, tools=None, *, train_reasoning=True):
    """What is wrong with the labels of a conversation where every assistant's turn is learnt, unless it says not."""
    stretches = list(runs(tokenizer, example))
    decoded = tokenizer.decode(example.ids.tolist(), skip_special_tokens=False)
    found = []
    if decoded not in renders(source, messages, tools):
        found.append("the tokens do not decode to a rendered text")
    joined = stretches if train_reasoning else _around_thoughts(stretches, messages)
    learnt = [turn for trained, run in joined if trained for turn in _turns(run, messages)]
    untrained = "\0".join(run for trained, run in stretches if not trained)
    turns = [message for message in messages if message["role"] == "assistant" and message.get("train", True)]
    if len(learnt) != len(turns):  # a turn that says nothing may end in nothing
        learnt = [run for run in learnt if EMPTY_TAGS.sub("", CONTROL.sub("", run))]
        turns = [turn for turn in turns if own_texts(turn) or calls(turn) or thoughts(turn)]
    if len(learnt) != len(turns):
        return [*found, f"{len(learnt)} trained stretches for {len(turns)} turns: {learnt}"]
    noted = {note.kind for note in example.notes}
    for turn, run in zip(turns, learnt, strict=True):
        found += turn_faults(turn, run, noted)
        found += reasoning_faults(turn, run, noted, train_reasoning)
        found += call_faults(turn, run, noted)
        found += [f"Python's repr is trained: {fault}" for fault in python_faults([turn], run)]
    shared = {text for turn in turns for text in own_texts(turn)}
    for message in messages:
        if message["role"] != "assistant":
            found += other_faults(message, untrained, learnt, shared, noted)
    if "python_text" not in noted:
        printed = python_faults([*messages, *(tools or ())], untrained)
        found += [f"Python's repr is in the prompt without a note: {fault}" for fault in printed]
    if train_reasoning:
        found += prompt_faults(source, messages, tools, stretches)
    return found + ending_faults(stretches)


def _around_thoughts(stretches, messages):
    """The stretches with what is learnt before and behind a masked thought of a turn in one."""
    thought = {text for message in messages for text in thoughts(message)}
    joined = []
    for trained, run in stretches:
        between = CONTROL.sub("", joined[-1][1]).strip() if len(joined) > 1 and trained and joined[-2][0] else ""
        if between in thought:
            joined[-2:] = [(True, joined[-2][1] + run)]
        else:
            joined.append((trained, run))
    return joined


def _turns(run, messages):
    """A stretch as the turns in it, where nothing or the end of one stands between two answers."""
    for message, following in pairwise(messages):
        if message["role"] == following["role"] == "assistant" and own_texts(message) and own_texts(following):
            first, second = own_texts(message)[-1], own_texts(following)[0]
            between = re.search(rf"{re.escape(first)}(\s*(?:{CONTROL.pattern})?\s*){re.escape(second)}", run)
            if between and (not between[1].strip() or ENDS.search(between[1])):
                return [run[: between.end(1)], run[between.end(1) :]]
    return [run]


def turn_faults(turn, run, noted=frozenset()):
    """What is wrong with one turn: its texts in order, where it begins and where it ends."""
    texts = [text for text in own_texts(turn) if text]
    given = turn.get("prefill", "").strip()
    if given:
        texts = [text[len(given) :].strip() for text in texts[:1]] + texts[1:]
        if given in run:
            return [f"{given!r}, which the prompt gave, is trained in {run!r}"]
    place = 0
    for text in filter(None, texts):
        where = _find(run, text, place)
        if where is None:
            return [f"{text!r} is not in the trained {run!r}"]
        place = where
    for name, arguments in calls(turn):
        places = [_find(run, word, 0) for word in (name, *_leaves(arguments))]
        if None in places:
            return [f"{[name, *_leaves(arguments)][places.index(None)]!r} is not in the trained {run!r}"]
        place = max(place, *places)
    rest = run[place:]
    ends = CONTROL.findall(rest)
    silent = not texts or any(not _leaves(arguments) for _, arguments in calls(turn))  # tags of no text
    found = [f"{end!r} ends no turn, in {run!r}" for end in (ends[-1:] if silent else ends) if not ENDS.search(end)]
    if ends and not rest.endswith(ends[-1]):
        found.append(f"more is trained than up to a control token: {run!r}")
    first = texts[0] if texts and texts[0] else None
    head = run[: run.index(first)] if first and first in run else run
    for text in [*thoughts(turn), *(word for _, arguments in calls(turn) for word in _leaves(arguments))]:
        head = head.replace(text, "")
    if re.search(r"(?<!<\|start\|>)(?<!to=)\b(assistant|model|CHATBOT_TOKEN|user|USER_TOKEN)\b", head):
        found.append(f"a header is trained: {run!r}")
    return found


def reasoning_faults(turn, run, noted, train_reasoning):
    """Reasoning is learnt, unless it is not to be or the template leaves it out, which is noted."""
    found = []
    for text in thoughts(turn):
        if train_reasoning and text not in run and "reasoning_dropped" not in noted and not turn.get("prefill"):
            found.append(f"the thought {text!r} is not in the trained {run!r}")
        if not train_reasoning and text in run:
            found.append(f"the thought {text!r} is trained in {run!r}")
    said = " ".join(own_texts(turn))
    if not train_reasoning and re.search(r"</?think|THINKING|\[/?THINK\]", run) and "think" not in said:
        found.append(f"a tag of reasoning is trained: {run!r}")
    return found


def call_faults(turn, run, noted):
    """Numbers, booleans and nulls of a call stand behind their names, and its JSON is not quoted twice."""
    found = []
    for name, arguments in calls(turn):
        for key, value in _named_values(arguments):
            wanted = {json.dumps(value), str(value)}
            stands = [
                any(re.search(rf"(?<![\w.-]){re.escape(form)}(?!\w|\.\d)", after) for form in wanted)
                for after in (run[match.end() : match.end() + 90] for match in re.finditer(re.escape(key), run))
            ]
            if not any(stands) and not (value is None and "null_dropped" in noted):
                found.append(f"{key}={value!r} of {name} is not in the trained {run!r}")
        names = [key for key, _ in _named(arguments)]
        if any(f'\\"{key}\\"' in run for key in names):
            found.append(f"JSON is quoted twice: {run!r}")
    words = {str(value) for _, arguments in calls(turn) for _, value in _named_values(arguments)}
    said = " ".join([*own_texts(turn), *thoughts(turn)])
    python = [word for word in words & {"True", "False", "None"} if re.search(rf"\b{word}\b", run) and word not in said]
    return found + [
        f"Python's {word} is trained without a note: {run!r}" for word in python if "python_text" not in noted
    ]


def python_faults(values, text):
    """What of the containers in `values` stands in the text as Python writes it."""
    found = []
    for value in values:
        for key, item in _named(value):
            if re.search(rf"(?<!\w){re.escape(repr(key))}: ", text):
                found.append(f"{key!r}: in {_near(text, repr(key) + ': ')!r}")
            if isinstance(item, list) and any(isinstance(each, str) for each in item):
                first = next(repr(each) for each in item if isinstance(each, str))
                if first.startswith("'") and re.search(rf"(?:\[|, ){re.escape(first)}[\],]", text):
                    found.append(f"{first} in {_near(text, first)!r}")
    return found


def other_faults(message, untrained, learnt, shared, noted=frozenset()):
    """The texts of what is no answer are in the prompt, and are not learnt."""
    found = []
    for own in own_texts(message):
        text = CONTROL.split(own)[0].strip()
        if text and _find(untrained, text, 0) is None and "message_dropped" not in noted:
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
    says = own_texts(messages[-1]) or calls(messages[-1])  # a turn that says nothing may end in nothing
    if messages[-1]["role"] != "assistant" or not messages[-1].get("train", True) or not says:
        return []
    last = max(index for index, (trained, _) in enumerate(stretches) if trained)
    before = "".join(run for _, run in stretches[:last])
    text = "".join(run for _, run in stretches)
    try:
        prompt = render(source, messages[:-1], tools, prompt=True)
    except Exception:  # noqa: BLE001 (a template may refuse a prompt for any reason)
        return []
    given = messages[-1].get("prefill", "")
    if text.startswith(prompt) and before != prompt and not (given and before.endswith(given)):
        return [f"the last turn begins behind {before[-60:]!r}, the prompt ends with {prompt[-60:]!r}"]
    return []


def _find(text, word, start):
    """Where a word ends in a text, as it is or as JSON has it; None where it is not."""
    ends = [place + len(form) for form in _forms(word) if (place := text.find(form, start)) >= 0]
    return min(ends, default=None)


def _forms(word):
    quoted = word.replace("\\", "\\\\").replace("\n", "\\n")
    return {word, json.dumps(word)[1:-1], json.dumps(word, ensure_ascii=False)[1:-1], quoted.replace("'", "\\'")}


def _near(text, word):
    place = max(0, text.find(word))
    return text[max(0, place - 20) : place + 40]


def _strings(value):
    """The strings in a block's value."""
    if isinstance(value, str):
        return [value.strip()]
    if isinstance(value, dict):
        return [text for key, item in value.items() if key not in SAYS_NOTHING for text in _strings(item)]
    return [text for item in value for text in _strings(item)] if isinstance(value, list) else []


def _leaves(value):
    """The strings in arguments."""
    if isinstance(value, str):
        return [value] if value else []
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [text for item in items for text in _leaves(item)]


def _named(value):
    """(key, value) of every dictionary in a value."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield key, item
            yield from _named(item)
    elif isinstance(value, list):
        for item in value:
            yield from _named(item)


def _named_values(arguments):
    """(name, value) of the numbers, booleans and nulls, those in lists under the name of the list."""
    for key, value in _named(arguments):
        for item in value if isinstance(value, list) else [value]:
            if item is None or isinstance(item, bool | int | float):
                yield key, item
