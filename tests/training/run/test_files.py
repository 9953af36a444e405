"""Files are replaced whole, and what the system refuses is told as what it is."""

import errno
import os
from pathlib import Path

import pytest
from safetensors import SafetensorError

from lmhead.errors import InputError
from lmhead.training.run.files import free_name, replace_file, told, writing


def test_a_file_is_replaced_whole_and_no_draft_stays(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    for text in ("one\r\n", "two\n"):
        replace_file(file, text)
        assert file.read_bytes().decode() == text
    assert [entry.name for entry in tmp_path.iterdir()] == ["config.yaml"]


def test_a_file_that_cannot_be_replaced_stays_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "config.yaml"
    replace_file(file, "one")

    def full(number: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match=r"cannot write .*config\.yaml: No space left on device: free some space, go"):
        replace_file(file, "two", then=", go on")
    assert file.read_text() == "one"
    assert [entry.name for entry in tmp_path.iterdir()] == ["config.yaml"]


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.ENOSPC, "free some space"),
        (errno.EDQUOT, "free some space of your quota"),
        (errno.ENOTDIR, "a part of that path is a file where a folder has to be"),
        (errno.EPERM, "it is protected"),
        (errno.EACCES, "give yourself the right to write"),
        (errno.EROFS, "make that file system writable"),
        (errno.ENOENT, "a folder on the way to it is gone"),
        (errno.EIO, "the disk fails"),
    ],
)
def test_each_refusal_has_its_reason_and_remedy_and_space_is_asked_for_only_where_it_lacks(
    number: int, remedy: str
) -> None:
    with pytest.raises(InputError) as caught, writing(Path("run/log.jsonl")):
        raise OSError(number, "whatever the library says")
    assert str(caught.value).startswith(f"cannot write run/log.jsonl: {os.strerror(number)}: {remedy}")
    assert ("space" in str(caught.value)) == (number in (errno.ENOSPC, errno.EDQUOT))


def test_the_reason_is_found_behind_another_librarys_error() -> None:
    assert told(SafetensorError("I/O error: No space left on device (os error 28)")).endswith(": free some space")
    error = RuntimeError("writing failed")
    error.__context__ = OSError(errno.EROFS, "Read-only file system")
    assert told(error).startswith("Read-only file system: make")
    assert told(RuntimeError("writing\nfailed")) == "writing failed"


def test_a_free_name_is_not_taken(tmp_path: Path) -> None:
    for name in ("a", "a-2"):
        assert free_name(tmp_path / "a") == tmp_path / name
        (tmp_path / name).symlink_to("nowhere")
    assert free_name(tmp_path / "a") == tmp_path / "a-3"
