"""A command writes over what it wrote before, and over nobody's data."""

import os
from pathlib import Path

import pytest

from lmhead.errors import ArgumentError
from lmhead.record.own_file import PAGE_BEGINS, RECORD_BEGINS, require_own


@pytest.mark.parametrize("text", ["", "<!doctype html>\n<html>", "<!DOCTYPE HTML>"])
def test_a_page_and_an_empty_file_may_be_written_over(text: str, tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    require_own(file, PAGE_BEGINS, "page")
    file.write_text(text)
    require_own(file, PAGE_BEGINS, "page")


@pytest.mark.parametrize("text", ['{"messages": []}', "<p>", "<!doctype html>"])
def test_what_is_no_record_may_not(text: str, tmp_path: Path) -> None:
    file = tmp_path / "chat.jsonl"
    file.write_text(text)
    with pytest.raises(
        ArgumentError, match=r"the record must be a new file, or a record to be written anew, got .*chat"
    ):
        require_own(file, RECORD_BEGINS, "record")


def test_a_pipe_is_refused_unread(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")  # reading it would wait for ever
    with pytest.raises(ArgumentError, match="the page must be a new file"):
        require_own(tmp_path / "pipe", PAGE_BEGINS, "page")
