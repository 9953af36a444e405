import json
from random import Random

import pytest
from benchmarks.labelling import KINDS, Writer

from benchmarks import harness, labelling

WORDS = [f"word{number}" for number in range(500)]


@pytest.mark.parametrize("kind", KINDS)
def test_conversations_are_what_their_kind_says(kind):
    messages, tools = Writer(WORDS, Random(1)).conversation(kind)
    turns = [message for message in messages if message["role"] == "assistant"]
    assert len(turns) == {"single": 1, "4 turns": 4, "16 turns": 16}.get(kind, 2)
    assert (tools is not None) == any("tool_calls" in message for message in messages) == (kind == "tools")
    assert all("reasoning_content" in turn for turn in turns) == (kind == "reasoning")
    assert Writer(WORDS, Random(1)).conversation(kind) == (messages, tools), "the same for the same seed"


@pytest.mark.usefixtures("quick_processes")
def test_what_is_measured_is_told(monkeypatch):
    monkeypatch.setattr(harness, "_ATTEMPTS", 1)  # the machine is not calm, and nothing is to be known of it
    monkeypatch.setattr(labelling, "FILES", {"Missing": "nobody/missing.jinja"})
    monkeypatch.setattr(labelling, "train_tokenizer", lambda texts, _size: small(texts))
    report = labelling.measure(rounds=1, share=0.01)
    assert [row[:2] for row in report.rows] == [("ChatML", kind) for kind in ("50 calls", *KINDS)]
    assert len(report.goals) == 3
    left_out, first_call, files = report.notes
    assert left_out == "Missing was left out: there is no nobody/missing.jinja in shared/templates."
    assert first_call.startswith("The first call, the template compiled before it")
    assert files.startswith("label_files, 30 conversations of 4 turns")
    assert json.dumps(report.measured)


def small(_texts):
    from tests.labels.chat.chat_cases import trained
    from tokenizers import Tokenizer

    return Tokenizer.from_str(trained())
