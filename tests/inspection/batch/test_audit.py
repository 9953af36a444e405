"""Each thing that can be wrong with a batch is found, named and counted; a batch that is right has no finding."""

import json
from itertools import chain

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import lmhead
from lmhead.errors import ArgumentError, ArgumentTypeError
from lmhead.inspection.batch.audit import audit
from lmhead.labels.example import Example
from lmhead.labels.packing.packed_rows import pack

X = -100
BOS, EOS, PAD = 1, 2, 0


class Tokenizer:
    """What is read of a transformers tokenizer."""

    bos_token_id, eos_token_id, pad_token_id = BOS, EOS, PAD

    def __len__(self) -> int:
        return 50


class PadIsEnd(Tokenizer):
    pad_token_id = EOS


def codes(report) -> list[str]:
    return [finding.code for finding in report.findings]


def chat(**changes):
    """Two conversations, padded, that are as they should be."""
    batch = {
        "input_ids": [[BOS, 10, 11, 12, 13, EOS], [BOS, 14, 15, EOS, PAD, PAD]],
        "labels": [[X, X, X, 12, 13, EOS], [X, X, 15, EOS, X, X]],
        "attention_mask": [[1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 0, 0]],
    }
    return {**batch, **changes}


def packed(**changes):
    """Two documents in a row, that are as they should be."""
    batch = {
        "input_ids": [[BOS, 10, 11, EOS, BOS, 12, EOS]],
        "labels": [[X, X, 11, EOS, X, 12, EOS]],
        "position_ids": [[0, 1, 2, 3, 0, 1, 2]],
    }
    return {**batch, **changes}


@pytest.mark.parametrize("batch", [chat(), packed(), packed(cu_seqlens=[0, 4, 7])])
@pytest.mark.parametrize("kind", [list, np.array, torch.tensor])
def test_a_right_batch_has_no_finding(batch, kind):
    report = audit({name: kind(value) for name, value in batch.items()}, Tokenizer())
    assert codes(report) == []
    assert report.ok
    assert str(report).endswith("nothing wrong found")


def test_counts_are_of_tokens_and_of_what_a_shifting_model_scores():
    report = audit(chat(labels=[[BOS, X, X, 12, 13, EOS], [X, X, 15, EOS, X, X]]))
    assert (report.rows, report.tokens, report.scored) == (2, 10, 5)


def test_shifted_labels_are_found_and_hide_what_depends_on_their_place():
    batch = packed(labels=[[10, 11, EOS, BOS, 12, EOS, X]])
    report = audit(batch, Tokenizer())
    assert codes(report) == ["labels_already_shifted"]
    assert not report.ok
    assert report.findings[0].count == 6
    assert "labels[t] == input_ids[t]" in str(report)


def test_a_text_of_one_token_repeated_is_not_called_shifted():
    assert codes(audit({"input_ids": [[7] * 9], "labels": [[7] * 9]})) == ["everything_trained"]


def test_nothing_trained_in_a_row_or_in_the_batch():
    some = audit(chat(labels=[[X] * 6, [X, X, 15, EOS, X, X]]))
    assert [(f.code, f.severity, f.count, f.rows) for f in some.findings] == [
        ("row_without_labels", "warning", 1, (0,))
    ]
    none = audit(chat(labels=[[X] * 6, [14] + [X] * 5]))
    assert "nothing_trained" in none
    assert none["nothing_trained"].severity == "error"
    assert not none.ok
    with pytest.raises(KeyError, match="double_bos"):
        none["double_bos"]


def test_a_label_at_the_first_position_alone_is_not_scored():
    assert "nothing_trained" in audit({"input_ids": [5, 6, 7], "labels": [5, X, X]})


def test_trained_padding_is_found_by_the_mask():
    report = audit(chat(labels=[[X, X, X, 12, 13, EOS], [X, X, 15, EOS, PAD, PAD]]))
    assert [(f.code, f.count, f.rows) for f in report.findings] == [("padding_trained", 2, (1,))]


def test_a_first_token_that_padding_predicts_is_found():
    batch = {"input_ids": [[0, 0, 5, 6, 7]], "attention_mask": [[0, 0, 1, 1, 1]]}
    report = audit({**batch, "labels": [[X, X, 5, 6, X]]})
    assert [(f.code, f.count, f.spots) for f in report.findings] == [("first_predicted_from_padding", 1, ((0, 2),))]
    assert codes(audit({**batch, "labels": [[X, X, X, 6, 7]]})) == []
    right = {"input_ids": [[5, 6, 7, 0, 0]], "attention_mask": [[1, 1, 1, 0, 0]], "labels": [[5, 6, 7, X, X]]}
    assert "first_predicted_from_padding" not in audit(right)


