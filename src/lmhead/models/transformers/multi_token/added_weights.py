"""Tensors beside a model's in its folder: one more shard, which the index names; and some of a folder's tensors.

model.safetensors  ->  model-00001-of-00002.safetensors  model-00002-of-00002.safetensors  model.safetensors.index.json

The model's own files are renamed, not read. Who loads the model finds every tensor of its own, and others.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor

from lmhead.errors import InputError
from lmhead.models.transformers.formats.json_object import read_json_object
from lmhead.models.transformers.formats.weight_files import INDEX, ONE_FILE


def add_tensors(folder: Path, tensors: dict[str, Tensor]) -> None:
    """Put tensors among the weights of the model in `folder`.

    Raises:
        OSError: the disk refuses.
    """
    index = _index_of(folder)
    shards = sorted(set(index["weight_map"].values()))
    names = {shard: _shard(at, len(shards) + 1) for at, shard in enumerate(shards, 1)}
    for shard, name in names.items():
        (folder / shard).rename(folder / name)
    last = _shard(len(shards) + 1, len(shards) + 1)
    write_tensors(folder / last, tensors)
    total = index["metadata"]["total_size"] + sum(each.nbytes for each in tensors.values())
    placed = {name: names[shard] for name, shard in index["weight_map"].items()} | dict.fromkeys(tensors, last)
    made = {"metadata": {**index["metadata"], "total_size": total}, "weight_map": dict(sorted(placed.items()))}
    (folder / INDEX).write_text(json.dumps(made, indent=2) + "\n", encoding="utf-8")


def tensor_names(folder: Path) -> list[str]:
    """The names of all tensors in `folder`, without reading one.

    Raises:
        InputError: there are none, or a file is broken.
    """
    return list(_index_of(folder)["weight_map"])


def read_tensors(folder: Path, wanted: Callable[[str], bool]) -> dict[str, Tensor]:
    """The tensors in `folder` whose names are wanted.

    Raises:
        InputError: a file is broken.
    """
    from safetensors import safe_open

    placed: dict[str, list[str]] = {}
    for name, shard in _index_of(folder)["weight_map"].items():
        if wanted(name):
            placed.setdefault(shard, []).append(name)
    found = {}
    for shard, names in placed.items():
        with _named(folder / shard), safe_open(folder / shard, framework="pt") as file:
            found |= {name: file.get_tensor(name) for name in names}
    return found


def write_tensors(file: Path, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write one safetensors file.

    Raises:
        OSError: the disk refuses.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    try:
        save_file(
            {name: each.detach().cpu().contiguous() for name, each in tensors.items()},
            file,
            metadata={"format": "pt", **(metadata or {})},
        )
    except SafetensorError as error:
        raise OSError(f"cannot write {file}: {error}") from error


def _shard(at: int, of: int) -> str:
    return f"model-{at:05d}-of-{of:05d}.safetensors"


def _index_of(folder: Path) -> dict[str, Any]:
    """The index of the weights in a folder; of one file, what its index would be."""
