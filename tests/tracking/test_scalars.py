"""What trackers are given is what the log says."""

import dataclasses

from lmhead.evaluation.held_out.draft_scores import DepthScores
from lmhead.evaluation.held_out.evaluate import Evaluation
from lmhead.tracking.scalars import evaluation_scalars, step_scalars
from lmhead.training.reporter import StepRecord

RECORD = StepRecord(
    step=7,
    steps=9,
    loss=2.5,
    grad_norm=0.5,
    rate=0.25,
    tokens=70,
    read=80,
    seconds=1.5,
    tokens_per_second=20.0,
    trained_per_second=10.0,
)
EVALUATION = Evaluation(
    bits_per_byte=1.5,
    nll=2.0,
    perplexity=7.389,
    accuracy=0.5,
    tokens=100,
    bytes=300,
    window=32,
    stride=16,
    whole=True,
)


def test_an_update_is_its_line_of_the_log_and_its_speeds():
    assert step_scalars(RECORD) == {
        "train/loss": 2.5,
        "train/grad_norm": 0.5,
        "train/rate": 0.25,
        "train/tokens": 70,
        "train/seconds": 1.5,
        "train/tokens_per_second": 20.0,
        "train/trained_per_second": 10.0,
    }


def test_further_tokens_are_curves_of_their_own():
    scalars = step_scalars(dataclasses.replace(RECORD, depths=(3.0, None, 4.0)))
    assert scalars == step_scalars(RECORD) | {"train/mtp_loss_1": 3.0, "train/mtp_loss_3": 4.0}


def test_each_source_is_a_curve_whose_name_is_one_line():
    scalars = step_scalars(dataclasses.replace(RECORD, sources={"web": (3.0, 7), "a\nb": (2.0, 1)}))
    assert scalars == step_scalars(RECORD) | {"train/loss/web": 3.0, "train/loss/a\\nb": 2.0}


def test_a_whole_evaluation_and_one_of_a_part_are_two_curves():
    whole = evaluation_scalars(EVALUATION)
    part = evaluation_scalars(dataclasses.replace(EVALUATION, whole=False))
    assert whole == {
        "eval_full/nll": 2.0,
        "eval_full/bits_per_byte": 1.5,
        "eval_full/perplexity": 7.389,
        "eval_full/accuracy": 0.5,
        "eval_full/tokens": 100,
    }
    assert list(part.values()) == list(whole.values())
    assert {name.partition("/")[0] for name in part} == {"eval_quick"}


def test_what_an_evaluation_does_not_know_is_no_scalar():
    scalars = evaluation_scalars(dataclasses.replace(EVALUATION, bits_per_byte=None, answers=4, exact=3))
    assert "eval_full/bits_per_byte" not in scalars
    assert (scalars["eval_full/answers"], scalars["eval_full/exact"]) == (4, 3)


def test_kinds_of_tokens_are_curves_of_their_own():
    classes = {"part": {"prompt": (2.0, 5), "response": (1.0, 9)}, "source": {"a/b\x1b.jsonl": (1.5, 14)}}
    scalars = evaluation_scalars(dataclasses.replace(EVALUATION, classes=classes))
    assert {name: value for name, value in scalars.items() if "_by_" in name} == {
        "eval_full_by_part/prompt": 2.0,
        "eval_full_by_part/response": 1.0,
        "eval_full_by_source/a/b\\x1b.jsonl": 1.5,
    }


def test_each_depth_of_multi_token_prediction_has_its_curves():
    first = DepthScores(nll=2.5, accuracy=0.25, acceptance=0.5, tokens=99)
    second = DepthScores(nll=None, accuracy=None, acceptance=None, tokens=0)
    scalars = evaluation_scalars(dataclasses.replace(EVALUATION, depths=(first, second), accepted_length=1.5))
    of_depths = {name: value for name, value in scalars.items() if name not in evaluation_scalars(EVALUATION)}
    assert of_depths == {
        "eval_full/accepted_length": 1.5,
        "eval_full/nll_1": 2.5,
        "eval_full/accuracy_1": 0.25,
        "eval_full/acceptance_1": 0.5,
    }
