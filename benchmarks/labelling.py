"""How long it takes to label conversations, beside rendering and tokenising them, which anybody has to do.

    python -m benchmarks.labelling                 tables, and JSON in benchmarks/results/labelling.json
    python -m benchmarks.labelling --quick         a few conversations: does it run?

The same conversations go through ChatLabeler and through `apply_chat_template(tokenize=True)` of transformers, which
tells nothing of what is learnt; in one process, in turn. Texts are stretches of the Python standard library's source,
the tokenizer a byte-level BPE of 8192 tokens trained on it. Templates are ChatML, which comes with lmhead, and those
that models come with, from ../shared/templates, where that is there.

    single       a question of 30 words and an answer of 90
    4 turns      four of these
    16 turns     sixteen
    reasoning    a system's message, and two turns with reasoning of 60 words each
    tools        a question, a call, what the tool answers, an answer; one tool
    50 calls     an agent's trace (traces.py), and 100, 200, 400

"Seen": a conversation of the same skeleton was labelled before. "Unseen": none was, by a labeler that has compiled the
template. The first call of all compiles it.
"""

import argparse
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from json import dumps
from pathlib import Path
from random import Random
from typing import Any, Final

from tokenizers import Tokenizer

from benchmarks.harness import Case, Report, Timings, interleave, progress
from benchmarks.traces import TURNS, add_traces, first_call, label_anew, trace
from lmhead.data.labelling.chat_config import ChatConfig
from lmhead.data.labelling.label_files import label_files
from lmhead.data.labelling.recipe import Recipe
from lmhead.data.tokenizer.chatml import CHATML, with_chatml
from lmhead.data.tokenizer.tokenizer_files import TokenizerFiles
from lmhead.data.tokenizer.train_tokenizer import train_tokenizer
from lmhead.labels.chat.labeler import ChatLabeler

TEMPLATES: Final = Path(__file__).parents[2] / "shared" / "templates"
FILES: Final = {
    "Qwen3": "trl/qwen3.jinja",
    "Llama 3.1": "trl/llama3_1.jinja",
    "Gemma 3": "trl/gemma3.jinja",
    "Mistral Nemo": "llamacpp/mistralai-Mistral-Nemo-Instruct-2407.jinja",
    "GLM 4 MoE": "trl/glm4moe.jinja",
    "gpt-oss": "trl/gptoss.jinja",
}
_CONTROL: Final = (  # of the templates above; one that a template lacks does no harm
    "<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>", "<|begin_of_text|>", "<|start_header_id|>",
    "<|end_header_id|>", "<|eot_id|>", "<|eom_id|>", "<|python_tag|>", "[INST]", "[/INST]", "[AVAILABLE_TOOLS]",
    "[/AVAILABLE_TOOLS]", "[TOOL_CALLS]", "[TOOL_RESULTS]", "[/TOOL_RESULTS]", "[gMASK]", "<sop>", "<|system|>",
    "<|user|>", "<|assistant|>", "<|observation|>", "<|start|>", "<|end|>", "<|message|>", "<|channel|>", "<|return|>",
    "<|call|>", "<|constrain|>",
)  # fmt: skip
_SPECIAL: Final = {"bos_token": "<bos>", "eos_token": "<eos>"}
_WEATHER: Final = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Tells the weather of a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "description": "A city"}},
            "required": ["city"],
        },
    },
}
Conversation = tuple[list[dict[str, Any]], list[dict[str, Any]] | None]  # messages, tools


