"""A checkpoint is what was written, or the file that is not is named."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from lmhead.training.run.checkpoint_sums import SUMS_FILE, DamagedError, verify, write_sums


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "checkpoints" / "step-5"
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(bytes(range(256)) * 40)
    (folder / "training.pt").write_bytes(b"state" * 900)
    (folder / "notes of mine.txt").write_text("a name with spaces")
    write_sums(folder)
    return folder


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def make_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


HARM: dict[str, Callable[[Path], object]] = {
    "cut off": lambda file: file.write_bytes(file.read_bytes()[:-7]),
    "empty": lambda file: file.write_bytes(b""),
    "garbage": lambda file: file.write_bytes(b"\x07" * 500),
    "missing": lambda file: file.unlink(),
    "flipped": flip,
    "longer": lambda file: file.write_bytes(file.read_bytes() + b"\0"),
    "a folder": make_folder,
}


def test_what_was_written_is_believed_and_so_says_sha256sum(folder: Path) -> None:
    verify(folder)
    tool = shutil.which("sha256sum")
    if tool is None:
        pytest.skip("no sha256sum here")
    done = subprocess.run([tool, "-c", "--strict", SUMS_FILE], cwd=folder, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count(": OK") == 3


@pytest.mark.parametrize("harm", HARM)
@pytest.mark.parametrize("name", ["model.safetensors", "training.pt", SUMS_FILE])
def test_every_damage_to_every_file_is_found_and_the_file_named(folder: Path, name: str, harm: str) -> None:
    HARM[harm](folder / name)
    with pytest.raises(DamagedError, match=rf"step-5 is damaged: {name}"):
        verify(folder)


def test_sums_that_were_cut_off_at_a_lines_end_are_found(folder: Path) -> None:
    lines = (folder / SUMS_FILE).read_text().splitlines(keepends=True)
    (folder / SUMS_FILE).write_text(lines[0])
    with pytest.raises(DamagedError, match=r"SHA256SUMS does not name notes of mine\.txt: it was cut off"):
        verify(folder)


def test_a_sum_that_names_a_file_elsewhere_is_no_sum(folder: Path) -> None:
    (folder / SUMS_FILE).write_text(f"{'0' * 64}  ../../etc/passwd\n")
    with pytest.raises(DamagedError, match="SHA256SUMS itself is not what was written"):
        verify(folder)


def test_what_is_not_read_next_is_not_read_here(folder: Path) -> None:
    flip(folder / "training.pt")
    verify(folder, without=("training.pt",))


def test_files_that_came_later_do_no_harm(folder: Path) -> None:
    (folder / "README.md").write_text("mine")
    verify(folder)


def test_a_folder_that_is_no_runs_checkpoint_needs_no_sums_but_has_those_checked_that_it_has(
    folder: Path, tmp_path: Path
) -> None:
    copied = shutil.copytree(folder, tmp_path / "copied")
    verify(copied)
    flip(copied / "model.safetensors")
    with pytest.raises(DamagedError, match=r"model\.safetensors"):
        verify(copied)
    (copied / SUMS_FILE).unlink()
    verify(copied)


def test_sums_made_by_hand_are_believed(folder: Path) -> None:
    lines = (folder / SUMS_FILE).read_text().splitlines(keepends=True)
    (folder / SUMS_FILE).write_text("".join(lines[:-1]))
    verify(folder)
