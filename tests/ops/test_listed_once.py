"""What is listed once: options of the loss, row outputs, arguments of the custom ops, keywords that are passed on."""

import inspect
import math
from dataclasses import fields, replace
from typing import get_type_hints

import pytest
import torch

import lmhead
from lmhead.ops.divergence.problem import DivergenceProblem, TeacherLogits
from lmhead.ops.keywords import LinearKeywords, ScoredKeywords
from lmhead.ops.loss_options import PLAIN, LossKeywords, LossOptions, loss_keywords
from lmhead.ops.op_arguments import OpArguments
from lmhead.ops.problem import COME_FOR_NOTHING, ROW_OUTPUTS, Problem, TokenStatistics, outputs_wanted_by
from lmhead.ops.triton import forms

HIDDEN, WEIGHT, IDS = torch.zeros(2, 5, 3), torch.zeros(4, 3), torch.ones(2, 5, dtype=torch.long)
HEAD, COMBINED = lmhead.LanguageModelingHead(3, 4), lmhead.CombinedLMHead(3, 4)


def problem(**options):
    targets, dtype = torch.zeros(5, 2, dtype=torch.long), torch.float32
    return Problem(hidden=HIDDEN[0], weight=WEIGHT, targets=targets, compute_dtype=dtype, memory_budget=1, **options)


def defaults_of(function, names):
    parameters = inspect.signature(function).parameters
    return {name: parameters[name].default for name in names}


def test_the_keywords_are_the_record():
    assert get_type_hints(LossKeywords) == get_type_hints(LossOptions)
    assert LossOptions(**loss_keywords(PLAIN)) == PLAIN


def test_both_front_doors_name_every_option_with_its_default():
    for function in (lmhead.linear_cross_entropy, lmhead.cross_entropy):
        assert defaults_of(function, LossKeywords.__annotations__) == loss_keywords(PLAIN)
    for function, keywords, more in (
        (lmhead.linear_cross_entropy, LinearKeywords, {"hidden", "weight", "targets"}),
        (lmhead.cross_entropy, ScoredKeywords, {"logits", "targets", "token_weight", "ignore_index"}),
    ):
        assert set(inspect.signature(function).parameters) == {*keywords.__annotations__, *more, "return_stats"}


CALLS = {
    "causal_lm_loss": lambda **more: lmhead.causal_lm_loss(HIDDEN, IDS, **more),
    "LanguageModelingLoss": lambda **more: lmhead.LanguageModelingLoss(4, **more),
    "MultiTokenPredictionLoss": lambda **more: lmhead.MultiTokenPredictionLoss(4, **more),
    "multi_token_loss": lambda **more: lmhead.multi_token_loss(
        [HIDDEN], WEIGHT, lmhead.Targets.from_labels(IDS), **more
    ),
    "LanguageModelingHead.loss": lambda **more: HEAD.loss(HIDDEN, labels=IDS, **more),
    "LanguageModelingHead.multi_token_loss": lambda **more: HEAD.multi_token_loss([HIDDEN], labels=IDS, **more),
    "LanguageModelingHead.token_logprobs": lambda **more: HEAD.token_logprobs(HIDDEN, labels=IDS, **more),
    "MultiTokenPredictionHead.losses": lambda **more: COMBINED.mtp.losses([HIDDEN], labels=IDS, **more),
    "CombinedLMHead.loss": lambda **more: COMBINED.loss(HIDDEN, [HIDDEN], labels=IDS, **more),
}


@pytest.mark.parametrize("name", CALLS)
def test_an_option_that_there_is_not_is_refused_in_the_name_of_the_function(name):
    with pytest.raises(TypeError, match=rf"^{name}\(\) got an unexpected keyword argument 'lable_smoothing'"):
        CALLS[name](lable_smoothing=0.1)


