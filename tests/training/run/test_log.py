"""The log is read back however it was damaged, and never stands in a run's way."""

import os
from pathlib import Path

import pytest

from lmhead.errors import InputError
from lmhead.training.run.log import RunLog


@pytest.fixture
def log(tmp_path: Path) -> RunLog:
    log = RunLog(tmp_path / "log.jsonl")
    for step in (1, 2, 3):
        log.append({"step": step, "loss": 0.5})
    return log


def steps(log: RunLog) -> list[int]:
    return [record["step"] for record in log.records()]


@pytest.mark.parametrize(
    "line",
    [b"5", b"{}", b'{"step": "x"}', b'{"step": true}', b'{"step": 1', b"\xff\xfe", b"[" * 100_000, b"\0" * 50, b"",
     b'{"step": ' + b"9" * 9_000 + b"}"],
)  # fmt: skip
def test_a_line_that_no_run_wrote_is_told_and_the_rest_is_kept(log: RunLog, line: bytes) -> None:
    whole = log.file.read_bytes().splitlines(keepends=True)
    log.file.write_bytes(whole[0] + line + b"\n" + b"".join(whole[1:]))
    with pytest.raises(InputError, match=r"log\.jsonl has (a line that no run wrote|an empty line)"):
        log.records()
    records, damage = log.salvage()
    assert [record["step"] for record in records] == [1, 2, 3]
    assert damage is not None
    damaged = log.file.read_bytes()
    note = log.rewind(2)
    assert note is not None
    assert "set aside as log.jsonl.damaged; 3 records of it are kept" in note
    assert (log.file.parent / "log.jsonl.damaged").read_bytes() == damaged
    assert steps(log) == [1, 2]
    assert log.rewind(2) is None


def test_a_line_that_a_kill_cut_off_is_no_damage(log: RunLog) -> None:
    with log.file.open("a") as stream:
        stream.write('{"step": 4, "lo')
    assert steps(log) == [1, 2, 3]
    assert log.rewind(3) is None
    log.append({"step": 4, "loss": 0.5})
    assert steps(log) == [1, 2, 3, 4]


def test_what_was_told_at_the_step_itself_stays_and_later_ones_are_dropped(log: RunLog) -> None:
    log.append({"step": 3, "sample": "x"})
    log.append({"step": 4, "loss": 0.5})
    log.rewind(3)
    assert log.records()[-1] == {"step": 3, "sample": "x"}


@pytest.mark.parametrize("what", ["a folder", "no file"])
def test_a_log_that_is_no_file_is_set_aside(log: RunLog, what: str) -> None:
    log.file.unlink()
    log.file.mkdir() if what == "a folder" else os.mkfifo(log.file)
    assert log.salvage() == ([], f"is {what}")
    note = log.rewind(3)
    assert note is not None
    assert f"is {what}: set aside as log.jsonl.damaged" in note
    assert steps(log) == []


def test_a_log_that_is_missing_is_told_and_begun_anew(log: RunLog) -> None:
    log.file.unlink()
    note = log.rewind(3)
    assert note is not None
    assert "has no record of the 3 steps that were taken" in note
    log.append({"step": 4, "loss": 0.5})
    assert steps(log) == [4]


def test_damaged_logs_do_not_take_one_anothers_place(log: RunLog) -> None:
    for name in ("log.jsonl.damaged", "log.jsonl.damaged-2"):
        log.file.write_text(f"{name}\n\n")
        log.rewind(1)
        assert (log.file.parent / name).read_text() == f"{name}\n\n"


def test_a_header_is_added_where_the_newest_one_says_something_else(log: RunLog) -> None:
    log.head({"record": 1, "config": {"paths": ("a",)}, "started": "then"}, step=3)
    log.head({"record": 1, "config": {"paths": ("a",)}, "started": "now"}, step=3)
    assert [(record["step"], record["started"]) for record in log.records()[3:]] == [(3, "then")]
    log.head({"record": 1, "config": {"paths": ("b",)}}, step=4)
    assert [record["config"]["paths"] for record in log.records()[3:]] == [["a"], ["b"]]


def test_a_log_with_a_header_alone_has_no_record_of_steps(tmp_path: Path) -> None:
    log = RunLog(tmp_path / "log.jsonl")
    log.head({"record": 1}, step=0)
    note = log.rewind(5)
    assert note is not None
    assert note.endswith("has no record of the 5 steps that were taken: it goes on from here")
    assert log.records() == [{"record": 1, "step": 0}]


def test_records_that_belong_together_are_written_together(log: RunLog) -> None:
    log.append({"step": 4, "sample": "x"}, {"step": 4, "sample": "y"})
    assert [record.get("sample") for record in log.records()[3:]] == ["x", "y"]
