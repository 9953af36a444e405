"""Random state of each rank: taken up bit for bit by as many ranks; by other numbers of them, drawn anew."""

import hashlib
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from lmhead.ranks.ranks import Ranks


def random_state(device: torch.device) -> dict[str, Tensor]:
    """The generators' that training draws from: the CPU's, and this rank's device's."""
    state = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def set_random_state(state: dict[str, Tensor], device: torch.device) -> None:
    """Go on from what `random_state` gave; a device that it does not know goes on as it is."""
    torch.set_rng_state(state["cpu"])
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)


def reseed(seed: int, step: int, ranks: Ranks) -> None:
    """A state for this rank at a step of a run: another for each, and always the same."""
    digest = hashlib.sha256(f"{seed} {step} {ranks.rank}".encode()).digest()
    torch.manual_seed(int.from_bytes(digest[:8], "little"))


def random_file(rank: int, size: int) -> str:
    """The name of the file with the state of one of `size` ranks."""
    return f"random-{rank}-of-{size}.safetensors"


def write_random_state(folder: Path, state: dict[str, Tensor], ranks: Ranks) -> None:
    """Write this rank's."""
    save_file(state, folder / random_file(ranks.rank, ranks.size))


def read_random_state(folder: Path, ranks: Ranks) -> dict[str, Tensor]:
    """This rank's of as many."""
    return load_file(folder / random_file(ranks.rank, ranks.size))