@dataclass(frozen=True, slots=True)
class Writer:
    """Writes conversations out of stretches of a text; the same for the same seed."""

    words: list[str]
    random: Random

    def conversation(self, kind: str) -> Conversation:
        """One conversation of a kind that the module names."""
        match kind:
            case "single":
                return self._turns(1), None
            case "4 turns":
                return self._turns(4), None
            case "16 turns":
                return self._turns(16), None
            case "reasoning":
                thinking = [{**m, "reasoning_content": self._text(60)} if i % 2 else m for i, m in self._numbered(2)]
                return [{"role": "system", "content": self._text(20)}, *thinking], None
            case _:
                call = {"name": "get_weather", "arguments": {"city": self._text(1)}}
                return [
                    {"role": "user", "content": self._text(30)},
                    {"role": "assistant", "content": "", "tool_calls": [
                        {"id": "abcdef123", "type": "function", "function": call}
                    ]},
                    {"role": "tool", "name": "get_weather", "tool_call_id": "abcdef123", "content": self._text(30)},
                    {"role": "assistant", "content": self._text(60)},
                ], [_WEATHER]  # fmt: skip

    def trace(self, turns: int) -> list[dict[str, Any]]:
        """An agent's trace of so many calls."""
        return trace(turns, self.random, self._text)

    def _numbered(self, turns: int) -> Iterator[tuple[int, dict[str, Any]]]:
        return enumerate(self._turns(turns))

    def _turns(self, turns: int) -> list[dict[str, Any]]:
        pairs = [("user", 30), ("assistant", 90)] * turns
        return [{"role": role, "content": self._text(words)} for role, words in pairs]

    def _text(self, words: int) -> str:
        start = self.random.randrange(len(self.words) - words)
        return " ".join(self.words[start : start + words])


KINDS: Final = {"single": 200, "4 turns": 80, "16 turns": 20, "reasoning": 100, "tools": 100}  # conversations


def measure(*, rounds: int, share: float) -> Report:
    """The table and the goals; `share` of the conversations."""
    texts = [
        file.read_text(encoding="utf-8", errors="replace") for file in sorted(Path(os.__file__).parent.glob("*.py"))
    ]
    progress("training a tokenizer")
    backend = train_tokenizer(texts[:100], 8192)
    words = " ".join(texts).replace("<", "(").replace(">", ")").split()
    report = Report(
        name="labelling",
        title="labelling conversations, in one process",
        columns=("template", "conversation", "tokens", "apply_chat_template, a second", "ChatLabeler, a second",
                 "times as long, seen", "times as long, unseen"),
    )  # fmt: skip
    seen, unseen, longest, first = {}, {}, {}, {}
    for name, source in _templates(report).items():
        tokenizer = _tokenizer(backend, source)
        writer = Writer(words, Random(0))
        first[name] = first_call(tokenizer, writer.conversation("single")[0])
        traces = {turns: writer.trace(turns) for turns in TURNS if share == 1 or turns == min(TURNS)}
        ratio = add_traces(report, name, tokenizer, traces, rounds)
        if ratio is not None:
            longest[name] = ratio
        for kind, count in KINDS.items():
            writer = Writer(words, Random(kind))
            conversations = [writer.conversation(kind) for _ in range(max(2, int(count * share)))]
            ratios = _compared(report, tokenizer, (name, kind), conversations, rounds)
            if ratios is not None:
                seen[name, kind], unseen[name, kind] = ratios
    report.goal("times as long, skeleton seen, the slowest", max(seen.values()), at_most=2.2)
    report.goal("times as long, skeleton unseen, the slowest", max(unseen.values()), at_most=6)
    report.goal(f"times as long, {max(traces)} calls, the slowest", max(longest.values()), at_most=4)
    told = ", ".join(f"{name} {seconds * 1000:.0f}" for name, seconds in first.items())
    report.notes.append(f"The first call, the template compiled before it, milliseconds of processor time: {told}.")
    _whole_files(report, backend, Writer(words, Random(0)), rounds=min(rounds, 2), share=share)
    return report


def _templates(report: Report) -> dict[str, str]:
    found = {"ChatML": CHATML}
    for name, path in FILES.items():
        if (TEMPLATES / path).is_file():
            found[name] = (TEMPLATES / path).read_text(encoding="utf-8")
        else:
            report.notes.append(f"{name} was left out: there is no {path} in shared/templates.")
    return found


def _tokenizer(backend: Tokenizer, source: str) -> Any:
    """A fast tokenizer of transformers with the template."""
    from transformers import PreTrainedTokenizerFast

    with_tokens = with_chatml(backend)
    with_tokens.add_special_tokens([token for token in _CONTROL if token in source or token in _SPECIAL.values()])
    make: Any = PreTrainedTokenizerFast  # untyped
    tokenizer = make(tokenizer_object=with_tokens, **_SPECIAL)
    tokenizer.chat_template = source
    return tokenizer


