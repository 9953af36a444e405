"""A checkpoint taken up by any number of ranks, whichever number of them wrote it."""

import json
import pickle
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from lmhead.errors import InputError
from lmhead.ranks.own_part import reshard
from lmhead.ranks.ranks import Ranks
from lmhead.ranks.together import together
from lmhead.training.checkpoints.random_states import read_random_state, reseed, set_random_state
from lmhead.training.checkpoints.rank_files import STATE_FILE, described, load
from lmhead.training.checkpoints.state_tensors import fill, means_of, prepared_tensors, tensors_of_one
from lmhead.training.optimizers.optimizer import Optimizers
from lmhead.training.run.checkpoints import RANKS_FOLDER, TRAINING_FILE
from lmhead.training.weights.average import WeightAverage
from lmhead.training.weights.trained_state import require_same_frozen

T = TypeVar("T")


def restore_state(
    folder: Path,
    model: nn.Module,
    optimizers: Optimizers,
    average: WeightAverage | None,
    *,
    ranks: Ranks,
    seed: int,
) -> dict[str, Any]:
    """Put weights, their average, optimisers and random state back as they were. Collective.

    As many ranks as have saved go on bit for bit; of another number of them each draws anew, by (seed, step, rank).
    Weights and optimisers' states are equal bit for bit in any case.

    Args:
        model: sharded where there are several ranks, with its optimisers and its average.

    Returns:
        step, tokens, seconds, fingerprint, and what else is no tensor.

    Raises:
        InputError: on all ranks: it cannot be read, or is of another model, or what was frozen beside it is another.
    """
    reshard(model)
    if (folder / RANKS_FOLDER).is_dir():
        state = _of_ranks(folder, model, optimizers, average, ranks)
    else:
        state = _of_one(folder, model, optimizers, average, ranks)
    require_same_frozen(folder, state.get("frozen"), model)
    if state.get("ranks") == ranks.size:
        random = together(ranks, lambda: _read(folder, lambda: read_random_state(folder / RANKS_FOLDER, ranks)))
        set_random_state(random, next(model.parameters()).device)
    else:
        reseed(seed, state["step"], ranks)
    return state


def _of_ranks(
    folder: Path, model: nn.Module, optimizers: Optimizers, average: WeightAverage | None, ranks: Ranks
) -> dict[str, Any]:
    files = folder / RANKS_FOLDER
    state: dict[str, Any] = ranks.agreed(
        lambda: _read(folder, lambda: json.loads((files / STATE_FILE).read_text(encoding="utf-8")))
    )

    def prepared() -> dict[str, Tensor]:
        return _read(folder, lambda: prepared_tensors(described(files), model, optimizers, average))

    tensors = together(ranks, prepared)
    with _reading(folder):
        load(files, tensors, ranks)
    _take_up(average, state["average"], tensors)
    return state


def _of_one(
    folder: Path, model: nn.Module, optimizers: Optimizers, average: WeightAverage | None, ranks: Ranks
) -> dict[str, Any]:
    """Each rank maps the file, and reads its part of each tensor."""

    def filled() -> tuple[dict[str, Any], dict[str, Tensor]]:
        with _reading(folder):
            state = torch.load(folder / TRAINING_FILE, map_location="cpu", weights_only=True, mmap=True)
            whole = tensors_of_one(state, model, optimizers)
            tensors = prepared_tensors(whole, model, optimizers, average)
            fill(tensors, whole)
            return state, tensors

    state, tensors = together(ranks, filled)
    _take_up(average, state["average"], tensors)
    return state


def _take_up(average: WeightAverage | None, known: Mapping[str, Any] | None, tensors: Mapping[str, Tensor]) -> None:
    if average is not None and known is not None:
        average.load_state_dict({"means": means_of(tensors), "count": known["count"], "since": known["since"]})


def _read(folder: Path, work: Callable[[], T]) -> T:
    with _reading(folder):
        return work()


@contextmanager
def _reading(folder: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, EOFError, RuntimeError, KeyError, ValueError, SafetensorError, pickle.UnpicklingError) as error:
        raise InputError(f"cannot resume from {folder}: {' '.join(str(error).split())[:200]}") from None
