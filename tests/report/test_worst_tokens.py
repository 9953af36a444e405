"""The worst tokens: by their loss, scored ones alone, with the text around them."""

import numpy as np
import pytest
from tests.browser.run_logs import token_lines

from lmhead.record.record import Record
from lmhead.record.vocabulary import Piece
from lmhead.report.worst_tokens import text_of, worst_tokens

PIECES = {
    1: Piece(kind="text", text="The"),
    2: Piece(kind="bytes", text="e29c"),
    3: Piece(kind="bytes", text="85"),
    4: Piece(kind="control", text="<|end|>"),
    5: Piece(kind="bytes", text="no hex"),
    6: Piece(kind="text", text="\ud800"),
}


@pytest.mark.parametrize(
    ("ids", "text"),
    [
        ([1, 4], "The<|end|>"),
        ([2, 3], "✅"),
        ([2], "\\xe2\\x9c"),
        ([9, 1], "<9>The"),
        ([5], "no hex"),
        ([6], "\\xed\\xa0\\x80"),
        ([], ""),
    ],
)
def test_ids_become_the_text_that_they_stand_for(ids: list[int], text: str) -> None:
    assert text_of(ids, PIECES) == text


def test_the_worst_come_first_each_with_its_place() -> None:
    record = Record.of_lines(token_lines())
    worst = worst_tokens(record)
    losses = [each["nll"] for each in worst]
    assert losses == sorted(losses, reverse=True)
    first = worst[0]
    row = record.rows[first["row"]]
    assert row.scores is not None
    assert first["nll"] == row.scores.nll.max()
    assert first["at"] == int(row.scores.nll.argmax()) + 1
    assert first["target"] == record.vocabulary[int(row.targets[first["at"] - 1])].text
    assert first["name"].startswith("asyncio/tasks.py, line")
    assert first["top"][0] == [" dog", pytest.approx(np.exp(-0.4))]
    assert max(sum(each["row"] == number for each in worst) for number in range(2)) == 8


def test_what_is_not_scored_is_not_among_them() -> None:
    lines = token_lines()
    for row in lines[2:]:
        worst = row["nll"].index(max(row["nll"]))
        row["targets"][worst], row["reason"][worst] = -100, 1
        row["nll"][worst + 1 - 2 * (worst > 3)] = None
    record = Record.of_lines(lines)
    scored = [row.scores.nll[row.targets >= 0] for row in record.rows if row.scores is not None]
    assert worst_tokens(record)[0]["nll"] == max(np.nanmax(each) for each in scored)


def test_rows_that_no_model_has_scored_have_none() -> None:
    lines = token_lines()
    for row in lines[2:]:
        for name in ("nll", "rank", "entropy", "top_ids", "top_logprobs"):
            del row[name]
    assert worst_tokens(Record.of_lines(lines)) == []


def test_of_another_document_nothing_is_shown_around_a_token() -> None:
    lines = token_lines()[:3]
    count = len(lines[2]["ids"])
    lines[2] |= {"document": [0] * 6 + [1] * (count - 6), "names": ["a", "b"], "sources": ["a", "b"]}
    for each in worst_tokens(Record.of_lines(lines)):
        assert each["name"] == ("a" if each["at"] <= 6 else "b")
        assert ("The" in each["before"]) == (each["at"] <= 6)
