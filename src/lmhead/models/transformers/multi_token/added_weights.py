"""Tensors beside a model's in its folder: one more shard, which the index names; and some of a folder's tensors.

model.safetensors  ->  model-00001-of-00002.safetensors  model-00002-of-00002.safetensors  model.safetensors.index.json

The model's own files are renamed, not read. Who loads the model finds every tensor of its own, and others.
"""

import json
from collections.abc import Callable
from pathlib import Path

from torch import Tensor

from lmhead.errors import InputError
from lmhead.models.transformers.formats.json_object import read_json_object
from lmhead.models.transformers.formats.weight_files import INDEX, tensors_by_file


def add_tensors(folder: Path, tensors: dict[str, Tensor]) -> None:
    """Put tensors among the weights of the model in `folder`.

    Raises:
        OSError: the disk refuses.
    """
    held = tensors_by_file(folder)
    count = len(held) + 1
    placed = dict[str, str]()
    for at, (file, names) in enumerate(sorted(held.items()), 1):
        (folder / file).rename(folder / _shard(at, count))
        placed |= dict.fromkeys(names, _shard(at, count))
    write_tensors(folder / _shard(count, count), tensors)
    placed |= dict.fromkeys(tensors, _shard(count, count))
    said = read_json_object(folder / INDEX) if (folder / INDEX).is_file() else {}
    size = sum((folder / _shard(at, count)).stat().st_size for at in range(1, count + 1))
    index = said | {"metadata": {"total_size": size}, "weight_map": dict(sorted(placed.items()))}
    (folder / INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def read_tensors(folder: Path, wanted: Callable[[str], bool]) -> dict[str, Tensor]:
    """The tensors among the weights in `folder` whose names are wanted.

    Raises:
        InputError: there are no weights, or a file is broken.
    """
    found: dict[str, Tensor] = {}
    for file, names in tensors_by_file(folder).items():
        if some := [name for name in names if wanted(name)]:
            found |= read_file(folder / file, some)[0]
    return found


def read_file(file: Path, names: list[str] | None = None) -> tuple[dict[str, Tensor], dict[str, str]]:
    """(the tensors of these names, or all, of one safetensors file; what it says of itself).

    Raises:
        InputError: it is broken.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="pt") as held:
            chosen = list(held.keys()) if names is None else names
            return {name: held.get_tensor(name) for name in chosen}, dict(held.metadata() or {})
    except (SafetensorError, FileNotFoundError) as error:
        raise InputError(f"{file} must be a whole safetensors file, got {error}: fetch or save it anew") from error


def write_tensors(file: Path, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write one safetensors file.

    Raises:
        OSError: the disk refuses.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    held = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    try:
        save_file(held, file, metadata={"format": "pt"} | (metadata or {}))
    except SafetensorError as error:
        raise OSError(f"cannot write {file}: {error}") from error


def _shard(at: int, of: int) -> str:
    return f"model-{at:05d}-of-{of:05d}.safetensors"
