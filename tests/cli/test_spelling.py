"""Options of messages as flags: of the command that prints them, or in Python's words where it has none."""

import json
from pathlib import Path

import pytest

from lmhead.cli.commands import COMMANDS
from lmhead.cli.main import main
from lmhead.cli.spelling import spelled
from lmhead.options import Message, option


def said(name: str, *value: object, command: str = "train") -> str:
    return spelled(Message(f"give {option(name, *value)}"), command).removeprefix("give ")


@pytest.mark.parametrize(
    ("command", "name", "flag"),
    [
        ("train", "max_length", "--max-seq-len"),  # handed on under another name
        ("train", "model.max_seq_len", "--max-seq-len"),
        ("train", "max_seq_len", "--max-seq-len"),
        ("train", "length", "--max-seq-len"),
        ("doctor", "length", "--length"),
        ("doctor", "max_seq_len", "max_seq_len"),
        ("train", "init", "--init"),
        ("train", "model.init", "--model.init"),  # two fields end so
        ("train", "data.paths", "--data"),
        ("train", "resume", "--resume"),
        ("estimate", "resume", "resume"),
        ("sample", "max_new_tokens", "--tokens"),
        ("sample", "dropped_text", "dropped_text"),
        ("doctor", "dropped_text", "--dropped-text"),
        ("runs", "rows", "rows"),
    ],
)
def test_an_option_is_the_flag_of_the_command_that_prints_it(command: str, name: str, flag: str) -> None:
    assert said(name, command=command) == flag


def test_values_are_written_as_a_shell_takes_them() -> None:
    assert said("max_length", 512) == "--max-seq-len 512"
    assert said("dropped_text", "note") == "--dropped-text note"
    assert said("template_arguments", '{"a": "b\'s"}') == """--template-arguments '{"a": "b'"'"'s"}'"""
    assert said("clip", None) == "--clip None"
    assert (said("compile", True), said("compile", False), said("compile")) == (
        "--compile",
        "--no-compile",
        "--compile",
    )
    assert said("width", 3) == "width=3"
    assert said("width", "a b") == "width='a b'"


def test_text_that_names_no_option_is_left_alone() -> None:
    for command in COMMANDS:
        assert spelled("max_length=3", command) == spelled(Message("max_length=3"), command) == "max_length=3"


def test_data_that_look_like_options_are_no_flags(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "max_length=3.jsonl"
    file.write_text(json.dumps({"\x00rows\x00": 1, "max_length": 3}) + "\n")
    assert main(["train", "--data", str(file), "--out", str(tmp_path / "run")]) == 2
    error = capsys.readouterr().err
    assert f"{file}, line 1: a row must have the columns of a format, got the columns" in error
    assert "--rows" not in error


def test_one_error_has_each_command_s_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "text.jsonl"
    file.write_bytes(b'{"text": "\xff"}\n')
    for command in (["train", "--out", str(tmp_path / "run"), "--data"], ["doctor"]):
        assert main([*command, str(file)]) in (1, 2)
        captured = capsys.readouterr()
        assert "--errors replace" in captured.out + captured.err


def test_a_template_s_arguments_are_refused_under_the_flag_s_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--data", "chat.jsonl", "--template-arguments", '{"messages": 1}']) == 2
    assert "error: --template-arguments must be without messages, got it" in capsys.readouterr().err


def test_the_report_as_json_names_flags_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "chat.jsonl"
    file.write_text(json.dumps({"question": "a", "answer": "b"}) + "\n")
    assert main(["doctor", str(file), "--json"]) == 1
    found = json.loads(capsys.readouterr().out)["findings"]
    assert any("--columns prompt=question,completion=answer" in finding["message"] for finding in found)
