"""Standard output that goes away: short commands stop, a run goes on; neither leaves a traceback."""

import io
import os
import pty
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lmhead.cli import outlet as module
from lmhead.cli.console import console
from lmhead.cli.main import main
from lmhead.cli.outlet import Outlet, OutputGone

MakeStream = Callable[[str], io.TextIOWrapper | None]
TINY = "--vocab-size 300 --embed-dim 16 --num-layers 1 --mlp-dim 32 --max-seq-len 16 --rows 4 --steps 12 --log-every 1"


@pytest.fixture
def stream() -> Iterator[MakeStream]:
    """Makes a stream that cannot be written to, of a kind: a pipe that nobody reads, a full disk, a closed one."""
    made: list[io.TextIOWrapper] = []

    def make(kind: str) -> io.TextIOWrapper | None:
        if kind == "closed":
            return None
        if kind == "full disk":
            descriptor = os.open("/dev/full", os.O_WRONLY)
        else:
            reading, descriptor = os.pipe()
            os.close(reading)
        made.append(os.fdopen(descriptor, "w"))
        return made[-1]

    yield make
    for each in made:
        each.close()  # as the interpreter does at its end: nothing is left to fail


def told(errors: io.StringIO) -> list[str]:
    return errors.getvalue().splitlines()


@pytest.fixture
def errors() -> io.StringIO:
    return io.StringIO()


# The stream


def test_a_closed_pipe_is_told_apart_from_a_full_disk(stream: MakeStream, errors: io.StringIO) -> None:
    for kind, closed in (("closed pipe", True), ("full disk", False)):
        out = Outlet(stream(kind), errors=Outlet(errors, errors=None))
        out.write("text")
        with pytest.raises(OutputGone) as gone:
            out.flush()
        assert gone.value.closed_pipe == closed
        out.write("more")
        out.flush()
    assert told(errors) == []


def test_what_outlasts_it_says_so_once(stream: MakeStream, errors: io.StringIO) -> None:
    for kind, reason in (("closed pipe", "Broken pipe"), ("closed", "it is closed")):
        out = Outlet(stream(kind), errors=Outlet(errors, errors=None))
        out.outlast("training goes on")
        for _ in range(3):
            out.write("text\n")
            out.flush()
        assert told(errors)[-1:] == [f"standard output is gone ({reason}): training goes on"]
        assert not out.isatty()
    assert len(told(errors)) == 2


def test_standard_error_is_never_missed(stream: MakeStream) -> None:
    for kind in ("closed pipe", "full disk", "closed"):
        errors = Outlet(stream(kind), errors=None)
        errors.write("an error\n")
        errors.flush()


def test_a_stream_that_was_closed_is_one_that_is_gone(errors: io.StringIO) -> None:
    closed = io.StringIO()
    closed.close()
    with pytest.raises(OutputGone, match="closed file"):
        Outlet(closed, errors=Outlet(errors, errors=None)).write("text")


def test_a_closed_descriptor_is_given_to_no_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    free = os.open(os.devnull, os.O_RDONLY)
    os.close(free)
    monkeypatch.setattr(module, "_DESCRIPTORS", (free,))
    module._occupy_closed_descriptors()
    with (tmp_path / "checkpoint").open("w") as stream:
        assert stream.fileno() != free
    os.close(free)


def test_rich_does_not_end_the_process(
    stream: MakeStream, monkeypatch: pytest.MonkeyPatch, errors: io.StringIO
) -> None:
    out = Outlet(stream("closed pipe"), errors=Outlet(errors, errors=None))
    monkeypatch.setattr(sys, "stdout", out)
    with pytest.raises(OutputGone):
        console().print("text")
    out = Outlet(stream("closed pipe"), errors=Outlet(errors, errors=None))
    monkeypatch.setattr(sys, "stdout", out)
    out.outlast("on")
    console().print("text")
    assert len(told(errors)) == 1


# Commands, in this process


def run_into(stream: io.TextIOWrapper | None, words: list[str], monkeypatch: pytest.MonkeyPatch) -> tuple[int, str]:
    errors = io.StringIO()
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setattr(sys, "stderr", errors)
    return main(words), errors.getvalue()


