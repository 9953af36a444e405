"""--eval-tokens: an evaluation along the way scores so many held-out tokens at most, spread over all of them."""

from pathlib import Path

import numpy as np
import pytest
from tests.training.chat_runs import train_words, write_chat

from lmhead.batches.chat import HeldOutChat
from lmhead.batches.contract import HeldOut, Part
from lmhead.batches.text import HeldOutText
from lmhead.cli.main import main
from lmhead.labels.packing.wrapped_rows import DocumentStream
from lmhead.training.run.run_folder import RunFolder


def held_out_text(tokens: int, *, length: int) -> HeldOutText:
    held_out = HeldOutText.__new__(HeldOutText)  # without a tokenizer
    held_out.stream = DocumentStream.of([list(range(tokens))])
    held_out.tokens, held_out.scored = tokens, tokens - 1
    held_out.window, held_out.stride = length, max(1, length // 2)
    return held_out


def scored(held_out: HeldOut, part: Part | None) -> int:
    return sum(batch.targets.count for batch in held_out.batches(part))


def positions(held_out: HeldOut, part: Part | None) -> int:
    return sum(batch.ids.numel() for batch in held_out.batches(part))


@pytest.mark.parametrize("length", [1, 2, 7, 32])
@pytest.mark.parametrize("tokens", [2, 3, 33, 34, 100, 2000, 5000])
def test_a_part_of_a_text_has_at_most_so_many_tokens(tokens: int, length: int) -> None:
    held_out = held_out_text(tokens, length=length)
    assert scored(held_out, None) == tokens - 1
    for wanted in (1, length, 50, 1000, 10**6):
        part = Part(tokens=wanted)
        assert 1 <= scored(held_out, part) <= max(wanted, length)
        assert positions(held_out, part) == held_out.read(part)
    assert scored(held_out, Part(tokens=10**6)) == tokens - 1
    assert positions(held_out, None) == held_out.read()
    assert held_out.read(Part()) == min(64 * length, held_out.read())


def test_a_part_of_a_text_is_spread_over_it() -> None:
    held_out = held_out_text(5000, length=32)
    firsts = [int(row[0]) for batch in held_out.batches(Part(tokens=200)) for row in batch.ids]
    assert firsts[0] == 0
    assert firsts[-1] > 4900
    assert np.diff(firsts).min() > 300


def test_a_part_of_conversations_has_at_most_so_many_tokens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[HeldOutChat] = []
    real = HeldOutChat.__init__

    def init(self: HeldOutChat, *given: object, **options: object) -> None:
        real(self, *given, **options)  # type: ignore[arg-type]
        seen.append(self)

    monkeypatch.setattr(HeldOutChat, "__init__", init)
    data, out = write_chat(tmp_path / "chat.jsonl", 300), tmp_path / "run"
    assert main(train_words(data, out, "--steps", "2", "--eval-every", "1", "--eval-tokens", "40")) == 0
    held_out = seen[0]
    least = max(map(len, held_out.examples))
    for wanted in (1, 40, 200, 10**6):
        part = Part(tokens=wanted)
        assert 1 <= scored(held_out, part) <= max(wanted, least)
        assert positions(held_out, part) == held_out.read(part)
    assert scored(held_out, Part(tokens=10**6)) == held_out.scored
    assert positions(held_out, None) == held_out.read()
    tokens = [record["tokens"] for record in RunFolder(out).records() if "evaluation" in record]
    assert tokens[0] <= 40
    assert tokens[-1] == held_out.scored  # the last one is whole
