"""Inspection: its record, its page, its table and its text; hostile text stays text in all of them."""

import json

import numpy as np
import pytest
import torch
from tests.inspection.tokens.tokenizers_of_kinds import byte_level

import lmhead
from lmhead import Example
from lmhead.errors import ArgumentError, InputError
from lmhead.inspection.tokens.read_inspection import is_record, read_inspection
from lmhead.inspection.tokens.row_table import reason_in_words
from lmhead.record.record import read_record
from lmhead.report.reason_words import REASON_WORDS
from lmhead.shown import shown

HOSTILE = "\x1b]0;X\x07\x1b[2J\x9b2J\u202ev\u2066\x85\u2028</script><script>alert(1)</script>"


def gpt(backend, seed=0):
    torch.manual_seed(seed)
    return lmhead.GPT(backend.get_vocab_size(), 16, 2, 1, 256).eval()


def batch(backend, text="the end of é\n", answer=3):
    ids = backend.encode(text).ids
    return {"input_ids": [ids], "labels": [[-100] * (len(ids) - answer) + ids[-answer:]]}


@pytest.fixture(scope="module")
def backend():
    return byte_level(400)


@pytest.fixture
def seen(backend):
    return lmhead.inspect(batch(backend), gpt(backend), tokenizer=backend, against=gpt(backend, 1))


def same(one, other):
    return one is other or ((one is None) == (other is None) and np.allclose(one, other, rtol=1e-6, equal_nan=True))


def test_a_record_holds_everything(seen, tmp_path):
    record = read_record(seen.record(tmp_path / "rows.jsonl"))
    (kept,), (row,) = record.rows, seen.rows
    for name in ("ids", "targets", "reason", "weight", "document", "position"):
        assert same(getattr(kept, name), getattr(row, name)), name
    for mine, theirs in ((row.scores, kept.scores), (row.against, kept.against)):
        for name in ("nll", "rank", "entropy", "top_ids", "top_logprobs"):
            assert same(getattr(mine, name), getattr(theirs, name)), name
    assert record.vocabulary == seen.vocabulary
    assert record.header == seen.header
    assert record.damage is None


def test_every_id_of_a_record_has_its_text(seen):
    numbers = set(seen.rows[0].ids.tolist()) | set(seen.rows[0].scores.top_ids.ravel().tolist()) - {-1}
    assert numbers <= seen.vocabulary.keys()


def test_a_finding_in_a_record_stands_at_its_tokens(backend):
    ids = backend.encode("the end").ids
    made = lmhead.inspect({"input_ids": [ids], "labels": [[*ids[1:], -100]]}, tokenizer=backend)
    findings = [line["finding"] for line in made.lines() if "finding" in line]
    assert findings[0]["code"] == "labels_already_shifted"
    assert findings[0]["spots"] == [[0, place] for place in range(len(ids) - 1)]
    assert findings[0]["remedy"]


def test_a_record_that_is_read_back_is_the_same(seen, tmp_path):
    file = seen.record(tmp_path / "rows.jsonl")
    assert is_record(str(file))
    again = read_inspection(file)
    assert (again.scored, again.tokens, again.summary()) == (seen.scored, seen.tokens, seen.summary())
    assert list(again.lines())[1:] == list(seen.lines())[1:]


def test_a_record_that_is_cut_off_shows_its_whole_lines_and_says_so(seen, tmp_path):
    file = seen.record(tmp_path / "rows.jsonl")
    file.write_text(file.read_text() + '{"ids": [1, 2')
    assert read_inspection(file).header["notes"] == [
        "rows.jsonl: its last line, line 4, is cut off; the others are shown"
    ]


def test_a_record_of_another_version_is_refused(seen, tmp_path):
    file = seen.record(tmp_path / "rows.jsonl")
    file.write_text(file.read_text().replace('"record": 1', '"record": 2', 1))
    with pytest.raises(InputError, match="must be of version 1, got 2"):
        read_inspection(file)


def test_a_record_without_rows_is_refused(tmp_path):
    file = tmp_path / "log.jsonl"
    file.write_text('{"record": 1}\n{"step": 1, "loss": 2.0}\n')
    with pytest.raises(InputError, match="must hold rows of tokens, got a record of 1 steps"):
        read_inspection(file)


def test_a_page_is_written_and_written_anew(seen, tmp_path):
    file = tmp_path / "page.html"
    for _ in range(2):
        assert seen.save(file) == file
    assert file.read_text().startswith("<!doctype html>")
    assert [each.name for each in tmp_path.iterdir()] == ["page.html"]


def test_nobodys_data_is_written_over(seen, tmp_path):
    file = tmp_path / "chat.jsonl"
    file.write_text('{"messages": []}\n')
    with pytest.raises(ArgumentError, match="the page must be a new file"):
        seen.save(file)
    assert file.read_text() == '{"messages": []}\n'


def test_a_page_that_cannot_be_written_is_told_in_one_line(seen, tmp_path):
    with pytest.raises(InputError, match=r"cannot write .*page\.html: No such file"):
        seen.save(tmp_path / "none" / "page.html")


def test_in_a_notebook_it_is_the_page_in_a_frame_that_reaches_nothing(seen):
    html = seen._repr_html_()
    assert html.startswith("<iframe srcdoc=")
    assert 'sandbox="allow-scripts"' in html
    assert "<script" not in html  # all of it is escaped


def test_the_table_has_position_token_id_target_loss_and_reason(seen):
    lines = seen.table().splitlines()
    assert lines[0].split()[:6] == ["position", "token", "id", "target", "target", "id"]
    assert lines[0].endswith("learns, or why not")
    assert len(lines) == 1 + len(seen.rows[0].ids)
    assert sum(line.endswith("learns") for line in lines) == seen.scored == 3
    assert f"{seen.rows[0].scores.nll[0]:.4f}" in lines[1]
    assert f"{seen.rows[0].against.nll[0]:.4f}" in lines[1]
    with pytest.raises(ArgumentError, match=r"row must be in \[0, 1\), got 4"):
        seen.table(4)


