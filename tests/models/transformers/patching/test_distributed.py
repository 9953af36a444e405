"""DDP, FSDP2 and tensor parallelism, in a world of one process; of two: tests/nightly/patching/distributed.py."""

from collections.abc import Iterator

import pytest
import torch
import torch.distributed as dist
from tests.models.transformers.patching.small_models import assert_same_step, drawn, gemma2, llama, step
from tests.models.transformers.patching.wrapped_models import WRAPPED, sharded, whole
from torch.distributed.fsdp import FullyShardedDataParallel

import lmhead
from lmhead import ArgumentError
from lmhead.models.transformers.patching.patch import is_patched

SHARDED_HEAD = (
    r"^the output layer must have its weight while the loss is taken, got one that is sharded: leave the layer to the "
    r"root's group, fully_shard\(model\) without fully_shard\(output layer\), or shard it by "
    r"fully_shard\(output layer, reshard_after_forward=False\)$"
)


@pytest.fixture(autouse=True, scope="module")
def world() -> Iterator[None]:
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.parametrize("early", [True, False], ids=["patched first", "wrapped first"])
@pytest.mark.parametrize("wrapped", WRAPPED)
def test_a_wrapped_model_takes_stocks_step(wrapped, early):
    right = step(llama().float())
    model = llama().float()
    if early:
        lmhead.patch(model)
    model = WRAPPED[wrapped](model)
    if not early:
        lmhead.patch(model)
    for _ in range(2):
        found = whole(step(model))
        assert_same_step(found, right, rtol=1e-4, atol=1e-6)
        assert "logits" not in found[0]
    assert lmhead.last_statistics(model).nll.shape == (24,)
    with torch.no_grad():
        stock, output = llama().float().eval()(**drawn()), model.eval()(**drawn())
    torch.testing.assert_close(output.logits, stock.logits)
    lmhead.unpatch(model)
    assert "logits" in model.train()(**drawn())


def test_an_embedding_that_is_the_head_is_in_the_roots_group():
    right = step(gemma2().float())
    model = sharded(gemma2().float())
    lmhead.patch(model)
    assert_same_step(whole(step(model)), right, rtol=1e-4, atol=1e-6)


def test_a_head_that_is_sharded_by_itself_is_refused_with_both_remedies():
    model = sharded(llama().float(), head={})
    with pytest.raises(ArgumentError, match=SHARDED_HEAD):
        lmhead.patch(model)
    assert not is_patched(model)
    assert "logits" in model(**drawn())
    model = llama().float()
    lmhead.patch(model)
    model = sharded(model, head={})
    with pytest.raises(ArgumentError, match=SHARDED_HEAD):
        model(**drawn())


def test_a_head_that_tensor_parallelism_has_split_is_refused():
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Replicate
    from torch.distributed.tensor.parallel import ColwiseParallel, parallelize_module

    plan = {"lm_head": ColwiseParallel(output_layouts=Replicate())}
    model = parallelize_module(llama().float(), init_device_mesh("cpu", (1,)), plan)
    with pytest.raises(
        ArgumentError,
        match=r"^model must have the whole weight of its output layer, got one that tensor parallelism has split in "
        r"LlamaForCausalLM: train it as it is, or by torch.distributed.fsdp.fully_shard\(model\)$",
    ):
        lmhead.patch(model)
    assert not is_patched(model)


@pytest.mark.filterwarnings("ignore:FSDP is switching to use .NO_SHARD.")
def test_the_first_fsdp_is_refused():
    model = FullyShardedDataParallel(llama().float(), device_id=torch.device("cpu"))
    with pytest.raises(ArgumentError, match=r"^model must not be wrapped by FullyShardedDataParallel, .*: use torch"):
        lmhead.patch(model)
