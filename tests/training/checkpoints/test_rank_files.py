"""Reading DCP's files: what is in them, and nothing that somebody put there is run."""

import io
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.distributed.checkpoint import save

from lmhead.ranks.ranks import ALONE
from lmhead.training.checkpoints.rank_files import described, load, read_index

SAVED = {
    "model/a.weight": torch.arange(12.0).reshape(3, 4),
    "model/b": torch.ones(5, dtype=torch.bfloat16),
    "optimizer/b/step": torch.tensor(7.0),
    "half": torch.ones(2, 0, dtype=torch.float16),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        save(dict(SAVED), checkpoint_id=tmp_path, no_dist=True)
    return tmp_path


def test_every_tensor_is_described_and_loaded(folder: Path) -> None:
    found = described(folder)
    assert {name: (tensor.shape, tensor.dtype, tensor.is_meta) for name, tensor in found.items()} == {
        name: (tensor.shape, tensor.dtype, True) for name, tensor in SAVED.items()
    }
    into: dict[str, Tensor] = {name: torch.empty_like(tensor) for name, tensor in SAVED.items()}
    load(folder, into, ALONE)
    assert all(torch.equal(into[name], SAVED[name]) for name in SAVED)


class Code:
    """Calls a function where it is unpickled."""

    def __init__(self, call: Callable[..., object], *given: object) -> None:
        self.call, self.given = call, given

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.call, self.given


def dotted() -> bytes:
    """A pickle that reaches a function through a module that an index may name."""
    return b"\x80\x04\x8c\x26torch.distributed.checkpoint.metadata\x8c\x0bos.getcwd()\x93)R."


@pytest.mark.parametrize("call", [exec, eval, print, torch.load, getattr, io.open], ids=lambda call: call.__name__)
def test_an_index_that_would_run_something_is_refused_and_nothing_is_run(
    folder: Path, call: Callable[..., object], capsys: pytest.CaptureFixture[str]
) -> None:
    file = folder / ".metadata"
    index = read_index(folder)
    index.planner_data = Code(call, "print('run')")
    file.write_bytes(pickle.dumps(index))
    for read in (described, lambda given: load(given, {}, ALONE)):
        with pytest.raises(RuntimeError, match=r"\.metadata is no index of tensors: it names "):
            read(folder)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("data", [b"", b"garbage", pickle.dumps(["no index"]), pickle.dumps(None), dotted()])
def test_what_is_no_index_is_said_to_be_none(folder: Path, data: bytes) -> None:
    (folder / ".metadata").write_bytes(data)
    with pytest.raises(RuntimeError, match=r"\.metadata is no index of tensors"):
        described(folder)


@pytest.mark.parametrize("elsewhere", ["/dev/zero", "../__0_0.distcp", "a/__0_0.distcp", "__0_0.distcp\n", "", None])
def test_an_index_of_files_elsewhere_is_refused(folder: Path, elsewhere: str | None) -> None:
    index = read_index(folder)
    stored = next(iter(index.storage_data.values()))
    stored.relative_path = elsewhere
    (folder / ".metadata").write_bytes(pickle.dumps(index))
    with pytest.raises(RuntimeError, match=r"\.metadata is no index of tensors: they lie in "):
        load(folder, {}, ALONE)


def test_files_with_objects_which_dcp_would_unpickle_are_refused(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        save({**SAVED, "an object": {1, 2}}, checkpoint_id=tmp_path, no_dist=True)
    with pytest.raises(RuntimeError, match=r"it names .*BytesStorageMetadata"):
        described(tmp_path)


def test_a_tensor_that_is_not_there_is_named(folder: Path) -> None:
    with pytest.raises(RuntimeError, match="of another model"):
        load(folder, {"of another model": torch.ones(2)}, ALONE)