@pytest.mark.parametrize("name", sorted(CALLS.keys() - {"LanguageModelingHead.token_logprobs"}))
def test_options_that_are_passed_on_are_checked_and_documented(name):
    with pytest.raises(lmhead.ArgumentError, match="z_loss must be finite and >= 0, got -1"):
        CALLS[name](z_loss=-1.0)
    named = lmhead
    for part in name.split("."):
        named = getattr(named, part)
    assert "z_loss" in named.__doc__


@pytest.mark.parametrize("wrong", [{"label_smoothing": 1.0}, {"z_loss": math.nan}, {"z_loss": "0.1"}], ids=str)
def test_the_record_knows_its_rules(wrong):
    with pytest.raises(lmhead.LmheadError, match=next(iter(wrong))):
        LossOptions.checked(**wrong)


def test_a_loss_as_a_module_follows_its_attributes():
    criterion, logits = lmhead.LanguageModelingLoss(4, label_smoothing=0.1, z_loss=0.5), torch.randn(2, 5, 4)
    before = criterion(logits, targets=IDS)
    criterion.z_loss = 0.0
    after = criterion(logits, targets=IDS)
    torch.testing.assert_close(before - after, 0.5 * logits.logsumexp(-1).square().mean())
    assert "label_smoothing=0.1, z_loss=0.0" in repr(criterion)


def test_the_table_of_row_outputs_is_that_of_the_statistics():
    assert {output.name for output in ROW_OUTPUTS} == {field.name for field in fields(TokenStatistics)} - {"scored"}
    assert COME_FOR_NOTHING == {"nll": 1, "lse": 1}
    statistics = dict.fromkeys(("nll", "lse", "entropy", "hit", "max_logprob"), 1)
    assert outputs_wanted_by(return_stats=True, ranks=False, top_k=None) == statistics
    assert outputs_wanted_by(return_stats=True, ranks=True) == statistics | {"rank": 1}
    assert outputs_wanted_by(return_stats=True, top_k=5) == statistics | {"top_ids": 5, "top_logprobs": 5}


class TestOpArguments:
    def test_a_problem_comes_back_as_it_was(self):
        arguments = OpArguments(Problem, but=("outputs",))
        given = problem(options=LossOptions(z_loss=0.5), softcap=3.0, ignore_index=7, outputs={"rank": 1, "top_ids": 4})
        assert arguments.problem(arguments.of(given), outputs=given.outputs) == given

    def test_so_does_one_with_records_in_it(self):
        arguments = OpArguments(DivergenceProblem, but=("outputs", "options"))
        changes = {"bias": None, "softcap": 2.0, "logit_scale": 0.5, "compute_dtype": torch.bfloat16}
        teacher = replace(_teacher(), **changes)
        given = DivergenceProblem(student=problem(), teacher_logits=teacher, kind="reverse_kl", beta=0.3)
        assert arguments.problem(arguments.of(given)) == given

    def test_tensors_come_first(self):
        arguments = OpArguments(DivergenceProblem, but=("outputs", "options"))
        values = arguments.of(
            DivergenceProblem(student=problem(), teacher_logits=_teacher(), kind="reverse_kl", beta=0.3)
        )
        tensors = [isinstance(value, torch.Tensor) for value in values]
        assert not any(tensors[arguments.tensors :])
        assert sum(tensors) == 6  # the others are None


def _teacher():
    return TeacherLogits(
        hidden=HIDDEN[1],
        weight=WEIGHT,
        bias=WEIGHT[:, 0],
        adapter_hidden=None,
        adapter_weight=None,
        column_scale=None,
        softcap=None,
        logit_scale=1.0,
        compute_dtype=torch.float32,
    )


def test_triton_refuses_an_option_or_an_output_that_its_kernels_do_not_know(monkeypatch):
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    monkeypatch.setattr(forms, "_INSTALLED", True)
    assert forms.refusal(problem(options=LossOptions(z_loss=0.1))) is None
    monkeypatch.setattr(forms, "_OPTIONS", {"label_smoothing"})
    assert forms.refusal(problem(options=LossOptions(z_loss=0.1))) == "its kernels do not compute z_loss"
    assert forms.refusal(replace(problem(), outputs={"margin": 1})) == "its kernels do not compute margin"