def test_trained_padding_is_found_by_its_id_where_there_is_no_mask():
    labels = [[X, X, X, 12, 13, EOS], [X, X, 15, EOS, PAD, PAD]]
    batch = {"input_ids": chat()["input_ids"], "labels": labels}
    assert codes(audit(batch, Tokenizer())) == ["padding_trained"]
    assert codes(audit(batch)) == []


def test_everything_trained_says_when_padding_is_too():
    ids = chat()["input_ids"]
    report = audit(chat(labels=ids), Tokenizer())
    assert codes(report) == ["padding_trained", "everything_trained"]
    assert "every position of the batch is trained" in report.errors[0].message
    assert codes(audit({"input_ids": [[5, 6, 7]], "labels": [[5, 6, 7]]})) == ["everything_trained"]


def answered(count, *, whole=(), T=8):
    """Conversations whose second half is trained, but for those that lost their mask."""
    ids = [[BOS, *(10 + row + t for t in range(1, T))] for row in range(count)]
    return {"input_ids": ids, "labels": [r if n in whole else [X] * (T // 2) + r[T // 2 :] for n, r in enumerate(ids)]}


def test_a_conversation_that_lost_its_mask_is_found_among_others():
    (finding,) = audit(answered(20, whole=[7, 13])).findings
    assert (finding.code, finding.severity, finding.count, finding.rows) == ("mask_lost", "warning", 2, (7, 13))
    assert finding.spots == ((7, 0), (13, 0))


def test_a_document_that_lost_its_mask_is_found_in_a_packed_row():
    batch = answered(12, whole=[4])
    rows = {name: [list(chain(*value[n : n + 3])) for n in range(0, 12, 3)] for name, value in batch.items()}
    rows["position_ids"] = [[*range(8)] * 3] * 4
    for row in rows["labels"]:
        row[8] = row[16] = X  # the first token of a document is never scored
    (finding,) = audit(rows).findings
    assert (finding.code, finding.count, finding.spots) == ("mask_lost", 1, ((1, 8),))


@pytest.mark.parametrize("whole", [[], range(5), range(20)])
def test_texts_among_conversations_are_no_lost_masks(whole):
    assert "mask_lost" not in audit(answered(20, whole=whole))


def test_pieces_that_are_all_answer_have_lost_no_mask():
    batch = answered(20)
    batch["input_ids"] += [[30, 31, 32, 33, 34, 35]] * 2
    batch["labels"] += [[30, 31, 32, 33, 34, 35]] * 2
    assert "mask_lost" not in audit(batch)


def test_a_short_document_that_is_all_answer_has_lost_no_mask():
    batch = answered(20)
    batch["input_ids"].append([BOS, 6, 7])
    batch["labels"].append([BOS, 6, 7])
    assert "mask_lost" not in audit(batch)


def test_of_several_trained_ends_the_first_is_the_texts_where_padding_is_the_end():
    batch = {"input_ids": [[BOS, 10, EOS, EOS, EOS]], "labels": [[X, 10, EOS, EOS, EOS]]}
    (finding,) = audit(batch, PadIsEnd()).errors
    assert (finding.code, finding.count) == ("padding_trained", 2)


def test_a_mask_that_hides_a_trained_end_is_found():
    batch = {
        "input_ids": [[BOS, 10, 11, EOS, EOS, EOS]],
        "labels": [[X, X, 11, EOS, X, X]],
        "attention_mask": [[1, 1, 1, 0, 0, 0]],
    }
    assert codes(audit(batch, PadIsEnd())) == ["end_hidden_by_mask"]


def test_an_end_that_is_never_trained_is_found():
    batch = chat(labels=[[X, X, X, 12, 13, X], [X, X, 15, X, X, X]])
    assert [(f.code, f.severity, f.count) for f in audit(batch, Tokenizer()).findings] == [
        ("end_not_trained", "warning", 2)
    ]
    (finding,) = audit(batch, PadIsEnd()).findings
    assert finding.severity == "error"
    assert "padding has the same id" in finding.message


@pytest.mark.parametrize(
    "told",
    [
        {},
        {"position_ids": None, "cu_seqlens": [0, 4, 7]},
        {"position_ids": None, "attention_mask": [[1, 1, 1, 1, 2, 2, 2]]},
        {"position_ids": None, "document": [[0, 0, 0, 0, 1, 1, 1]]},
    ],
)
def test_a_scored_boundary_is_found_however_documents_are_told(told):
    report = audit(packed(labels=[[X, X, 11, EOS, BOS, 12, EOS]], **told), Tokenizer())
    (finding,) = report.errors
    assert (finding.code, finding.count, finding.rows) == ("boundary_scored", 1, (0,))


def test_a_boundary_that_only_a_bos_tells_is_a_warning():
    report = audit(packed(labels=[[X, X, 11, EOS, BOS, 12, EOS]], position_ids=None), Tokenizer())
    assert codes(report) == ["positions_do_not_restart", "boundary_scored"]
    assert report.ok
    assert "by a beginning-of-sequence token" in report.warnings[1].message


def test_positions_that_count_on_are_found():
    counting = [[0, 1, 2, 3, 4, 5, 6]]
    (error,) = audit(packed(position_ids=counting, cu_seqlens=[0, 4, 7])).findings
    assert (error.code, error.severity, error.count) == ("positions_do_not_restart", "error", 1)
    (warning,) = audit(packed(position_ids=counting), Tokenizer()).findings
    assert (warning.code, warning.severity) == ("positions_do_not_restart", "warning")
    (missing,) = audit(packed(position_ids=None, cu_seqlens=[0, 4, 7])).findings
    assert (missing.code, missing.severity) == ("no_position_ids", "warning")


def test_a_flat_mask_beside_packed_rows_is_found():
    assert codes(audit(packed(attention_mask=[[1] * 7]), Tokenizer())) == ["mask_beside_packing"]


def test_labels_that_are_other_tokens_are_found():
    (finding,) = audit(chat(labels=[[X, X, X, 11, 12, 13], [X, X, 15, EOS, X, X]]), Tokenizer()).errors
    assert (finding.code, finding.count, finding.rows) == ("labels_are_not_input_ids", 3, (0,))


def test_ids_and_labels_outside_the_vocabulary_are_found():
    report = audit({"input_ids": [[5, 50, -1]], "labels": [[X, 50, -2]]}, Tokenizer())
    assert {finding.code: finding.count for finding in report.errors} == {
        "ids_out_of_vocabulary": 2,
        "labels_out_of_vocabulary": 2,
        "labels_are_not_input_ids": 1,
    }


def test_a_double_bos_is_found():
    batch = {"input_ids": [[BOS, BOS, 5, 6, EOS]], "labels": [[X, X, 5, 6, EOS]]}
    assert codes(audit(batch, Tokenizer())) == ["double_bos"]


def test_a_batch_without_labels_is_an_error():
    assert codes(audit({"input_ids": [[5, 6, 7]]})) == ["no_labels"]


def test_rows_of_unequal_length_are_read_as_they_are():
    report = audit({"input_ids": [[5, 6, 7], [8, 9]], "labels": [[X, X, 7], [X, 9]]})
    assert (codes(report), report.tokens, report.scored) == ([], 5, 2)
    tensors = audit({"input_ids": [torch.tensor([5, 6]), torch.tensor([7])], "labels": [[X, 6], [X]]})
    assert codes(tensors) == ["row_without_labels", "everything_trained"]


def test_left_padding_is_no_document():
    batch = {
        "input_ids": [[PAD, PAD, BOS, 10, EOS]],
        "labels": [[X, X, X, 10, EOS]],
        "attention_mask": [[0, 0, 1, 1, 1]],
        "position_ids": [[1, 1, 0, 1, 2]],
    }
    assert codes(audit(batch, Tokenizer())) == []


def test_what_packing_makes_has_no_finding():
    rows = pack(
        [
            Example.of([BOS, n, n + 1, EOS][: 2 + n % 3], trained=[n % 2 == 0, True, n % 2 == 0, True][: 2 + n % 3])
            for n in range(10, 40)
        ],
        length=16,
        overflow="drop",
    )
    batch = rows.take(0, rows.rows_per_epoch)
    assert codes(audit(batch.for_transformers(), Tokenizer())) == []
    assert codes(audit({"input_ids": batch.ids, "labels": batch.labels, "document": batch.document})) == [
        "no_position_ids"
    ]


def test_transformers_tokenizers_and_batches_are_taken(tmp_path):
    from tokenizers import Tokenizer as Rust
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from transformers import DataCollatorForLanguageModeling, PreTrainedTokenizerFast

    rust = Rust(WordLevel({"<s>": 0, "</s>": 1, "a": 2, "b": 3, "?": 4}, unk_token="?"))
    rust.pre_tokenizer = Whitespace()
    assert "ids_out_of_vocabulary" in audit({"input_ids": [[5]], "labels": [[5]]}, rust)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=rust, bos_token="<s>", eos_token="</s>", pad_token="</s>")
    rows = [tokenizer("<s> a b </s>"), tokenizer("<s> a </s>")]
    collated = DataCollatorForLanguageModeling(tokenizer, mlm=False)(rows)
    # The collator's known fault: padding is the end, so every end is ignored.
    (finding,) = audit(collated, tokenizer).errors
    assert (finding.code, finding.count) == ("end_not_trained", 2)


def test_transformers_collators_that_are_right_have_no_finding():
    from transformers import DataCollatorWithFlattening

    rows = [{"input_ids": [BOS, n, n + 1, EOS], "labels": [X, X, n + 1, EOS]} for n in range(10, 20)]
    for options in ({}, {"return_flash_attn_kwargs": True}):
        assert codes(audit(DataCollatorWithFlattening(**options)(rows), Tokenizer())) == []


def test_reports_are_for_people_and_for_programs():
    report = audit(chat(labels=[[X] * 6, [X, X, 15, EOS, PAD, PAD]]))
    assert str(report).splitlines() == [
        "2 rows, 10 tokens, 4 scored (40%): 1 error, 1 warning",
        "error: 2 labels are padding (rows 1) [padding_trained]",
        "    -> set labels to -100 where attention_mask is 0",
        "warning: 1 rows have no label that is scored (rows 0) [row_without_labels]",
        "    -> find where labels become -100: a response template that is not found, an answer behind the truncation, "
        "a mask the wrong way round",
    ]
    told = json.loads(json.dumps(report.to_dict()))
    assert (told["ok"], told["scored"]) == (False, 4)
    assert told["findings"][0]["code"] == "padding_trained"


def test_another_ignore_index_is_told():
    batch = chat(labels=[[-1, -1, -1, 12, 13, EOS], [-1, -1, 15, EOS, -1, -1]])
    assert "labels_out_of_vocabulary" in audit(batch)
    assert codes(audit(batch, ignore_index=-1)) == []


@pytest.mark.parametrize(
    ("batch", "error", "message"),
    [
        ([1, 2], ArgumentTypeError, "batch must be a mapping with input_ids, got list"),
        ({"ids": [1]}, ArgumentError, "batch must have input_ids, got ids"),
        (
            {"input_ids": [1, 2], "labels": [1]},
            ArgumentError,
            r"labels must have as many tokens in each row as input_ids, \[2\], got \[1\]",
        ),
        ({"input_ids": [[1, 2]] * 5, "labels": [[1]]}, ArgumentError, r"\[2, 2, 2, 2, ...\], got \[1\]"),
        ({"input_ids": [0.5]}, ArgumentTypeError, "input_ids must be integers, got float64"),
        ({"input_ids": [[[1]]]}, ArgumentError, r"input_ids must be \[T\] or \[R, T\], got 3 dimensions"),
        ({"input_ids": [1, 2], "cu_seqlens": [0, 3]}, ArgumentError, "cu_seqlens must rise from 0 to the number of"),
    ],
)
def test_what_is_no_batch_is_refused(batch, error, message):
    with pytest.raises(error, match=message):
        audit(batch)


def test_what_is_no_tokenizer_is_refused():
    with pytest.raises(ArgumentTypeError, match="tokenizer must be one of transformers or tokenizers, got str"):
        audit(chat(), "gpt2")


@given(st.data())
def test_any_batch_gets_a_report(data):
    R, T = data.draw(st.integers(0, 3)), data.draw(st.integers(0, 5))

    def column(values):
        return st.lists(st.lists(values, min_size=T, max_size=T), min_size=R, max_size=R)

    batch = data.draw(
        st.fixed_dictionaries(
            {"input_ids": column(st.integers(-1, 4))},
            optional={
                "labels": column(st.sampled_from([X, 0, 1, 2, 3])),
                "attention_mask": column(st.integers(0, 2)),
                "position_ids": column(st.integers(0, 4)),
                "document": column(st.integers(-1, 2)),
            },
        )
    )
    report = lmhead.audit(batch, data.draw(st.sampled_from([None, Tokenizer(), PadIsEnd()])))
    assert str(report)
    assert json.dumps(report.to_dict())
