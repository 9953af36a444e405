"""What goes wrong without a word in other loops over several ranks is right here, or refused on one line."""

import re
from typing import Any

import pytest
import torch
from tests.ranks.launched import on_ranks
from tests.ranks.loops import ROWS, D, Found, V, error, gpt, step, window
from tests.ranks.test_other_loops import Own, assert_exact, options_of_all_kinds, outside, sharded
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper
from torch.distributed.checkpoint.state_dict import StateDictOptions, set_model_state_dict
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard, register_fsdp_forward_method

from lmhead import ArgumentError, LanguageModelingHead
from lmhead.ranks.ranks import ALONE, Ranks

NARROW = torch.bfloat16


def everything(ranks: Ranks) -> dict[str, Any]:
    return {
        "cast": cast_inputs(ranks),
        "autocast": autocast_regions(ranks),
        "meta": materialised(ranks),
        "loose": loose_weights(ranks),
    }


@pytest.fixture(scope="module")
def of_all() -> dict[str, list[Any]]:
    """What each rank found, by check."""
    found = on_ranks(2, everything)
    return {name: [of_rank[name] for of_rank in found] for name in found[0]}


# ------------------------------------------------------------------------- inputs cast by a mixed precision policy


def under_policy(**policy: Any) -> Any:
    model = gpt(dtype=torch.float32)
    mixed = MixedPrecisionPolicy(param_dtype=NARROW, reduce_dtype=torch.float32, **policy)
    for layer in model.model.layers:
        fully_shard(layer, mp_policy=mixed)
    fully_shard(model, mp_policy=mixed)
    register_fsdp_forward_method(model, "loss")
    return model


def cast_inputs(ranks: Ranks) -> dict[str, Any]:
    def refusal(*given: Any, **keywords: Any) -> str:
        with pytest.raises(ArgumentError) as raised:
            under_policy().loss(*given, **keywords)
        return str(raised.value)

    ids, targets = window(*ranks.rows(0, ROWS), dtype=torch.float32)[0]
    right = step(gpt(dtype=NARROW), options_of_all_kinds, dtype=torch.float32)
    kept = step(under_policy(cast_forward_inputs=False), options_of_all_kinds, ranks, dtype=torch.float32)
    cast = under_policy()
    numbers = cast.loss(ids, targets.ids, divisor=4.0), cast.loss(ids, targets.ids, divisor=torch.tensor(4))
    return {
        "divisor": refusal(ids, targets.ids, divisor=torch.tensor(257.0)),
        "token_weight": refusal(ids, targets.ids, token_weight=targets.weight),
        "targets": refusal(ids, targets),
        "loss": abs(kept[0] - right[0]) / right[0],
        "gradients": error(kept, right),
        "numbers": abs(numbers[0].item() - numbers[1].item()),
    }


def test_what_a_policy_has_cast_to_16_bits_is_refused_and_right_where_it_casts_nothing(of_all: Any) -> None:
    for found in of_all["cast"]:
        for name, said in (("divisor", "divisor"), ("token_weight", "token_weight"), ("targets", "token_weight")):
            assert re.fullmatch(
                rf"{said} must have 32 bits or more, got torch.bfloat16, which rounds it: give {said}.float\(\), and "
                r"where FSDP casts what it is called with, MixedPrecisionPolicy\(..., cast_forward_inputs=False\)",
                found[name],
            )
        assert found["loss"] < 1e-5
        assert found["gradients"] < 2e-2
        assert found["numbers"] == 0


# ------------------------------------------------------------------------------ one autocast region, many backwards


def one_region(model: Any, ranks: Ranks = ALONE) -> Found:
    with torch.autocast("cpu", NARROW):
        return step(model, options_of_all_kinds, ranks, dtype=torch.float32)


def autocast_regions(ranks: Ranks) -> dict[str, float]:
    right = one_region(gpt(dtype=torch.float32))
    recomputed = gpt(dtype=torch.float32)
    for place, layer in enumerate(recomputed.model.layers):
        recomputed.model.layers[place] = checkpoint_wrapper(layer)
    loss, gradients = one_region(sharded(recomputed), ranks)
    again = {name.replace("_checkpoint_wrapped_module.", ""): gradient for name, gradient in gradients.items()}
    return {
        "plain": error(one_region(sharded(gpt(dtype=torch.float32)), ranks), right),
        "checkpointed": error((loss, again), right),
    }


def test_one_autocast_region_around_several_backwards_loses_no_gradient(of_all: Any) -> None:
    found = of_all["autocast"][0]
    assert max(found.values()) < 1e-2, found  # the sums of two ranks are rounded to bfloat16, 0.75 is what was lost


# ------------------------------------------------------------------------------------ made on the meta device


def materialised(ranks: Ranks) -> dict[str, float]:
    found = {}
    for tied in (False, True):
        with torch.device("meta"):
            model = gpt(tied=tied)
        sharded(model).to_empty(device="cpu")
        weights = gpt(tied=tied).state_dict() if ranks.first else {}
        set_model_state_dict(model, weights, options=StateDictOptions(full_state_dict=True, broadcast_from_rank0=True))
        right = step(gpt(tied=tied), options_of_all_kinds)
        found[f"tied={tied}"] = error(step(model, options_of_all_kinds, ranks), right)
    return found


def test_a_model_from_the_meta_device_has_its_buffers_and_its_tie(of_all: Any) -> None:
    assert_exact(of_all["meta"][0])


# ----------------------------------------------------------------------------------- a weight that is not gathered


def loose_weights(ranks: Ranks) -> str:
    model = Own(LanguageModelingHead(D, V))
    fully_shard(model, reshard_after_forward=True)
    (ids, targets), _ = window(*ranks.rows(0, ROWS))
    with pytest.raises(ArgumentError) as raised:
        outside(model, ids, targets, torch.tensor(4.0))
    return str(raised.value)


def test_the_weight_of_a_head_that_nobody_gathers_is_refused(of_all: Any) -> None:
    for said in of_all["loose"]:
        assert said == (
            "weight must be a plain Tensor, got a DTensor (a sharded one): call it where the shards are gathered, "
            'in a method of the module that fully_shard was called on, register_fsdp_forward_method(module, "loss"); '
            "full_tensor() gives a wrong gradient"
        )