def _compared(
    report: Report, tokenizer: Any, what: tuple[str, str], conversations: Sequence[Conversation], rounds: int
) -> tuple[float, float] | None:
    """Adds a row; how many times as long labelling takes, seen and unseen; None where the template refuses them."""
    label, anew = (ChatLabeler(tokenizer, dropped_text="note") for _ in range(2))
    try:
        tokens = sum(len(label(messages, tools)) for messages, tools in conversations) / len(conversations)
    except ValueError as error:
        report.notes.append(f"{', '.join(what)}: left out, {str(error)[:160]}")
        return None
    cases = [
        Case(name="rendered", run=partial(_render_all, tokenizer, conversations)),
        Case(name="labelled", run=partial(_label_all, label, conversations)),
        Case(name="labelled anew", run=partial(label_anew, anew, conversations)),
    ]
    timings = interleave(cases, rounds=rounds, label=f"{', '.join(what)}: ")
    ratios = timings.ratio("labelled", "rendered"), timings.ratio("labelled anew", "rendered")
    speeds = [len(conversations) / timings.median(case.name) for case in cases[:2]]
    shown = [*(f"{speed:,.0f}" for speed in speeds), *(f"{ratio:.2f}" for ratio in ratios)]
    report.rows.append((*what, f"{tokens:.0f}", *shown))
    report.measured[", ".join(what)] = {
        "seen": ratios[0], "unseen": ratios[1], "conversations": len(conversations), "seconds": timings.seconds,
    }  # fmt: skip
    return ratios


def _render_all(tokenizer: Any, conversations: Sequence[Conversation]) -> None:
    for messages, tools in conversations:
        tokenizer.apply_chat_template(messages, tools=tools, tokenize=True)


def _label_all(label: ChatLabeler, conversations: Sequence[Conversation]) -> None:
    for messages, tools in conversations:
        label(messages, tools)


def _whole_files(report: Report, backend: Tokenizer, writer: Writer, *, rounds: int, share: float) -> None:
    """label_files on one file: one process, two, and the cache."""
    with tempfile.TemporaryDirectory() as folder:
        file, cache = Path(folder) / "chat.jsonl", Path(folder) / "cache"
        count = max(10, int(3000 * share))
        with file.open("w", encoding="utf-8") as stream:
            stream.writelines(dumps({"messages": writer.conversation("4 turns")[0]}) + "\n" for _ in range(count))
        recipe = Recipe.of(TokenizerFiles(json=backend.to_str()), ChatConfig())
        label_files([str(file)], recipe, workers=1, cache=cache)
        cases = [
            Case(name="one process", run=partial(label_files, [str(file)], recipe, workers=1), warm_up=False),
            Case(name="two processes", run=partial(label_files, [str(file)], recipe, workers=2), warm_up=False),
            Case(name="the cache", run=partial(label_files, [str(file)], recipe, cache=cache), warm_up=False),
        ]
        timings = interleave(cases, rounds=rounds, label="files: ")
        report.measured["files"] = {"conversations": count, "bytes": file.stat().st_size, "seconds": timings.seconds}
        report.notes.append(_of_files(timings, count, file.stat().st_size))


def _of_files(timings: Timings, count: int, size: int) -> str:
    speeds = {name: count / timings.median(name) for name in timings.seconds}
    told = ", ".join(f"{name} {speed:,.0f} a second" for name, speed in speeds.items())
    return (
        f"label_files, {count:,} conversations of 4 turns with ChatML in {size / 2**20:.1f} MiB of JSONL, the start of "
        f"processes included: {told}."
    )


def main() -> None:
    """Parse the command line, run, print, save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="a few conversations, nothing saved: does it run?")
    parser.add_argument("--json", type=Path, metavar="FILE", help="instead of benchmarks/results/labelling.json")
    arguments = parser.parse_args()
    report = measure(rounds=1 if arguments.quick else arguments.rounds, share=0.02 if arguments.quick else 1.0)
    print(report.table(), flush=True)
    if not arguments.quick:
        print(f"\n{report.save(arguments.json)}")


if __name__ == "__main__":
    main()
