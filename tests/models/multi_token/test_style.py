"""Families' settings by name, as the code that runs them says."""

import re

import pytest

from lmhead.errors import ArgumentError
from lmhead.models.multi_token.style import FAMILIES, MultiTokenStyle

VLLM = "vllm-project/vllm, vllm/model_executor/models/"
SGLANG = "sgl-project/sglang, python/sglang/srt/models/"
# What each does, and where it says so: the file, its commit, and the line.
SETTINGS = {
    "deepseek_v3": {
        "order": "embedding_first",  # deepseek_mtp.py: torch.cat([inputs_embeds, previous_hidden_states], dim=-1)
        "main": "normed",  # deepseek_v2.py: hidden_states, _ = self.norm(hidden_states, residual)
        "chain": "unnormed",  # deepseek_mtp.py: hidden_states = residual + hidden_states; return hidden_states
        "zero_first": True,  # deepseek_mtp.py: inputs_embeds[positions == 0] = 0
        "denominator": "main",  # arXiv 2412.19437, equation 24: 1 / T
        "source": f"{VLLM}deepseek_mtp.py at 03356f8cb59ba27f3d0ce8866d7516b5e32cff65",
    },
    "glm4_moe": {
        "order": "embedding_first",  # torch.cat((self.enorm(..), self.hnorm(..)), dim=-1)
        "main": "normed",  # glm4_moe.py: hidden_states, _ = self.norm(hidden_states, residual)
        "chain": "normed",  # hidden_states, _ = self.shared_head.norm(hidden_states, residual); return hidden_states
        "zero_first": False,
        "denominator": "own",
        "source": f"{SGLANG}glm4_moe_nextn.py at 008b79d2358b08adf9b6c879625030f890c8c4e2",
    },
    "qwen3_next": {
        "order": "embedding_first",  # torch.cat([inputs_embeds, hidden_states], dim=-1)
        "main": "normed",
        "chain": "normed",  # hidden_states, _ = self.norm(hidden_states, residual); return hidden_states
        "zero_first": False,
        "denominator": "own",
        "source": f"{VLLM}qwen3_next_mtp.py at 055e47c28003156421365af985d676fc921cb075",
    },
    "mellum": {
        "order": "embedding_first",  # torch.cat([self.enorm(inputs_embeds), self.hnorm(previous_hidden_state)], dim=-1)
        "main": "normed",  # generation/candidate_generator.py: model_outputs.hidden_states[-1]
        "chain": "normed",  # hidden_states = self.post_norm(hidden_states); return hidden_states
        "zero_first": False,
        "denominator": "own",
        "source": "transformers 5.23, modeling_layers.py, MtpLayer and MtpModel",
    },
    "mimo": {
        "order": "hidden_first",  # torch.cat([previous_hidden_states, inputs_embeds], dim=-1)
        "main": "unnormed",  # mimo.py: hidden_states = hidden_states + residual; the norm is in compute_logits
        "chain": "normed",  # return self.final_layernorm(hidden_states)
        "zero_first": True,  # inputs_embeds[positions == 0] = 0
        "denominator": "own",
        "source": f"{VLLM}mimo_mtp.py at 0bb55d60cb667d2f4e263b55304a30b38fe2e55c",
    },
}


@pytest.mark.parametrize("family", SETTINGS)
def test_a_family_does_what_its_source_does(family):
    expected = {name: value for name, value in SETTINGS[family].items() if name != "source"}
    assert FAMILIES[family] == MultiTokenStyle(family=family, **expected)


def test_every_family_has_a_source():
    assert FAMILIES.keys() == SETTINGS.keys()


@pytest.mark.parametrize(
    ("given", "nearest"),
    [("deepseek", "deepseek_v3"), ("GLM-4-MoE", "glm4_moe"), ("qwen3-next", "qwen3_next"), ("mellun", "mellum")],
)
def test_of_an_unknown_family_the_nearest_is_suggested(given, nearest):
    rule = f"family must be one of deepseek_v3, .*, got '{re.escape(given)}': did you mean {nearest}"
    with pytest.raises(ArgumentError, match=rule):
        MultiTokenStyle(family=given)


def test_a_family_like_none_is_refused_without_a_suggestion():
    with pytest.raises(ArgumentError, match=r"got 'xyz'$"):
        MultiTokenStyle(family="xyz")


@pytest.mark.parametrize("name", ["order", "main", "chain", "denominator"])
def test_a_choice_that_there_is_not_is_refused(name):
    with pytest.raises(ArgumentError, match=f"{name} must be .* or .*, got 'both'"):
        MultiTokenStyle(**{name: "both"})
