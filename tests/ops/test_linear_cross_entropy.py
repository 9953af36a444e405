"""linear_cross_entropy's own work: what it refuses and how it says so, weights, reductions, divisors, back-ends."""

import math

import pytest
import torch
import torch.nn.functional as F

from lmhead import linear_cross_entropy
from lmhead.errors import ArgumentError, ArgumentTypeError, LmheadError
from lmhead.ops import backends
from lmhead.ops.backends import BACKENDS, Backend
from lmhead.ops.triton.forms import FORMS

N, D, V = 6, 4, 9


def good():
    generator = torch.Generator().manual_seed(0)
    return {
        "hidden": torch.randn(N, D, generator=generator),
        "weight": torch.randn(V, D, generator=generator),
        "targets": torch.randint(V, (N,), generator=generator),
    }


BAD = {
    # what is passed, and what the message must say: the argument, the rule, the value, the remedy
    "hidden is no tensor": ({"hidden": [[1.0]]}, ["hidden must be a Tensor", "got list"]),
    "targets are no tensor": ({"targets": [1, 2]}, ["targets must be a Tensor", "got list"]),
    "hidden of integers": ({"hidden": torch.ones(N, D).long()}, ["hidden must be floating point", "int64"]),
    "targets of floats": ({"targets": torch.ones(N)}, ["targets must be integers", "token ids", "float32"]),
    "targets of booleans": ({"targets": torch.ones(N).bool()}, ["targets must be integers", "bool"]),
    "a hidden scalar": ({"hidden": torch.tensor(1.0)}, ["hidden must be [..., D]", "()"]),
    "no width": ({"hidden": torch.ones(N, 0), "weight": torch.ones(V, 0)}, ["hidden", "D > 0", "(6, 0)"]),
    "a weight of one dimension": ({"weight": torch.ones(D)}, ["weight must be [V, D]", "(4,)"]),
    "an empty vocabulary": ({"weight": torch.ones(0, D)}, ["weight must be [V, D] with V > 0", "(0, 4)"]),
    "a transposed weight": ({"weight": torch.ones(D, V)}, ["weight must be [V, 4], D as in hidden", "(4, 9)"]),
    "too few targets": ({"targets": torch.ones(N - 1).long()}, ["targets", "leading dimensions (6,)", "(5,)"]),
    "mixed dtypes": (
        {"weight": torch.ones(V, D).bfloat16()},
        ["hidden and weight", "one dtype outside autocast", "torch.float32 and torch.bfloat16", "torch.autocast"],
    ),
    "another device": ({"weight": torch.ones(V, D, device="meta")}, ["weight", "device cpu", "meta", "move it"]),
    "a bias of the wrong size": ({"bias": torch.ones(V + 1)}, ["bias must be [V] = [9]", "(10,)"]),
    "token weights of the wrong shape": ({"token_weight": torch.ones(N, 1)}, ["token_weight", "(6,)", "(6, 1)"]),
    "class weights of the wrong shape": ({"class_weight": torch.ones(N)}, ["class_weight", "(9,)", "(6,)"]),
    "a negative token weight": ({"token_weight": -torch.ones(N)}, ["token_weight", "finite and >= 0", "-1.0", "use 0"]),
    "an infinite class weight": ({"class_weight": torch.full((V,), math.inf)}, ["class_weight", "finite", "inf"]),
    "a NaN token weight": ({"token_weight": torch.full((N,), math.nan)}, ["token_weight", "finite", "nan"]),
    "a trained token weight": (
        {"token_weight": torch.ones(N, requires_grad=True)},
        ["token_weight must not require a gradient", "detach it", 'reduction="none"'],
    ),
    "smoothing of 1": ({"label_smoothing": 1.0}, ["label_smoothing must be in [0, 1)", "1.0"]),
    "negative smoothing": ({"label_smoothing": -0.1}, ["label_smoothing must be in [0, 1)", "-0.1"]),
    "NaN smoothing": ({"label_smoothing": math.nan}, ["label_smoothing", "nan"]),
    "negative z-loss": ({"z_loss": -1e-4}, ["z_loss must be finite and >= 0", "-0.0001"]),
    "infinite z-loss": ({"z_loss": math.inf}, ["z_loss must be finite", "inf"]),
    "a cap of 0": ({"softcap": 0.0}, ["softcap must be finite and > 0", "0.0", "None is off"]),
    "a negative cap": ({"softcap": -30.0}, ["softcap", "-30.0"]),
    "an infinite scale": ({"logit_scale": math.inf}, ["logit_scale must be finite", "inf"]),
    "an unknown reduction": ({"reduction": "avg"}, ["reduction must be mean, sum or none", "'avg'"]),
    "a divisor of a sum": ({"reduction": "sum", "divisor": 3}, ["divisor", 'reduction="mean" only', "'sum'"]),
    "a divisor of 0": ({"divisor": 0}, ["divisor must be finite and > 0", "got 0"]),
    "a NaN divisor": ({"divisor": math.nan}, ["divisor must be finite and > 0", "nan"]),
    "a negative divisor tensor": ({"divisor": torch.tensor(-2.0)}, ["divisor must be finite and >= 0", "-2.0"]),
    "a divisor of two numbers": ({"divisor": torch.ones(2)}, ["divisor must be one number", "(2,)"]),
    "a trained divisor": ({"divisor": torch.ones((), requires_grad=True)}, ["divisor must not require", "detach it"]),
    "no memory": ({"memory_budget": 0}, ["memory_budget must be > 0 bytes", "got 0"]),
    "no id": ({"ignore_index": None}, ["ignore_index must be an integer", "NoneType"]),
    "half an id": ({"ignore_index": 2.5}, ["ignore_index must be an integer", "float"]),
    "a huge id": ({"ignore_index": 10**30}, ["ignore_index must fit into 64 bits"]),
    "a huge z-loss": ({"z_loss": 10**400}, ["z_loss must fit into 64 bits"]),
    "a huge divisor": ({"divisor": 10**400}, ["divisor must fit into 64 bits"]),
    "a huge budget": ({"memory_budget": 10**30}, ["memory_budget must be > 0 bytes and fit into 64 bits"]),
    "a cap beyond float32": ({"softcap": 1e39}, ["softcap must be finite", "1e+39"]),
    "a scale beyond float32": ({"logit_scale": -1e39}, ["logit_scale must be finite"]),
    "words for a cap": ({"softcap": "30"}, ["softcap must be a number", "str"]),
    "words for a switch": ({"return_stats": "yes"}, ["return_stats must be True or False", "str"]),
    "top tokens alone": ({"top_k": 2}, ["top_k must be given with return_stats=True only"]),
    "no top token": ({"return_stats": True, "top_k": 0}, ["top_k must be >= 1, got 0"]),
    "half a top token": ({"return_stats": True, "top_k": 2.5}, ["top_k must be an integer, got float"]),
    "more top tokens than tokens": ({"return_stats": True, "top_k": 10**6}, ["top_k must be <= ", "got 1000000"]),
    "ranks alone": ({"ranks": True}, ["ranks must be given with return_stats=True only"]),
    "a divisor of 16 bits": (
        {"divisor": torch.tensor(257.0).bfloat16()},
        ["divisor must have 32 bits or more, got torch.bfloat16", "cast_forward_inputs=False"],
    ),
    "a token's weight of 16 bits": (
        {"token_weight": torch.ones(N).half()},
        ["token_weight must have 32 bits or more, got torch.float16", "give token_weight.float()"],
    ),
    "a complex divisor": ({"divisor": torch.tensor(3 + 1j)}, ["divisor must be a real number", "complex"]),
    "back-ends": ({"backend": ["chunked"]}, ["backend must be a name or None", "list"]),
    "an unknown back-end": (
        {"backend": "tritn"},
        ["one of triton, ", ", chunked, row_major, vocabulary_major, reference", "'tritn'"],
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused_with_name_rule_value_and_remedy(case):
    changed, words = BAD[case]
    with pytest.raises(LmheadError) as caught:
        linear_cross_entropy(**good() | changed)
    assert isinstance(caught.value, ValueError | TypeError)
    for word in words:
        assert word in str(caught.value)


def test_wrong_kinds_are_type_errors_and_wrong_values_value_errors():
    with pytest.raises(ArgumentTypeError):
        linear_cross_entropy(**good() | {"hidden": None})
    with pytest.raises(ArgumentError):
        linear_cross_entropy(**good() | {"softcap": 0.0})


def test_options_are_keywords():
    with pytest.raises(TypeError, match="positional"):
        linear_cross_entropy(*good().values(), torch.ones(V))


@pytest.mark.parametrize("backend", [name for name in BACKENDS if name != "triton_masked"])  # it waits for nothing
@pytest.mark.parametrize("target", [V, -1, -101, 2**40])
@pytest.mark.parametrize(
    "extra", [{}, {"class_weight": torch.tensor([0.0, 1, 1, 1, 1, 1, 1, 1, 0])}], ids=["", "weights"]
)
def test_a_target_out_of_range_is_named_with_its_position(backend, target, extra):
    arguments = good()
    arguments["targets"][4] = target
    with pytest.raises(ArgumentError) as caught:
        linear_cross_entropy(**arguments, backend=backend, **extra)
    for word in ("targets", "[0, 9)", "ignore_index=-100", str(target), "position 4", "vocabulary"):
        assert word in str(caught.value)


def test_minus_100_is_out_of_range_where_something_else_is_ignored():
    arguments = good()
    arguments["targets"][1] = -100
    with pytest.raises(ArgumentError, match="got -100 at flattened position 1"):
        linear_cross_entropy(**arguments, ignore_index=0)


def test_a_dtensor_is_refused(tmp_path):
    import torch.distributed as dist
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Shard, distribute_tensor

    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        mesh = init_device_mesh("cpu", (1,))
        arguments = good()
        arguments["weight"] = distribute_tensor(arguments["weight"], mesh, [Shard(0)])
        with pytest.raises(ArgumentError, match=r"weight must be a plain Tensor, got a DTensor.*full_tensor\(\)"):
            linear_cross_entropy(**arguments)
    finally:
        dist.destroy_process_group()


def test_a_backend_is_chosen_by_name():
    arguments = good()
    losses = [linear_cross_entropy(**arguments, backend=name) for name in BACKENDS if name not in FORMS]
    torch.testing.assert_close(losses[0], losses[1])


def test_a_backend_that_refuses_says_why(monkeypatch):
    picky = Backend(definitions=BACKENDS["reference"].definitions, refuses=lambda problem: "softcap is not built")
    monkeypatch.setattr(backends, "BACKENDS", {"picky": picky})
    with pytest.raises(ArgumentError, match="backend must run this problem, which picky refuses, got softcap is not"):
        linear_cross_entropy(**good(), backend="picky")
    with pytest.raises(ArgumentError, match="no back-end takes this problem; picky: softcap is not built"):
        linear_cross_entropy(**good())
    monkeypatch.setattr(backends, "BACKENDS", {"picky": picky, "chunked": BACKENDS["chunked"]})
    linear_cross_entropy(**good())


@pytest.mark.parametrize("backend", BACKENDS)
class TestSemantics:
    """Equal to torch.nn.functional.cross_entropy wherever that has the option."""

    @pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
    @pytest.mark.parametrize("smoothing", [0.0, 0.1])
    @pytest.mark.parametrize("ignored", [False, True])
    def test_reductions(self, backend, reduction, smoothing, ignored):
        arguments = good()
        if ignored:
            arguments["targets"][2:4] = -100
        got = linear_cross_entropy(**arguments, reduction=reduction, label_smoothing=smoothing, backend=backend)
        logits = arguments["hidden"] @ arguments["weight"].T
        expected = F.cross_entropy(logits, arguments["targets"], reduction=reduction, label_smoothing=smoothing)
        torch.testing.assert_close(got, expected)

    @pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
    def test_class_weights(self, backend, reduction):
        arguments, weights = good(), torch.linspace(0, 2, V)
        arguments["targets"][0], arguments["targets"][1] = -100, 0  # ignored, and of weight 0
        got = linear_cross_entropy(**arguments, class_weight=weights, reduction=reduction, backend=backend)
        logits = arguments["hidden"] @ arguments["weight"].T
        expected = F.cross_entropy(logits, arguments["targets"], weight=weights, reduction=reduction)
        torch.testing.assert_close(got, expected)

    def test_token_and_class_weights_multiply(self, backend):
        arguments, tokens, classes = good(), torch.linspace(0, 3, N), torch.linspace(1, 2, V)
        rows = linear_cross_entropy(**arguments, reduction="none", backend=backend)
        both = tokens * classes[arguments["targets"]]
        weights = {"token_weight": tokens, "class_weight": classes, "backend": backend}
        torch.testing.assert_close(linear_cross_entropy(**arguments, reduction="none", **weights), rows * both)
        torch.testing.assert_close(linear_cross_entropy(**arguments, reduction="sum", **weights), (rows * both).sum())
        mean = (rows * both).sum() / both.sum()
        torch.testing.assert_close(linear_cross_entropy(**arguments, **weights), mean)

    @pytest.mark.parametrize("divisor", [5, 2.5, torch.tensor(5), torch.tensor([2.5])], ids=str)
    def test_a_divisor_replaces_the_count(self, backend, divisor):
        arguments = good()
        got = linear_cross_entropy(**arguments, divisor=divisor, token_weight=torch.full((N,), 0.5), backend=backend)
        total = linear_cross_entropy(**arguments, reduction="sum", backend=backend)
        torch.testing.assert_close(got, 0.5 * total / float(divisor))
        assert got.shape == ()

    def test_micro_batches_add_up_to_the_batch(self, backend):
        arguments = good()
        arguments["targets"][:2] = -100
        whole = linear_cross_entropy(**arguments, backend=backend)
        parts = [
            linear_cross_entropy(
                arguments["hidden"][rows],
                arguments["weight"],
                arguments["targets"][rows],
                divisor=N - 2,
                backend=backend,
            )
            for rows in (slice(0, 3), slice(3, N))
        ]
        torch.testing.assert_close(sum(parts), whole)

    def test_nothing_scored_anywhere_may_have_a_divisor_of_zero(self, backend):
        arguments = good()
        arguments["targets"].fill_(-100)
        assert linear_cross_entropy(**arguments, divisor=torch.tensor(0.0), backend=backend) == 0

    def test_another_ignore_index(self, backend):
        arguments = good()
        arguments["targets"][:] = torch.tensor([3, 1, 3, 2, 0, 5])
        logits = arguments["hidden"] @ arguments["weight"].T
        expected = F.cross_entropy(logits, arguments["targets"], ignore_index=3)
        torch.testing.assert_close(linear_cross_entropy(**arguments, ignore_index=3, backend=backend), expected)

    def test_the_loss_is_float32_or_wider(self, backend):
        arguments = good()
        for dtype, expected in ((torch.bfloat16, torch.float32), (torch.float64, torch.float64)):
            narrow = {name: x.to(dtype) if x.is_floating_point() else x for name, x in arguments.items()}
            assert linear_cross_entropy(**narrow, backend=backend).dtype == expected
