"""What linear_divergence refuses, and how it says so."""

import math

import pytest
import torch

from lmhead import linear_divergence
from lmhead.errors import ArgumentError, LmheadError


def good():
    generator = torch.Generator().manual_seed(0)
    shapes = {"hidden": (6, 4), "weight": (9, 4), "teacher_hidden": (6, 5), "teacher_weight": (9, 5)}
    return {name: torch.randn(*shape, generator=generator) for name, shape in shapes.items()}


BAD = {
    "another vocabulary": (
        {"teacher_weight": torch.ones(12, 5)},
        ["weight and teacher_weight", "V = 9 and 12", "slice the larger head (weight[:9])", "pad"],
    ),
    "other rows": ({"teacher_hidden": torch.ones(5, 5)}, ["teacher_hidden", "leading dimensions (6,)", "(5, 5)"]),
    "another width": ({"teacher_weight": torch.ones(9, 4)}, ["teacher_weight must be [V, 5], D as in teacher_hidden"]),
    "no tensor": ({"teacher_hidden": None}, ["teacher_hidden must be a Tensor", "NoneType"]),
    "another device": (
        {"teacher_hidden": torch.ones(6, 5, device="meta")},
        ["teacher_hidden", "device cpu", "move it"],
    ),
    "a teacher of two dtypes": (
        {"teacher_weight": torch.ones(9, 5).bfloat16()},
        ["teacher_hidden and teacher_weight must have one dtype", "torch.float32 and torch.bfloat16"],
    ),
    "a student of two dtypes": ({"weight": torch.ones(9, 4).bfloat16()}, ["hidden and weight must have one dtype"]),
    "a wrong bias": ({"teacher_bias": torch.ones(8)}, ["teacher_bias must be [V] = [9]", "(8,)"]),
    "an unknown kind": ({"kind": "kl"}, ["kind must be one of forward_kl, reverse_kl, jensen_shannon", "'kl'"]),
    "a beta of 0": ({"kind": "jensen_shannon", "beta": 0.0}, ["beta must be in (0, 1)", "0.0", "forward_kl"]),
    "a beta of 1": ({"kind": "jensen_shannon", "beta": 1}, ["beta must be in (0, 1)", "got 1", "reverse_kl"]),
    "a beta of text": ({"kind": "jensen_shannon", "beta": "0.5"}, ["beta must be a number", "str"]),
    "a beta of a KL": ({"beta": 0.5}, ["beta must be given with", "jensen_shannon", "'forward_kl'", "leave it out"]),
    "no temperature": ({"temperature": 0.0}, ["temperature must be finite and > 0", "0.0"]),
    "no number": ({"temperature": None}, ["temperature must be a number", "NoneType"]),
    "a cap of 0": ({"softcap": 0.0}, ["softcap must be finite and > 0"]),
    "a teacher's cap of 0": ({"teacher_softcap": 0.0}, ["teacher_softcap must be finite and > 0", "None is off"]),
    "an infinite scale": ({"teacher_logit_scale": math.inf}, ["teacher_logit_scale must be finite", "inf"]),
    "a negative weight": ({"token_weight": -torch.ones(6)}, ["token_weight", "finite and >= 0", "-1.0", "use 0"]),
    "a NaN weight": ({"token_weight": torch.full((6,), math.nan)}, ["token_weight", "nan"]),
    "a mask": ({"token_weight": torch.ones(6).bool()}, ["token_weight must be floating point", "torch.bool"]),
    "weights of another shape": ({"token_weight": torch.ones(6, 1)}, ["token_weight", "(6,)", "(6, 1)"]),
    "an unknown reduction": ({"reduction": "batchmean"}, ["reduction must be mean, sum or none", "'batchmean'"]),
    "a divisor of a sum": ({"reduction": "sum", "divisor": 3}, ["divisor", 'reduction="mean" only']),
    "no memory": ({"memory_budget": 0}, ["memory_budget must be > 0 bytes"]),
    "an unknown back-end": ({"backend": "fast"}, ["backend must be one of chunked, reference, got 'fast'"]),
    "a back-end for losses": (
        {"backend": "vocabulary_major"},
        ["backend must be one of chunked, reference, got 'vocabulary_major'"],
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused_with_name_rule_value_and_remedy(case):
    changed, words = BAD[case]
    with pytest.raises(LmheadError) as caught:
        linear_divergence(**good() | changed)
    assert isinstance(caught.value, ValueError | TypeError)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("which", ["weight", "teacher_weight", "teacher_hidden"])
def test_a_dtensor_is_refused(which):
    import torch.distributed as dist
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Shard, distribute_tensor

    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        arguments = good()
        arguments[which] = distribute_tensor(arguments[which], init_device_mesh("cpu", (1,)), [Shard(0)])
        with pytest.raises(ArgumentError, match=rf"{which} must be a plain Tensor, got a DTensor"):
            linear_divergence(**arguments)
    finally:
        dist.destroy_process_group()
