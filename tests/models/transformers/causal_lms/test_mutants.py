"""A patch that leaves something out of what lies between head and loss is refused, freshly initialised models too.

All types: `python -m tests.nightly.causal_lms`.
"""

import pytest
import torch
from tests.models.transformers.causal_lms.build import CLASSES, build
from tests.models.transformers.causal_lms.mutants import LEFT_OUT, parts_of, without

import lmhead

AFFECTED = [
    ("softcap", "gemma2"),
    ("softcap", "recurrent_gemma"),
    ("softcap", "inkling2_text"),
    ("logit_scale", "cohere"),
    ("logit_scale", "granite"),
    ("logit_scale", "falcon_h1"),
    ("bias", "phi"),
    ("bias", "bert"),
    ("bias", "xlm"),
    ("cut of the vocabulary", "inkling_text"),
    ("cut of the vocabulary", "inkling2_text"),
]
HERE = [(part, model_type) for part, model_type in AFFECTED if model_type in CLASSES]
NARROW = [(part, model_type) for part, model_type in HERE if model_type != "inkling2_text"]  # stock does not run in it


@pytest.mark.parametrize(("part", "model_type"), HERE)
def test_what_is_left_out_is_found(part, model_type):
    model = build(model_type)
    if part not in parts_of(model):
        pytest.skip("this transformers has it no more")
    with without(part), pytest.raises(lmhead.ArgumentError, match="patched as stock"):
        lmhead.patch(model)
    lmhead.patch(model)


@pytest.mark.parametrize(("part", "model_type"), NARROW)
def test_what_is_left_out_is_found_in_bfloat16(part, model_type):
    with without(part), pytest.raises(lmhead.ArgumentError, match="patched as stock"):
        lmhead.patch(build(model_type).to(torch.bfloat16))


def test_a_bias_that_is_zero_and_frozen_is_not_left_out():
    model = build("phi")
    model.lm_head.bias.requires_grad_(False).zero_()
    with without("bias"), pytest.raises(lmhead.ArgumentError, match="gradient of bias"):
        lmhead.patch(model)
    assert not model.lm_head.bias.requires_grad


@pytest.mark.parametrize("part", LEFT_OUT)
def test_a_model_without_the_part_is_none_the_worse(part):
    with without(part):
        lmhead.patch(build("llama"))
