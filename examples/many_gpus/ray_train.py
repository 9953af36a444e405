"""Ray Train: `lmhead train` as one rank in each worker that Ray places; lost workers are placed again, and go on.

    python examples/many_gpus/ray_train.py RUN --workers 16 [flags of lmhead train]
    python examples/many_gpus/ray_train.py /shared/runs/books --workers 2 --no-gpu --data /shared/books --device cpu

RUN is the run's folder, where all workers see it. Where it is a run already, it goes on, and flags of its config stay.
"""

import argparse
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import ray.train
import torch.distributed as dist
from ray.train.torch import TorchConfig, TorchTrainer


def main() -> None:
    """Place the workers, and train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--workers", type=int, required=True, metavar="K", help="ranks, one a GPU")
    parser.add_argument("--no-gpu", action="store_true", help="workers without GPUs")
    parser.add_argument("--failures", type=int, default=3, metavar="N", help="how often lost workers are placed again")
    options, flags = parser.parse_known_args()
    TorchTrainer(
        train,
        train_loop_config={"run": str(options.run.absolute()), "flags": flags},
        scaling_config=ray.train.ScalingConfig(num_workers=options.workers, use_gpu=not options.no_gpu),
        torch_config=TorchConfig(backend="gloo"),  # of the workers, to agree on a port; the ranks choose their own
        run_config=ray.train.RunConfig(failure_config=ray.train.FailureConfig(max_failures=options.failures)),
    ).fit()


def train(config: dict[str, Any]) -> None:
    """One worker: start the rank and wait for it."""
    context = ray.train.get_context()
    agreed: list[Any] = [None]
    if context.get_world_rank() == 0:
        began = Path(config["run"], "config.yaml").exists()
        words = ["--resume", config["run"]] if began else ["--out", config["run"], *config["flags"]]
        agreed = [(_address(), _free_port(), words)]
    dist.broadcast_object_list(agreed, src=0)
    address, port, words = agreed[0]
    place = {
        "RANK": context.get_world_rank(),
        "WORLD_SIZE": context.get_world_size(),
        "LOCAL_RANK": context.get_local_rank(),
        "GROUP_RANK": context.get_node_rank(),
        "MASTER_ADDR": address,
        "MASTER_PORT": port,
    }
    environment = os.environ | {name: str(value) for name, value in place.items()}
    subprocess.run([sys.executable, "-m", "lmhead", "train", *words], env=environment, check=True)


def _address() -> str:
    return str(ray.util.get_node_ip_address())


def _free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("", 0))
        return int(listening.getsockname()[1])


if __name__ == "__main__":
    main()
