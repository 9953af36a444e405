"""A log that grows is read on, and what a kill cut off is told."""

from pathlib import Path

import pytest

from lmhead.errors import InputError
from lmhead.report.log_reader import LogReader


def test_only_what_is_new_is_read(tmp_path: Path) -> None:
    file = tmp_path / "log.jsonl"
    file.write_text('{"step": 1}\n{"st')
    reader = LogReader(file)
    assert list(reader.new_lines()) == [{"step": 1}]
    assert reader.cut_off()
    with file.open("a") as stream:
        stream.write('ep": 2}\n{"step": 3}\n')
    assert list(reader.new_lines()) == [{"step": 2}, {"step": 3}]
    assert list(reader.new_lines()) == []
    assert not reader.cut_off()
    assert not reader.replaced()


def test_lines_that_are_no_objects_are_counted(tmp_path: Path) -> None:
    file = tmp_path / "log.jsonl"
    file.write_bytes(b'{"a": 1}\n\xff\xfe\n[1]\n\nnull\n' + b"[" * 100_000 + b'\n{"a": 2}\n')
    reader = LogReader(file)
    assert list(reader.new_lines()) == [{"a": 1}, {"a": 2}]
    assert reader.broken == 5


def test_a_file_in_its_place_is_noticed(tmp_path: Path) -> None:
    file = tmp_path / "log.jsonl"
    file.write_text('{"step": 1}\n{"step": 2}\n')
    reader = LogReader(file)
    list(reader.new_lines())
    (tmp_path / "new").write_text('{"step": 1}\n{"step": 2}\n{"step": 3}\n')
    (tmp_path / "new").replace(file)
    assert reader.replaced()


def test_a_file_that_became_shorter_is_noticed(tmp_path: Path) -> None:
    file = tmp_path / "log.jsonl"
    file.write_text('{"step": 1}\n{"step": 2}\n')
    reader = LogReader(file)
    list(reader.new_lines())
    file.write_text('{"step": 1}\n')
    assert reader.replaced()


def test_a_file_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot read .*: Is a directory"):
        list(LogReader(tmp_path).new_lines())
