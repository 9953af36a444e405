"""Long conversations for benchmarks.labelling: an agent's traces, each with a skeleton of its own.

A trace is a system's message, a question, and as many calls as it has turns: each with a thought, a tool out of three,
one to three arguments, and what the tool answers in 200 words.
"""

from collections.abc import Callable, Sequence
from functools import partial
from random import Random
from time import process_time
from typing import Any, Final

from benchmarks.harness import Case, Report, interleave
from lmhead.errors import ConversationError
from lmhead.labels.chat.kept_probes import Probes
from lmhead.labels.chat.labeler import ChatLabeler

TURNS: Final = (50, 100, 200, 400)
_TOOLS: Final = ("bash", "edit", "view")
_NAMES: Final = "abcdef"
Messages = list[dict[str, Any]]


def trace(turns: int, random: Random, text: Callable[[int], str]) -> Messages:
    """An agent's trace; `text` writes so many words."""
    messages: Messages = [{"role": "system", "content": text(100)}, {"role": "user", "content": text(50)}]
    for number in range(turns):
        arguments = {random.choice(_NAMES): text(5) for _ in range(random.randint(1, 3))}
        name, own = random.choice(_TOOLS), f"call{number:05}"
        call = {"id": own, "type": "function", "function": {"name": name, "arguments": arguments}}
        messages.append({"role": "assistant", "content": "", "reasoning_content": text(20), "tool_calls": [call]})
        messages.append({"role": "tool", "name": name, "tool_call_id": own, "content": text(200)})
    return [*messages, {"role": "assistant", "content": text(30)}]


def add_traces(report: Report, name: str, tokenizer: Any, traces: dict[int, Messages], rounds: int) -> float | None:
    """Adds a row for each length; how many times as long the longest takes; None where the template refuses it."""
    label = ChatLabeler(tokenizer, dropped_text="note")
    ratio = None
    for turns, messages in traces.items():
        try:
            tokens = len(label(messages))
        except ConversationError as error:
            report.notes.append(f"{name}, {turns} calls: left out, {str(error)[:160]}")
            return None
        cases = [
            Case(name="rendered", run=partial(tokenizer.apply_chat_template, messages, tokenize=True)),
            Case(name="labelled", run=partial(label_anew, label, [(messages, None)])),
        ]
        timings = interleave(cases, rounds=rounds, label=f"{name}, {turns} calls: ")
        ratio = timings.ratio("labelled", "rendered")
        speeds = [1 / timings.median(case.name) for case in cases]
        what = (name, f"{turns} calls", str(tokens), f"{speeds[0]:.2f}", "", "", f"{ratio:.2f}")
        report.rows.append(what)
        report.measured[f"{name}, {turns} calls"] = {"ratio": ratio, "seconds": timings.seconds}
    return ratio


def label_anew(label: ChatLabeler, conversations: Sequence[tuple[Messages, Messages | None]]) -> None:
    """Labels each conversation as if no other had been labelled."""
    for messages, tools in conversations:
        for template in label._templates.values():  # what was found is forgotten, not what was compiled
            template.probes = Probes()
        label(messages, tools)


def first_call(tokenizer: Any, messages: Messages) -> float:
    """Processor seconds until one conversation is labelled, the template compiled before."""
    begin = process_time()
    ChatLabeler(tokenizer, dropped_text="note")(messages)
    return process_time() - begin