@pytest.mark.parametrize(
    "words", [["--help"], ["train", "--help"], ["--version"], ["estimate", "--steps", "1"], ["completion", "bash"]]
)
def test_a_command_that_is_its_output_stops(
    words: list[str], stream: MakeStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run_into(stream("closed pipe"), words, monkeypatch) == (141, "")
    message = "lmhead: error: standard output must be written to, got No space left on device\n"
    assert run_into(stream("full disk"), words, monkeypatch) == (1, message)
    message = "lmhead: error: standard output must be written to, got it is closed\n"
    assert run_into(None, words, monkeypatch) == (1, message)


def test_an_error_is_none_of_its_output(stream: MakeStream, monkeypatch: pytest.MonkeyPatch) -> None:
    status, errors = run_into(stream("closed pipe"), ["train", "--stepz", "1"], monkeypatch)
    assert (status, errors.count("\n")) == (2, 1)
    monkeypatch.setattr(sys, "stderr", None)
    assert main(["train", "--stepz", "1"]) == 2


@pytest.fixture
def text(tmp_path: Path) -> Path:
    file = tmp_path / "text.txt"
    file.write_text("".join(f"the {i}th line of a text\n" for i in range(400)))
    return file


@pytest.mark.parametrize("kind", ["closed pipe", "full disk", "closed"])
def test_training_goes_on_without_its_output(
    kind: str, stream: MakeStream, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["train", "--data", str(text), "--out", str(tmp_path / "run"), *TINY.split()]
    status, errors = run_into(stream(kind), words, monkeypatch)
    assert status == 0
    assert errors.count("\n") == 1
    assert errors.endswith(f"training goes on, the log is {tmp_path}/run/log.jsonl\n")
    assert (tmp_path / "run/checkpoints/step-12/model.safetensors").exists()
    assert (tmp_path / "run/log.jsonl").read_text().count('"loss"') == 12


# Processes: what happens at the interpreter's end, and with descriptors


def test_a_run_survives_the_end_of_every_stream(text: Path, tmp_path: Path) -> None:
    command = f'exec "{sys.executable}" -m lmhead train --data {text} --out {tmp_path}/run {TINY}'
    done = subprocess.run(["sh", "-c", f"{command} <&- >&- 2>&-"], check=False, timeout=300)
    assert done.returncode == 0
    assert (tmp_path / "run/checkpoints/step-12/model.safetensors").exists()
    for line in (tmp_path / "run/log.jsonl").read_text().splitlines():
        assert line.startswith("{")  # nothing was printed into it


def test_a_run_survives_its_terminal(text: Path, tmp_path: Path) -> None:
    """As under nohup: the terminal is gone, and whoever writes to it gets EIO."""
    master, slave = pty.openpty()
    words = [sys.executable, "-m", "lmhead", "train", "--data", str(text), "--out", str(tmp_path / "run")]
    environment = {**os.environ, "TERM": "xterm", "CI": ""}
    run = subprocess.Popen(
        [*words, *TINY.split(), "--steps", "50"],
        stdin=slave,
        stdout=slave,
        stderr=subprocess.PIPE,
        env=environment,
        start_new_session=True,
    )
    os.close(slave)
    os.read(master, 16)  # it has begun to speak
    os.close(master)
    _, errors = run.communicate(timeout=300)
    assert run.returncode == 0
    assert errors.decode() == (
        f"standard output is gone (Input/output error): training goes on, the log is {tmp_path}/run/log.jsonl\n"
    )
    assert (tmp_path / "run/checkpoints/step-50").exists()


def test_the_end_of_a_short_command_is_quiet() -> None:
    words = [sys.executable, "-m", "lmhead", "train", "--help-all"]
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(words, stdout=writing, stderr=subprocess.PIPE, check=False, timeout=60)
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, b"")
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, check=False, timeout=60)
    assert done.returncode == 1
    assert done.stderr == b"lmhead: error: standard output must be written to, got No space left on device\n"


def test_what_is_typed_can_be_edited(tmp_path: Path) -> None:
    """`input` hands a terminal to readline only where standard output looks like one: the chat is typed into."""
    pytest.importorskip("readline")
    program = "import readline; from lmhead.cli.outlet import outlets\nwith outlets(): print(repr(input('you> ')))"
    master, slave = pty.openpty()
    typing = subprocess.Popen(
        [sys.executable, "-c", program], stdin=slave, stdout=slave, env={**os.environ, "TERM": "xterm"}
    )
    os.close(slave)
    seen = b""
    while b"you> " not in seen:
        seen += os.read(master, 1000)
    os.write(master, b"ab\x1b[Dc\n")
    assert typing.wait(timeout=60) == 0
    assert b"'acb'" in os.read(master, 1000)
    os.close(master)
