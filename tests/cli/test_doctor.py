"""`lmhead doctor`: what it prints, and the exit status that guards a pipeline."""

import json

import pytest
from tests.inspection.doctor.patients import GOOD, chat, user, write, write_tokenizer

from lmhead.cli.main import main


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with a tokenizer T, good.jsonl, odd.jsonl with a warning and bad.jsonl with an error."""
    monkeypatch.chdir(tmp_path)
    write_tokenizer(tmp_path / "T")
    write(tmp_path / "good.jsonl", GOOD)
    write(tmp_path / "odd.jsonl", [*GOOD, GOOD[0]])
    write(tmp_path / "bad.jsonl", [*GOOD, chat(user("Ask"))])


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (["good.jsonl"], 0),
        (["good.jsonl", "--strict"], 0),
        (["odd.jsonl"], 0),
        (["odd.jsonl", "--strict"], 1),
        (["bad.jsonl"], 1),
        (["bad.jsonl", "--on-error", "skip"], 0),
        (["good.jsonl", "--length", "8"], 1),
        ([], 0),
    ],
)
def test_the_exit_status_guards_a_pipeline(here, words, status, capsys):
    assert main(["doctor", *words, "--tokenizer", "T"]) == status
    assert capsys.readouterr().err == ""


def test_the_report_ends_with_the_verdict(here, capsys):
    main(["doctor", "bad.jsonl", "--tokenizer", "T"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == [
        "bad.jsonl: 3 rows (messages 3)",
        "labelled 2, refused 1",
        "tokenizer: T, chat template: the tokenizer's own",
    ]
    assert lines[-1] == "1 error"


def test_json_is_all_that_is_printed(here, capsys):
    assert main(["doctor", "bad.jsonl", "--tokenizer", "T", "--json"]) == 1
    out, err = capsys.readouterr()
    tree = json.loads(out)
    assert (tree["ok"], tree["rows"], tree["findings"][0]["code"], err) == (False, 3, "nothing_trained", "")


def test_data_may_stand_anywhere(here, capsys):
    assert main(["doctor", "--tokenizer", "T", "good.jsonl", "--json", "--rows", "1", "odd.jsonl"]) == 0
    assert json.loads(capsys.readouterr().out)["data"] == ["good.jsonl", "odd.jsonl"]


def test_rows_are_shown_token_by_token(here, capsys):
    main(["doctor", "good.jsonl", "--tokenizer=T", "--show", "1"])
    out = capsys.readouterr().out
    assert "\ngood.jsonl, line 1\nposition  token" in out
    assert out.count("learns, or why not") == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "which data? lmhead doctor chat.jsonl --tokenizer T; without data, --tokenizer T alone"),
        (["good.jsonl"], "--tokenizer must be given for rows that are no ids, got none for good.jsonl, line 1"),
        (["none.jsonl", "--tokenizer", "T"], "no such file or folder: none.jsonl"),
        (["good.jsonl", "--tokenizer", "T", "--length", "1"], "--length must be >= 2 tokens, got 1"),
        (["good.jsonl", "--tokenizr", "T"], "unknown flag --tokenizr, did you mean --tokenizer?"),
    ],
)
def test_bad_input_is_one_line_and_status_2(here, words, message, capsys):
    assert main(["doctor", *words]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"lmhead doctor: error: {message}")
    assert err.count("\n") == 1


def test_no_flag_is_listed_that_the_doctor_does_not_use(capsys):
    assert main(["doctor", "--help-all"]) == 0
    assert "--cache" not in capsys.readouterr().out
    assert main(["doctor", "--cache", "x"]) == 2


def test_bytes_that_are_not_utf8_are_read_as_training_would(here, tmp_path):
    row = {"messages": [{"role": "user", "content": "caf\u00e9"}, {"role": "assistant", "content": "Yes"}]}
    (tmp_path / "latin.jsonl").write_bytes(json.dumps(row, ensure_ascii=False).encode("latin-1") + b"\n")
    words = ["doctor", "latin.jsonl", "--tokenizer", "T"]
    assert main(words) == 1
    assert main([*words, "--errors", "replace"]) == 0
