"""A row of tokens comes back as it was written; columns that contradict each other are refused, nothing is guessed."""

from typing import Any

import numpy as np
import pytest
from tests.record.rows import AGAINST, OTHER, ROW

from lmhead.errors import InputError
from lmhead.labels.targets import Reason
from lmhead.record.token_column import COLUMNS, REASONS
from lmhead.record.token_row import OtherSpan, Span, TokenRow, TokenScores


def refusal(**changes: Any) -> str:
    with pytest.raises(InputError) as refused:
        TokenRow.of_line({**ROW, **changes})
    assert "\n" not in str(refused.value)
    return str(refused.value)


@pytest.mark.parametrize("against", [{}, {"against": AGAINST}, {"against": OTHER}])
def test_a_row_comes_back_as_it_was_written(against: dict[str, Any]) -> None:
    assert TokenRow.of_line({**ROW, **against}).line() == {**ROW, **against}


def test_a_row_of_three_columns_is_enough() -> None:
    row = TokenRow.of_line({name: ROW[name] for name in ("ids", "targets", "reason")})
    assert (row.weight, row.document, row.position, row.scores, row.against) == (None,) * 5
    assert (row.spans, row.names, row.sources) == ((), (), ())


def test_columns_have_their_kinds() -> None:
    row = TokenRow.of_line({**ROW, "weight": [0, 1, 2, 0], "against": OTHER})
    assert {name: getattr(row, name).dtype for name in ("ids", "reason", "weight", "document")} == {
        "ids": np.int64,
        "reason": np.uint8,
        "weight": np.float32,
        "document": np.int64,
    }
    assert isinstance(row.scores, TokenScores)
    assert row.scores.top_logprobs is not None
    assert row.scores.top_logprobs.shape == (4, 2)
    assert np.isnan(row.scores.nll).tolist() == [False, False, False, True]
    assert row.spans[1] == Span(start=2, stop=4, role="assistant")
    assert isinstance(row.against, tuple)
    assert row.against[0] == OtherSpan(start=0, stop=1, nll=1.5, text="a|b")
    assert np.isnan(row.against[1].nll)


def test_an_empty_row_is_one() -> None:
    row = TokenRow.of_line({"ids": [], "targets": [], "reason": [], "nll": [], "top_ids": [], "top_logprobs": []})
    assert row.line() == {"ids": [], "targets": [], "reason": [], "nll": [], "top_ids": [], "top_logprobs": []}


def test_the_reasons_are_the_library_s() -> None:
    assert set(map(int, Reason)) == REASONS


@pytest.mark.parametrize("name", sorted(COLUMNS))
@pytest.mark.parametrize(
    "values", [None, 5, "1234", {"0": 1}, ["1", "2", "3", "4"], [True] * 4, [1, 2, 3, {}], [[[1]]] * 4, [10**400] * 4]
)
def test_a_column_that_is_no_list_of_numbers_is_refused(name: str, values: object) -> None:
    assert refusal(**{name: values}).startswith(f'"{name}" of a row of a record must be a list of ')


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("ids", [1.0, 2.0, 3.0, 4.0]),
        ("ids", [1, None, 3, 4]),
        ("ids", [1, 2, 3, 2**60]),
        ("targets", [-1, 7, 8, -100]),
        ("reason", [17, 0, 0, 7]),
        ("reason", [17, 0, 0, -1]),
        ("reason", [17, 0, 0, 300]),
        ("weight", [0.0, -1.0, 1.0, 0.0]),
        ("weight", [0.0, float("nan"), 1.0, 0.0]),
        ("weight", [0.0, float("inf"), 1.0, 0.0]),
        ("document", [-2, 0, 0, 0]),
        ("position", [0, 1, 2, -1]),
        ("rank", [1, 2, 3, None]),
        ("rank", [1, 2, 3, 0.5]),
        ("top_ids", [[1], [2], [3, 4], [5]]),
        ("top_ids", [1, 2, 3, 4]),
        ("top_logprobs", [[-1.0], [], [-1.0], [-1.0]]),
    ],
)
def test_numbers_that_a_column_cannot_have_are_refused(name: str, values: object) -> None:
    assert refusal(**{name: values}).startswith(f'"{name}" of a row of a record must be a list of ')


@pytest.mark.parametrize("name", sorted(set(COLUMNS) - {"ids", "top_ids", "top_logprobs"}))
def test_columns_are_as_long_as_the_ids(name: str) -> None:
    assert refusal(**{name: ROW[name][:3]}) == (
        f'"{name}" of a row of a record must have as many entries as its ids, 4, got 3'
    )


@pytest.mark.parametrize(
    "changes", [{"top_ids": [[1], [7], [8], [-1]]}, {"top_ids": []}, {"against": {**AGAINST, "top_ids": [[1]] * 4}}]
)
def test_alternatives_come_with_their_probabilities(changes: dict[str, Any]) -> None:
    said = refusal(**changes)
    assert '"top_ids"' in said
    assert "\n" not in said


def test_what_is_scored_is_said_twice_alike() -> None:
    assert refusal(targets=[-100, 7, 8, 9]) == (
        '"targets" of a row of a record must be -100 where its "reason" is not 0, and there alone, got 9 beside 2 at '
        "position 3"
    )
    assert refusal(reason=[17, 0, 1, 2]).endswith("got 8 beside 1 at position 2")
    assert refusal(reason=[0, 0, 0, 2]).endswith("got -100 beside 0 at position 0")


@pytest.mark.parametrize(
    "spans",
    [
        "user",
        [[0, 2]],
        [["user", 0, 2]],
        [[0, 2, None]],
        [[2, 2, "user"]],
        [[0, 5, "user"]],
        [[-1, 2, "user"]],
        [[0, 2.0, "user"]],
        [[False, True, "user"]],
        [5],
    ],
)
def test_spans_lie_in_the_row(spans: object) -> None:
    assert refusal(spans=spans) == (
        '"spans" of a row of a record must be a list of [start, stop, role], 0 <= start < stop <= 4'
    )


@pytest.mark.parametrize("span", [[0, 1, "1.5", "a"], [0, 1, 1.5], [0, 1, True, "a"], [0, 1, 1.5, 5]])
def test_spans_of_another_tokenizer_lie_in_the_row(span: object) -> None:
    assert "must be a list of [start, stop, nll, text]" in refusal(against={"spans": [span]})


@pytest.mark.parametrize("against", [[], 5, "gpt2"])
def test_what_the_other_model_makes_of_it_is_an_object(against: object) -> None:
    assert refusal(against=against).startswith('"against" of a row of a record must be an object, got ')


@pytest.mark.parametrize("name", ["names", "sources"])
def test_documents_are_all_named_or_none_is(name: str) -> None:
    assert refusal(document=[0, 0, 1, 1]) == '"names" of a row of a record must name all 2 documents, got 1'
    assert refusal(**{name: [5]}) == f'"{name}" of a row of a record must be a list of texts'
    TokenRow.of_line({**ROW, name: []})
    TokenRow.of_line({**ROW, "document": [-1, -1, -1, -1]})
