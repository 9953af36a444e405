"""Safetensors of a model folder: one file, or shards that an index names, as transformers writes them.

model.safetensors                        wins where both are there, as in transformers
model.safetensors.index.json             {"weight_map": {tensor: shard}}, shards beside it
adapter_model.safetensors                of adapters, as PEFT writes them; adapter_config.json names their model
"""

from pathlib import Path
from typing import Any, Final

from torch import Tensor

from lmhead.errors import InputError
from lmhead.models.transformers.formats.json_object import read_json_object

ONE_FILE: Final = "model.safetensors"
INDEX: Final = "model.safetensors.index.json"
ADAPTER: Final = "adapter_model.safetensors"
_PICKLED: Final = ("pytorch_model.bin", "pytorch_model.bin.index.json")  # which transformers alone reads


def holds_weights(folder: Path) -> bool:
    """Whether the folder is one of a model: it has its weights, whole or in shards, as torch pickles them too, or
    adapters."""
    return holds_safetensors(folder) or any((folder / name).is_file() for name in (ADAPTER, *_PICKLED))


def holds_safetensors(folder: Path) -> bool:
    """Whether the folder has a model's weights as `read_weights` reads them."""
    return (folder / ONE_FILE).is_file() or (folder / INDEX).is_file()


def read_weights(folder: Path) -> dict[str, Tensor]:
    """Every tensor of the model in `folder`, by name.

    Raises:
        InputError: there are no weights, a shard is missing or broken, or the index says what cannot be.
        OSError: the disk refuses.
    """
    whole = folder / ONE_FILE
    if whole.is_file():
        return _read_tensors(whole)
    if not (folder / INDEX).is_file():
        raise InputError(f"{folder} must hold a model, got no {ONE_FILE} in it, and no {INDEX}")
    tensors: dict[str, Tensor] = {}
    for shard, names in _shards(folder / INDEX).items():
        file = folder / shard
        if not file.is_file():
            raise InputError(f"{folder} must hold every shard of its index, got no {shard}: fetch the folder anew")
        held = _read_tensors(file)
        if missing := [name for name in names if name not in held]:
            raise InputError(f"{file} must hold {missing[0]}, as {INDEX} says, got none: fetch the folder anew")
        tensors |= {name: held[name] for name in names}
    return tensors


def tensors_by_file(folder: Path) -> dict[str, list[str]]:
    """The names of a model's tensors by the file in `folder` that holds them; no tensor is read.

    Raises:
        InputError: there are no weights, or they are broken.
    """
    whole = folder / ONE_FILE
    if not whole.is_file():
        return _shards(folder / INDEX)
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(whole, framework="pt") as file:
            return {ONE_FILE: list(file.keys())}
    except SafetensorError as error:
        raise InputError(f"{whole} must be a safetensors file, got {error}: fetch or save it anew") from error


def _shards(index: Path) -> dict[str, list[str]]:
    """The names of the tensors in each shard."""
    weights: Any = read_json_object(index).get("weight_map")
    if not isinstance(weights, dict) or not weights or not all(isinstance(shard, str) for shard in weights.values()):
        raise InputError(f"{index} must have a weight_map from tensors to files, got none: fetch the folder anew")
    found: dict[str, list[str]] = {}
    for name, shard in weights.items():
        if shard in ("", ".", "..") or {"/", "\\", "\0"} & set(shard):  # a file of this folder and nothing else
            raise InputError(f"{index} must name files beside it, got {shard!r}: fetch the folder anew")
        found.setdefault(shard, []).append(name)
    return found


def _read_tensors(file: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError  # here, so that `import lmhead` needs torch alone
    from safetensors.torch import load_file

    try:
        return load_file(file)
    except SafetensorError as error:
        raise InputError(f"{file} must be a safetensors file, got {error}: fetch or save it anew") from error
