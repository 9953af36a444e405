"""The files that torch.distributed.checkpoint (DCP) wrote: reading them runs no code that somebody put into them.

DCP's index, `.metadata`, is a pickle, which torch loads with all that a pickle can do. Here it may name the classes of
an index and nothing else. The tensors are read by torch.load(weights_only=True), as DCP does; objects are not.
"""

import pickle
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, final

import torch
from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.filesystem import FileSystemReader
from torch.distributed.checkpoint.metadata import Metadata, StorageMeta, TensorStorageMetadata
from torch.distributed.checkpoint.state_dict_loader import load as load_tensors

from lmhead.ranks.process_ranks import ProcessRanks
from lmhead.ranks.ranks import Ranks

INDEX: Final = ".metadata"
STATE_FILE: Final = "state.json"  # what is no tensor: written beside, for DCP would pickle it
_OWN: Final = re.compile(r"__[0-9]+_[0-9]+\.distcp")  # what DCP calls its files
_OF_DCP: Final = "torch.distributed.checkpoint."
_NAMED: Final = {
    *((f"{_OF_DCP}metadata", name) for name in ("Metadata", "MetadataIndex", "StorageMeta", "TensorStorageMetadata")),
    *((f"{_OF_DCP}metadata", name) for name in ("ChunkStorageMetadata", "TensorProperties", "_MEM_FORMAT_ENCODING")),
    (f"{_OF_DCP}filesystem", "_StorageInfo"),
    ("torch.serialization", "_get_layout"),
    ("torch", "Size"),
    ("pathlib", "PosixPath"),
    ("pathlib", "WindowsPath"),
}


def described(folder: Path) -> dict[str, Tensor]:
    """Every tensor in the files, by its name, without its numbers: on the meta device.

    Raises:
        OSError: the index cannot be read.
        RuntimeError: it is none.
    """
    return {
        name: torch.empty(stored.size, dtype=stored.properties.dtype, device="meta")
        for name, stored in read_index(folder).state_dict_metadata.items()
        if isinstance(stored, TensorStorageMetadata)
    }


def load(folder: Path, tensors: Mapping[str, Tensor], ranks: Ranks) -> None:
    """Fill the tensors, of each rank its part, however many ranks wrote them. All ranks call it, with the same names.

    Raises:
        RuntimeError: a file cannot be read, on any rank.
    """
    alone = not isinstance(ranks, ProcessRanks)
    group = ranks.control if isinstance(ranks, ProcessRanks) else None
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "torch.distributed is disabled")
            reader = _Reader(folder)
            load_tensors(dict(tensors), storage_reader=reader, process_group=group, no_dist=alone)
    except CheckpointException as error:
        raise RuntimeError(first_failure(error)[1]) from error


def first_failure(error: CheckpointException) -> tuple[int, BaseException]:
    """(the first rank on which something failed, what)."""
    rank = min(error.failures)
    return rank, error.failures[rank][0]


def read_index(folder: Path) -> Metadata:
    """What DCP knows of its files.

    Raises:
        OSError: it cannot be read.
        RuntimeError: it is none, or names what no index names.
    """
    try:
        with (folder / INDEX).open("rb") as stream:
            index = _Unpickler(stream).load()
    except (pickle.UnpicklingError, EOFError, AttributeError, TypeError, ValueError, IndexError, KeyError) as error:
        raise RuntimeError(f"{INDEX} is no index of tensors: {error}") from None
    if not isinstance(index, Metadata):
        raise RuntimeError(f"{INDEX} is no index of tensors")
    for stored in (index.storage_data or {}).values():
        file = getattr(stored, "relative_path", None)
        if not isinstance(file, str) or not _OWN.fullmatch(file):  # SHA256SUMS has no file of another folder
            raise RuntimeError(f"{INDEX} is no index of tensors: they lie in {file!r}")
    return index


@final
class _Reader(FileSystemReader):
    def read_metadata(self, *args: Any, **kwargs: Any) -> Metadata:
        index = read_index(Path(self.path))
        index.storage_meta = index.storage_meta or StorageMeta()
        index.storage_meta.load_id = self.load_id
        return index


@final
class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _NAMED or (module == "torch" and isinstance(getattr(torch, name, None), torch.dtype)):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"it names {module}.{name}")
