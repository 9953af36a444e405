"""Rows of files: labelled as in training, findings at their rows, a part that is spread over all."""

import numpy as np
import pytest
from tests.inspection.doctor.patients import GOOD, assistant, chat, tokenizer, user, write
from tests.inspection.tokens.tokenizers_of_kinds import byte_level
from transformers import PreTrainedTokenizerFast

import lmhead
from lmhead import Reason
from lmhead.data.labelling.chat_config import ChatConfig
from lmhead.errors import ArgumentError, InputError
from lmhead.inspection.tokens.data_rows import _evenly
from lmhead.inspection.tokens.wanted import Wanted


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def files():
    return tokenizer()


def shown(tmp_path, files, data, **options):
    name = write(tmp_path / "chat.jsonl", data)
    config = options.pop("config", None)
    return lmhead.inspect(name, tokenizer=files, config=config, wanted=Wanted(**options))


def text_of(seen, row, places):
    return "".join(seen.vocabulary[int(number)].text for number in seen.rows[row].ids[places])


def test_what_is_learnt_of_a_conversation_is_the_answer_and_its_end(tmp_path, files):
    seen = shown(tmp_path, files, GOOD)
    row = seen.rows[0]
    learnt = np.flatnonzero(row.targets >= 0) + 1
    assert text_of(seen, 0, learnt) == "Reply bravo two<|im_end|>"
    assert (row.names, row.sources) == (("chat.jsonl, line 1",), ("chat.jsonl",))
    assert {span.role for span in seen.rows[1].spans} == {"system", "user", "assistant"}
    assert {Reason(value).name for value in seen.rows[1].reason} >= {"SYSTEM", "USER", "SCAFFOLD", "SCORED"}
    assert seen.header["data"] == ["chat.jsonl"]
    assert not seen.findings


@pytest.mark.parametrize(
    ("row", "learnt"),
    [
        ({"prompt": "Ask alpha", "completion": " Reply bravo"}, " Reply bravo<|im_end|>"),
        ({"instruction": "Ask", "output": "Reply"}, "Reply<|im_end|>"),
        ({"conversations": [{"from": "human", "value": "Ask"}, {"from": "gpt", "value": "Reply"}]}, "Reply<|im_end|>"),
    ],
)
def test_any_format_is_shown(tmp_path, files, row, learnt):
    seen = shown(tmp_path, files, [row])
    assert text_of(seen, 0, np.flatnonzero(seen.rows[0].targets >= 0) + 1) == learnt


def test_texts_are_learnt_whole(tmp_path, files):
    (tmp_path / "a.txt").write_text("Ask alpha one\n")
    seen = lmhead.inspect(["a.txt"], tokenizer=files)
    assert (seen.rows[0].targets[:-1] >= 0).all()


def test_a_finding_is_marked_where_its_row_is_shown(tmp_path, files):
    seen = shown(tmp_path, files, [*GOOD, GOOD[0], chat(user("Ask <|im_end|>"), assistant("Reply"))])
    assert seen["duplicate_rows"].rows == (2,)
    assert seen["control_token_in_text"].rows == (3,)
    assert seen["duplicate_rows"].spots == ((2, 0),)
    ((row, token),) = seen["control_token_in_text"].spots
    assert text_of(seen, row, slice(token, token + 3)) == "Ask <|im_end|>"


def test_rows_that_cannot_be_labelled_are_told_beside_those_that_can(tmp_path, files):
    seen = shown(tmp_path, files, [*GOOD, "{", {"messages": 5}])
    assert len(seen.rows) == 2
    assert "row_breaks_format" in seen
    assert seen.header["notes"] == ["rows that cannot be labelled, and are not shown: 2; the errors say why"]


def test_a_conversation_of_which_nothing_is_learnt_is_shown_with_the_reasons(tmp_path, files):
    seen = shown(tmp_path, files, [*GOOD, chat(user("Ask"), assistant("Reply", train=False))])
    assert len(seen.rows) == 3
    assert (seen.rows[2].targets == -100).all()
    assert {Reason(value).name for value in seen.rows[2].reason} == {"SCAFFOLD", "USER", "EXCLUDED", "END_OF_ROW"}
    found = seen["nothing_trained"]
    assert (found.places, found.rows) == (("chat.jsonl, line 3",), (2,))
    assert seen.header["notes"] == []