def test_without_colour_what_is_learnt_stands_in_marks(backend):
    text = lmhead.inspect(batch(backend, "the end of it", 1), tokenizer=backend).text()
    assert "[first]th[ignored]e end of i«t»" in text
    assert "\x1b" not in text


@pytest.mark.parametrize("left", [False, True])
def test_padding_is_counted_and_not_written_out(backend, left):
    ids, padding, ignored = backend.encode("the end").ids, [0] * 40, [-100] * 40
    row, labels = (padding + ids, ignored + ids) if left else (ids + padding, ids + ignored)
    mask = [0] * 40 + [1] * len(ids) if left else [1] * len(ids) + [0] * 40
    seen = lmhead.inspect({"input_ids": [row], "attention_mask": [mask], "labels": [labels]}, tokenizer=backend)
    assert f"[padding]{backend.decode([0])} \u00d7 40" in str(seen)


def test_padding_that_is_learnt_is_counted_as_tokens_are(backend):
    ids = backend.encode("the end").ids
    row, mask = ids + [0] * 40, [1] * len(ids) + [0] * 40
    seen = lmhead.inspect({"input_ids": [row], "attention_mask": [mask], "labels": [row]}, tokenizer=backend)
    assert seen.summary().startswith(f"1 row, {len(row)} tokens, {len(row) - 1} scored (98%)")


def test_words_of_the_table_are_those_of_the_page():
    differ = [number for number, words in REASON_WORDS.items() if reason_in_words(number) != words.name]
    assert differ == [0, 3]  # the table tells of the position before


def test_with_colour_each_loss_has_its_own_and_nothing_else_is_sent(seen):
    text = seen.text(colour=True)
    assert text.count("\x1b[48;2;") > 7  # the legend, and tokens
    assert text.replace("\x1b[", "").count("\x1b") == 0


@pytest.mark.parametrize("colour", [False, True])
def test_hostile_text_does_nothing_in_a_terminal(backend, colour):
    ids = backend.encode(HOSTILE).ids
    made = lmhead.inspect([Example.of(ids, trained=[True] * len(ids))], tokenizer=backend, title=HOSTILE)
    text = made.text(colour=colour)
    for paint in {part.partition("m")[0] for part in text.split("\x1b[")[1:]} if colour else ():
        assert set(paint) <= set("0123456789;")
        text = text.replace(f"\x1b[{paint}m", "")
    assert text == shown(text)
    assert made.table() == shown(made.table())


def test_split_characters_are_whole_in_the_text_and_bytes_in_the_table():
    backend = byte_level(257, "")
    made = lmhead.inspect(batch(backend, "xé\U0001f600!", 7), tokenizer=backend)
    assert "«é\U0001f600!»" in made.text()
    assert "⟨c3⟩" in made.table()


def test_a_character_whose_rest_is_missing_is_bytes():
    backend = byte_level(257, "")
    ids = backend.encode("é").ids[:1] + backend.encode("x").ids
    text = lmhead.inspect({"input_ids": [ids], "labels": [ids]}, tokenizer=backend).text()
    assert "⟨c3⟩" in text


@pytest.mark.parametrize(
    "data",
    [
        Example.of([5, 6, 7], trained=[True] * 3).targets(),
        {"input_ids": [[-1, 99_999_999]], "labels": [[-7, -200]]},
        {"input_ids": [[5, 6, 7]], "labels": [[5, 6, 7]], "position_ids": [[-1, 0, 1]]},
        {"input_ids": [[], [5]], "labels": [[], [5]]},
        {"input_ids": [], "labels": []},
        {"input_ids": torch.tensor([[5, 6]]), "targets": torch.tensor([[-7, 6]])},
    ],
    ids=[
        "targets alone",
        "ids that are none",
        "negative positions",
        "an empty row",
        "no rows",
        "targets that are none",
    ],
)
def test_whatever_a_batch_holds_has_a_page_and_a_record(data, backend, tmp_path):
    seen = lmhead.inspect(data, tokenizer=backend)
    assert seen.page().startswith("<!doctype html>")
    record = read_record(seen.record(tmp_path / "rows.jsonl"))
    assert (len(record.rows), record.damage) == (len(seen.rows), None)


def test_what_shows_itself_is_bounded(backend):
    ids = backend.encode("the end ").ids * 500
    made = lmhead.inspect({"input_ids": [ids, ids], "labels": [ids, ids]}, tokenizer=backend)
    assert len(repr(made)) < 5_000
    assert "more tokens of this row" in repr(made)
    assert "and 1 more rows" in repr(made)


def test_a_tokenizer_that_does_not_fit_the_model_is_refused_with_both_sizes(backend):
    with pytest.raises(InputError, match=r"got Tokenizer with [\d,]+ ids for GPT, which has a vocabulary of 100"):
        lmhead.inspect({"input_ids": [[1]]}, lmhead.GPT(100, 8, 2, 1), tokenizer=backend)


def test_without_a_tokenizer_ids_are_shown_as_numbers():
    assert "[7]" in lmhead.inspect({"input_ids": [[6, 7]], "labels": [[6, 7]]}).text()


def test_findings_are_asked_for_by_their_code(backend):
    made = lmhead.inspect({"input_ids": [[1, 2]]}, tokenizer=backend)
    assert "no_labels" in made
    assert not made.ok
    assert json.loads(json.dumps(made.to_dict()))["findings"][0]["code"] == "no_labels"
