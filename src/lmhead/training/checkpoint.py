"""What a checkpoint holds: the model as transformers reads it, and everything that an exact resume needs.

step-N/model.safetensors, config.json, tokenizer.json, ...    for anybody (published_model.py), the chat template too
step-N/training.pt       what is trained, its average, optimiser state, random state, step; weights_only=True loads it
step-N/ranks/            the same of a run of many ranks, in its place (training/checkpoints/)

The run adds its sealed config and SHA256SUMS (lmhead/training/run/).
"""

import pickle
from contextlib import nullcontext
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch

from lmhead.data.tokenizer.run_tokenizer import RunTokenizer
from lmhead.errors import InputError
from lmhead.models.causal_lm import CausalLM
from lmhead.ranks.ranks import ALONE, Ranks
from lmhead.training.optimizers.optimizer import Optimizers
from lmhead.training.run.checkpoints import RANKS_FOLDER, TRAINING_FILE
from lmhead.training.weights.average import WeightAverage
from lmhead.training.weights.published_model import write_model
from lmhead.training.weights.trained_state import (
    frozen_fingerprint,
    load_trained_state,
    require_same_frozen,
    trained_state,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Where a run stands after `step` updates."""

    step: int
    tokens: int  # seen in training
    seconds: float  # spent so far, over all sittings
    fingerprint: str  # of the training data


def write_checkpoint(
    folder: Path,
    model: CausalLM,
    optimizers: Optimizers,
    tokenizer: RunTokenizer,
    progress: Progress,
    average: WeightAverage | None = None,
) -> None:
    """Fill an empty folder. Where weights are averaged, their mean is the model that it has for anybody."""
    with nullcontext() if average is None else average.in_place():
        write_model(folder, model, tokenizer)
    state: dict[str, Any] = {
        "model": trained_state(model),
        "frozen": frozen_fingerprint(model),
        "optimizers": optimizers.state_dict(),
        "average": None if average is None else average.state_dict(),
        "step": progress.step,
        "tokens": progress.tokens,
        "seconds": progress.seconds,
        "fingerprint": progress.fingerprint,
        "torch_rng": torch.get_rng_state(),
        "cuda_rng": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }
    with (folder / TRAINING_FILE).open("wb") as stream:  # a stream of our own: its errors say what the disk says
        torch.save(state, stream)


def restore_checkpoint(
    folder: Path,
    model: CausalLM,
    optimizers: Optimizers,
    average: WeightAverage | None = None,
    *,
    ranks: Ranks = ALONE,
    seed: int = 0,
) -> Progress:
    """Put weights, their average, optimiser and random state back as they were. All ranks call it.

    Args:
        ranks: any number of them, whichever wrote the checkpoint. Random state is taken up where it is the same one.
        seed: of the run: from it, the step and the rank, random numbers are drawn anew where it is another.

    Raises:
        InputError: the checkpoint cannot be read, or is of another model, or what was frozen beside it is another.
    """
    if ranks.size == 1 and not (folder / RANKS_FOLDER).is_dir():
        state = _restore_of_one(folder, model, optimizers, average)
    else:
        from lmhead.training.checkpoints.restored import restore_state  # loads what one process need not have

        state = restore_state(folder, model, optimizers, average, ranks=ranks, seed=seed)
    return Progress(**{each.name: state[each.name] for each in fields(Progress)})


def _restore_of_one(
    folder: Path, model: CausalLM, optimizers: Optimizers, average: WeightAverage | None
) -> dict[str, Any]:
    try:
        state: dict[str, Any] = torch.load(folder / TRAINING_FILE, map_location="cpu", weights_only=True)
        load_trained_state(model, state["model"])
    except (OSError, EOFError, RuntimeError, KeyError, pickle.UnpicklingError) as error:
        raise InputError(f"cannot resume from {folder}: {' '.join(str(error).split())[:200]}") from None
    require_same_frozen(folder, state.get("frozen"), model)
    optimizers.load_state_dict(state["optimizers"])
    if average is not None:
        average.load_state_dict(state["average"])
    torch.set_rng_state(state["torch_rng"])
    if state["cuda_rng"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda_rng"])
    return state