def test_where_no_row_can_be_labelled_the_first_says_why(tmp_path, files):
    with pytest.raises(InputError, match=r"no row of chat.jsonl can be shown: chat.jsonl, line 1"):
        shown(tmp_path, files, ["{", {"messages": 5}])


def test_options_of_labelling_are_those_of_training(tmp_path, files):
    rows = [chat(user("Ask"), assistant("Reply bravo"), user("Then"), assistant("Reply four"))]
    seen = shown(tmp_path, files, rows, config=ChatConfig(train_on="last"))
    assert text_of(seen, 0, np.flatnonzero(seen.rows[0].targets >= 0) + 1) == "Reply four<|im_end|>"
    assert int(Reason.EARLIER_TURN) in seen.rows[0].reason


def many(count):
    return [chat(user(f"Ask {number}"), assistant("Reply bravo " * (1 + number % 3))) for number in range(count)]


def test_some_rows_are_spread_over_all_and_said_so(tmp_path, files):
    seen = shown(tmp_path, files, many(60), rows=6)
    numbers = [int(row.names[0].rpartition(" ")[2]) for row in seen.rows]
    assert numbers == sorted(numbers)
    assert max(numbers) > 30 > min(numbers)
    assert "6 of 60 rows are labelled, spread over all" in seen.header["notes"]


def test_rows_by_their_number(tmp_path, files):
    seen = shown(tmp_path, files, many(9), numbers=(7, 2))
    assert [row.names[0] for row in seen.rows] == ["chat.jsonl, line 2", "chat.jsonl, line 7"]
    with pytest.raises(InputError, match="row must name rows of the data, got 99"):
        shown(tmp_path, files, many(9), numbers=(99,))


def test_as_many_tokens_are_shown_as_there_is_room_for_those_with_findings_first(tmp_path, files):
    rows = [*many(40), GOOD[0], GOOD[0]]  # a duplicate at the end
    seen = shown(tmp_path, files, rows, tokens=120)
    assert seen.tokens <= 120
    assert seen.rows[seen["duplicate_rows"].rows[0]].names == ("chat.jsonl, line 42",)
    assert len(seen.rows) > 2
    assert "those first in which something is found" in seen.header["notes"][0]


def test_long_texts_are_shown_to_their_first_tokens(tmp_path, files):
    for number in range(4):
        (tmp_path / f"{number}.txt").write_text("Ask alpha one two three\n" * 200)
    seen = lmhead.inspect([f"{number}.txt" for number in range(4)], tokenizer=files, wanted=Wanted(tokens=1200))
    assert [len(row.ids) for row in seen.rows] == [300] * 4
    assert "texts are shown to their first 300 tokens" in seen.header["notes"][-1]


def test_order_of_picking_is_spread_however_early_it_ends():
    order = _evenly(range(100, 108))
    assert sorted(order) == list(range(100, 108))
    assert [number - 100 for number in order[:4]] == [0, 4, 2, 6]


def test_packed_as_training_packs(tmp_path, files):
    seen = shown(tmp_path, files, many(8), length=64, packed=True)
    assert all(len(row.ids) == 64 for row in seen.rows)
    assert sorted(name for row in seen.rows for name in row.names) == sorted(
        f"chat.jsonl, line {number}" for number in range(1, 9)
    )
    assert seen.rows[0].sources == ("chat.jsonl",) * len(seen.rows[0].names)
    assert "assistant" in {span.role for span in seen.rows[0].spans}


def test_what_a_length_would_cut_is_told_where_one_is_given(tmp_path, files):
    assert "too_long" in shown(tmp_path, files, GOOD, length=8)
    assert "too_long" not in shown(tmp_path, files, GOOD)


def test_rows_of_ids_are_shown_with_what_training_refuses(tmp_path):
    rows = [{"input_ids": [5, 6, 7], "labels": [6, 7, -100]}, {"input_ids": [5, 6, 7, 8], "labels": [6, 7, 8, -100]}]
    seen = lmhead.inspect(write(tmp_path / "ids.jsonl", rows))
    assert seen["labels_already_shifted"].rows == (0, 1)
    assert [row.names for row in seen.rows] == [("ids.jsonl, line 1",), ("ids.jsonl, line 2",)]


