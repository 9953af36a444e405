"""What a checkpoint holds: the model as transformers reads it, and everything that an exact resume needs.

step-N/model.safetensors, config.json, tokenizer.json, ...    for anybody (load_pretrained), the chat template too
step-N/training.pt       raw weights, their average, optimiser state, random state, step; loaded with weights_only=True

The run adds its sealed config and SHA256SUMS (lmhead/training/run/).
"""

import pickle
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from lmhead.data.tokenizer.run_tokenizer import RunTokenizer
from lmhead.errors import InputError
from lmhead.models.gpt import GPT
from lmhead.models.transformers.pretrained import save_pretrained
from lmhead.training.average import WeightAverage
from lmhead.training.optimizer import Optimizers
from lmhead.training.run.checkpoints import TRAINING_FILE


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Where a run stands after `step` updates."""

    step: int
    tokens: int  # seen in training
    seconds: float  # spent so far, over all sittings
    fingerprint: str  # of the training data


def write_checkpoint(
    folder: Path,
    model: GPT,
    optimizers: Optimizers,
    tokenizer: RunTokenizer,
    progress: Progress,
    average: WeightAverage | None = None,
) -> None:
    """Fill an empty folder. Where weights are averaged, their mean is the model that it has for anybody."""
    with nullcontext() if average is None else average.in_place():
        save_pretrained(
            model,
            folder,
            tokenizer=tokenizer.backend,
            bos_token_id=tokenizer.bos_id,
            eos_token_id=tokenizer.eos_ids,
            pad_token_id=tokenizer.pad_id,
        )
    for name, text in tokenizer.files.items():
        (folder / name).write_text(text, encoding="utf-8")
    state: dict[str, Any] = {
        "model": model.state_dict(),
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
    folder: Path, model: GPT, optimizers: Optimizers, average: WeightAverage | None = None
) -> Progress:
    """Put weights, their average, optimiser and random state back as they were.

    Raises:
        InputError: the checkpoint cannot be read, or is of another model.
    """
    try:
        state = torch.load(folder / TRAINING_FILE, map_location="cpu", weights_only=True)
        model.load_state_dict(state["model"])
    except (OSError, EOFError, RuntimeError, KeyError, pickle.UnpicklingError) as error:
        raise InputError(f"cannot resume from {folder}: {' '.join(str(error).split())[:200]}") from None
    optimizers.load_state_dict(state["optimizers"])
    if average is not None:
        average.load_state_dict(state["average"])
    torch.set_rng_state(state["torch_rng"])
    if state["cuda_rng"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda_rng"])
    return Progress(
        step=state["step"], tokens=state["tokens"], seconds=state["seconds"], fingerprint=state["fingerprint"]
    )
