"""Which family a decoder's modules are written as."""

import pytest

from lmhead.errors import ArgumentError
from lmhead.models.config import GPTConfig
from lmhead.models.multi_token.family import family_of, style_for
from lmhead.models.multi_token.style import FAMILIES, MultiTokenStyle

SIZES = {"vocab_size": 16, "embed_dim": 8, "num_heads": 2, "num_layers": 2}
LLAMA, QWEN = GPTConfig(**SIZES), GPTConfig(**SIZES, qk_norm=True, activation="relu", gated=False)
COURSE = GPTConfig(**SIZES, style="course")


@pytest.mark.parametrize("kind", ["sequential", "recurrent"])
@pytest.mark.parametrize("depth", [1, 3])
def test_a_decoder_is_written_as_the_family_that_transformers_drafts_from(kind, depth):
    assert family_of(QWEN, style_for(QWEN), kind=kind, depth=depth) == "mellum"
    assert family_of(LLAMA, style_for(LLAMA), kind=kind, depth=depth) == "glm4_moe"
    assert family_of(COURSE, style_for(COURSE), kind=kind, depth=depth) is None


@pytest.mark.parametrize("config", [LLAMA, QWEN, COURSE])
def test_parallel_heads_are_written_under_names_of_no_family(config):
    assert family_of(config, style_for(config), kind="parallel", depth=2) is None


@pytest.mark.parametrize(
    ("changed", "depth", "family"),
    [
        ({"order": "hidden_first"}, 1, None),
        ({"main": "unnormed"}, 1, None),
        ({"zero_first": True}, 1, None),
        ({"chain": "unnormed"}, 1, "mellum"),  # a single module's states are read by none
        ({"chain": "unnormed"}, 2, None),
        ({"denominator": "main"}, 2, "mellum"),
    ],
)
def test_modules_that_no_engine_would_run_as_they_were_trained_are_written_as_no_family(changed, depth, family):
    assert family_of(QWEN, MultiTokenStyle(**changed), kind="sequential", depth=depth) == family


def test_a_family_that_is_asked_for_decides():
    assert style_for(QWEN, "glm4_moe") == FAMILIES["glm4_moe"]
    assert family_of(QWEN, FAMILIES["glm4_moe"], kind="sequential", depth=2) == "glm4_moe"
    assert family_of(LLAMA, FAMILIES["mimo"], kind="recurrent", depth=4) == "mimo"
    with pytest.raises(ArgumentError, match="did you mean mellum"):
        style_for(QWEN, "melum")


@pytest.mark.parametrize(
    ("config", "family", "kind", "depth", "why"),
    [
        (
            QWEN,
            "mellum",
            "parallel",
            1,
            "heads of the parallel kind have this library's names alone; leave the family out",
        ),
        (
            COURSE,
            "deepseek_v3",
            "sequential",
            1,
            "it has no learned positions; leave the family out, or take the modern",
        ),
        (LLAMA, "mellum", "sequential", 1, "its attention has norms of queries and keys; take glm4_moe, or qk_norm"),
        (LLAMA, "qwen3_next", "sequential", 2, "have one module, not 2; take depth 1, the recurrent kind, or glm4_moe"),
        (QWEN, "mimo", "sequential", 1, "it is a Qwen2: without qk_norm, with silu, .*; be that, or take mellum"),
        (GPTConfig(**SIZES, head_dim=8), "mimo", "sequential", 1, "it is a Qwen2"),
    ],
)
def test_a_family_that_cannot_hold_the_model_is_refused(config, family, kind, depth, why):
    with pytest.raises(ArgumentError, match=f"family must be one that can hold the model, got {family}: .*{why}"):
        family_of(config, FAMILIES[family], kind=kind, depth=depth)