def test_packed_rows_of_ids_have_their_documents(tmp_path):
    rows = [{"input_ids": [5, 6, 7, 8], "labels": [5, 6, -100, 8], "seq_lengths": [2, 2]}]
    seen = lmhead.inspect(write(tmp_path / "ids.jsonl", rows))
    assert seen.rows[0].document.tolist() == [0, 0, 1, 1]
    assert [Reason(value).name for value in seen.rows[0].reason][1] == "DOCUMENT_BOUNDARY"


@pytest.mark.parametrize(
    ("row", "targets"),
    [
        ({"input_ids": [5, 6, 7]}, [6, 7, -100]),
        ({"input_ids": [5, 6, 0], "attention_mask": [1, 1, 0]}, [6, -100, -100]),
        ({"input_ids": [5, 6, 7], "loss_mask": [0, 0, 1]}, [-100, 7, -100]),
        ({"input_ids": [5, 6, 7], "loss_mask": [0, 1, 1], "labels": [5, -100, 7]}, [-100, 7, -100]),
    ],
)
def test_what_is_learnt_of_ids_is_told_by_labels_and_masks(tmp_path, row, targets):
    assert lmhead.inspect(write(tmp_path / "ids.jsonl", [row])).rows[0].targets.tolist() == targets


def test_a_row_of_ids_whose_columns_do_not_fit_is_named(tmp_path):
    rows = [{"input_ids": [5, 6], "labels": [5, 6]}, {"input_ids": [5, 6], "labels": [5]}]
    with pytest.raises(InputError, match=r"ids\.jsonl, line 2: labels must have as many tokens"):
        lmhead.inspect(write(tmp_path / "ids.jsonl", rows))


def test_a_mask_that_does_not_fit_is_named(tmp_path):
    with pytest.raises(ArgumentError, match=r"ids\.jsonl, line 1: loss_mask must have 2 entries, as labels, got 1"):
        lmhead.inspect(write(tmp_path / "ids.jsonl", [{"input_ids": [5, 6], "loss_mask": [1]}]))


def test_a_tokenizer_may_be_an_object_of_transformers(tmp_path, files):
    name = write(tmp_path / "chat.jsonl", GOOD)
    made = PreTrainedTokenizerFast(
        tokenizer_object=files.backend(), chat_template=files.chat_template, **files.special_tokens
    )
    one, other = lmhead.inspect(name, tokenizer=made), lmhead.inspect(name, tokenizer=files)
    assert [line for line in one.lines() if "ids" in line] == [line for line in other.lines() if "ids" in line]


def test_a_tokenizer_of_tokenizers_has_the_built_in_template(tmp_path, files):
    backend = byte_level()
    seen = lmhead.inspect(write(tmp_path / "chat.jsonl", GOOD), tokenizer=backend)
    assert text_of(seen, 0, slice(0, 1)) == "<|im_start|>"
    assert seen.header["tokenizer"]["vocab_size"] > backend.get_vocab_size()
    assert "the chat template adds <|im_start|>, <|im_end|> to the tokenizer" in seen.header["notes"][0]
    with pytest.raises(InputError, match=r"ids must be in the vocabulary of GPT, \[0, 281\)"):
        lmhead.inspect("chat.jsonl", lmhead.GPT(281, 8, 2, 1), tokenizer=backend)


def test_what_a_template_would_add_is_not_told_of_texts(tmp_path):
    (tmp_path / "a.txt").write_text("Ask alpha one\n")
    backend = byte_level()
    backend.add_special_tokens(["<|endoftext|>"])
    seen = lmhead.inspect("a.txt", tokenizer=backend)
    assert seen.header["notes"] == []


def test_text_needs_a_tokenizer(tmp_path):
    with pytest.raises(InputError, match="tokenizer must be given for rows that are no ids"):
        lmhead.inspect(write(tmp_path / "chat.jsonl", GOOD))


@pytest.mark.parametrize(
    ("options", "rule"),
    [({"rows": 0}, "rows must be >= 1"), ({"tokens": 1}, "tokens must be >= 2"), ({"packed": True}, "length must be")],
)
def test_options_break_their_rules_in_one_line(options, rule):
    with pytest.raises(ArgumentError, match=rule):
        Wanted(**options)
