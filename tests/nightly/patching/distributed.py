"""Patched models in two processes: DDP and FSDP2, patched before and after, give stock DDP's step.

python -m pytest tests/nightly/patching/distributed.py
"""

import os
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from tests.models.transformers.patching.small_models import assert_same_step, drawn, gemma2, llama, step
from torch import Tensor, nn
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

import lmhead


def whole(found: tuple[Any, dict[str, Tensor]]) -> tuple[Any, dict[str, Tensor]]:
    gradients = {
        name.removeprefix("module."): each.full_tensor() if hasattr(each, "full_tensor") else each
        for name, each in found[1].items()
    }
    return found[0], gradients


def sharded(model: nn.Module, *, root: dict[str, Any] | None = None, head: dict[str, Any] | None = None) -> nn.Module:
    for layer in model.model.layers:
        fully_shard(layer)
    if head is not None:
        fully_shard(model.lm_head, **head)
    return fully_shard(model, **(root or {}))


WAYS = {
    "DDP": DistributedDataParallel,
    "FSDP2": sharded,
    "FSDP2, the root resharded": lambda model: sharded(model, root={"reshard_after_forward": True}),
    "FSDP2, the head kept": lambda model: sharded(
        model, head=None if model.config.tie_word_embeddings else {"reshard_after_forward": False}
    ),
}


def work(rank: int, folder: Path) -> None:
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    batch = drawn(seed=rank + 1)
    for family in (llama, gemma2):
        right = whole(step(DistributedDataParallel(family().float()), **batch))
        for name, wrap in WAYS.items():
            for early in (True, False):
                model = family().float()
                if early:
                    lmhead.patch(model)
                model = wrap(model)
                if not early:
                    lmhead.patch(model)
                for _ in range(2):
                    found = whole(step(model, **batch))
                    assert "logits" not in found[0], name
                    assert_same_step(found, right, rtol=1e-4, atol=1e-6)
                with torch.no_grad():
                    assert "logits" in model.eval()(**batch)
    dist.destroy_process_group()


def test_two_processes(tmp_path: Path) -> None:
    mp.spawn(work, args=(tmp_path,), nprocs=2)
