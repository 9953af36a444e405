"""Patched models in two processes: DDP and FSDP2, patched before and after, give stock DDP's step.

python -m pytest tests/nightly/patching/distributed.py
"""

import os
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from tests.models.transformers.patching.small_models import assert_same_step, drawn, gemma2, llama, step
from tests.models.transformers.patching.wrapped_models import WRAPPED, whole
from torch.nn.parallel import DistributedDataParallel

import lmhead


def work(rank: int, folder: Path) -> None:
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    batch = drawn(seed=rank + 1)
    for family in (llama, gemma2):
        right = whole(step(DistributedDataParallel(family().float()), **batch))
        for name, wrap in WRAPPED.items():
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
