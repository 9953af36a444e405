"""`lmhead inspect`: the page, the terminal, the record; what bad input gets in one line."""

from pathlib import Path

import pytest
from tests.inspection.doctor.patients import GOOD, assistant, chat, user, write, write_tokenizer

from lmhead.cli.main import main
from lmhead.labels.targets import Reason
from lmhead.record.record import read_record

SIZES = ["--embed-dim", "16", "--num-layers", "1", "--mlp-dim", "32", "--max-seq-len", "64", "--rows", "4"]
SIZES += ["--vocab-size", "270"]


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with a tokenizer T, chat.jsonl, bad.jsonl with a row that nothing is learnt of, and ids.jsonl."""
    monkeypatch.chdir(tmp_path)
    write_tokenizer(tmp_path / "T")
    write(tmp_path / "chat.jsonl", GOOD)
    write(tmp_path / "bad.jsonl", [*GOOD, chat(user("Ask"))])
    write(tmp_path / "ids.jsonl", [{"input_ids": [5, 6, 7], "labels": [6, 7, -100]}])


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run on chats."""
    folder = tmp_path_factory.mktemp("trained")
    data = folder / "chat.jsonl"
    write(data, GOOD * 12)
    words = ["train", "--data", str(data), "--out", str(folder / "run"), "--steps", "4", "--quiet", *SIZES]
    assert main(words) == 0
    return folder / "run"


def error_of(capsys, *words):
    """The one line that a command which fails says."""
    assert main(["inspect", *words]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    return captured.err


def test_the_page_is_written_and_named(here, capsys):
    assert main(["inspect", "chat.jsonl", "--tokenizer", "T", "--out", "report.html"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2:] == ["2 rows, 43 tokens, 8 scored (19%): nothing wrong found", "page: report.html"]
    assert Path("report.html").read_text().startswith("<!doctype html>")


def test_without_a_name_it_is_inspect_html(here, capsys):
    assert main(["inspect", "chat.jsonl", "--tokenizer", "T"]) == 0
    assert Path("inspect.html").exists()


def test_rows_by_their_numbers(here, capsys):
    words = ["chat.jsonl", "--tokenizer", "T", "--row", "2", "--record", "r.jsonl"]
    assert main(["inspect", *words]) == 0
    assert [row.names for row in read_record(Path("r.jsonl")).rows] == [("chat.jsonl, line 2",)]


def test_findings_are_told_beside_the_page_in_the_commands_words(here, capsys):
    assert main(["inspect", "bad.jsonl", "--tokenizer", "T", "--record", "r.jsonl"]) == 0
    assert "[nothing_trained]" in capsys.readouterr().out
    (finding,) = read_record(Path("r.jsonl")).findings
    assert "--train-on" in finding["remedy"]


def test_the_terminal_gets_text_and_tables_and_no_page(here, capsys):
    assert main(["inspect", "chat.jsonl", "--tokenizer", "T", "--terminal"]) == 0
    out = capsys.readouterr().out
    assert "«Reply bravo two<|im_end|>»" in out
    assert "position  token" in out
    assert out.count("learns\n") == 8
    assert not Path("inspect.html").exists()


def test_a_run_brings_its_tokenizer(here, run, capsys):
    words = ["chat.jsonl", "--model", str(run), "--out", "page.html", "--record", "r.jsonl", "--top", "3"]
    assert main(["inspect", *words]) == 0
    record = read_record(Path("r.jsonl"))
    assert record.header["models"] == [str(run)]
    assert record.rows[0].scores.top_ids.shape == (len(record.rows[0].ids), 3)


@pytest.fixture(scope="module")
def last(tmp_path_factory):
    """A run on other chats, of which the last answers are learnt, and these chats."""
    folder = tmp_path_factory.mktemp("last")
    turns = [assistant("Reply bravo"), user("Then"), assistant("Reply four")]
    data, out = folder / "two.jsonl", folder / "run"
    write(data, [chat(user(f"Ask {number}"), *turns) for number in range(30)])
    words = ["train", "--data", str(data), "--out", str(out), "--steps", "1", "--quiet", "--train-on", "last", *SIZES]
    assert main(words) == 0
    return out, data


def test_rows_are_labelled_as_the_run_labelled_its_own(here, last, capsys):
    run, data = map(str, last)
    capsys.readouterr()
    assert main(["inspect", data, "--row", "1", "--model", run, "--record", "r.jsonl"]) == 0
    (row,) = read_record(Path("r.jsonl")).rows
    assert (row.reason == int(Reason.EARLIER_TURN)).any()
    assert f"rows are labelled as {run} labelled its own: train_on='last'" in capsys.readouterr().out


def test_two_runs_with_tokenizers_of_their_own_are_compared_over_bytes(here, run, last, capsys):
    words = ["chat.jsonl", "--model", str(run), "--against", str(last[0]), "--record", "r.jsonl"]
    assert main(["inspect", *words]) == 0
    record = read_record(Path("r.jsonl"))
    assert record.header["against_tokenizer"]["sha256"] != record.header["tokenizer"]["sha256"]
    assert record.rows[0].against[-1].stop == len(record.rows[0].ids)
    assert "Reply" in "".join(span.text for span in record.rows[0].against).replace("|", "")


def test_a_model_beside_another(here, run, capsys):
    step = str(next((run / "checkpoints").iterdir()))
    words = ["chat.jsonl", "--model", str(run), "--against", step, "--out", "page.html", "--record", "r.jsonl"]
    assert main(["inspect", *words]) == 0
    row = read_record(Path("r.jsonl")).rows[0]
    assert row.against.nll.tolist()[1:5] == row.scores.nll.tolist()[1:5]


def test_a_tokenizer_that_does_not_fit_the_model(here, run, capsys):
    said = error_of(capsys, "chat.jsonl", "--tokenizer", "T", "--model", str(run))
    assert "tokenizer must be the model's, got T with 606 ids for" in said
    assert "which has a vocabulary of " in said


def test_a_record_is_drawn_again(here, capsys):
    main(["inspect", "chat.jsonl", "--tokenizer", "T", "--out", "one.html", "--record", "r.jsonl"])
    assert main(["inspect", "r.jsonl", "--out", "two.html"]) == 0
    assert Path("one.html").read_text() == Path("two.html").read_text()


def test_labels_that_look_shifted_have_a_banner(here, capsys):
    assert main(["inspect", "ids.jsonl"]) == 0
    assert "These labels look already shifted" in capsys.readouterr().out


def test_a_run_is_no_data(run, capsys):
    assert f"{run} is a run, no data: give data, and --model {run}" in error_of(capsys, str(run))


def test_quiet_says_nothing(here, capsys):
    assert main(["inspect", "bad.jsonl", "--tokenizer", "T", "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "which data?"),
        (["none.jsonl", "--tokenizer", "T"], "no such file or folder: none.jsonl"),
        (["chat.jsonl"], "--tokenizer must be given for rows that are no ids"),
        (["chat.jsonl", "--tokenizer", "T", "--out", "chat.jsonl"], "the page must be a new file"),
        (["chat.jsonl", "--tokenizer", "T", "--record", "chat.jsonl"], "the record must be a new file"),
        (["chat.jsonl", "--tokenizer", "T", "--row", "9"], "--row must name rows of the data, got 9"),
        (["chat.jsonl", "--tokenizer", "T", "--row", "two"], "--row must be the number of a row or line, got 'two'"),
        (["chat.jsonl", "--tokenizer", "T", "--rows", "0"], "--rows must be >= 1"),
        (["chat.jsonl", "--tokenizer", "T", "--packed"], "--length must be given to pack rows"),
        (["chat.jsonl", "--tokenizer", "T", "--model", "none"], "no such run: none"),
        (["chat.jsonl", "--tokenizer", "T", "--against", "none"], "--model must be given"),
        (["chat.jsonl", "--tokenizer", "T", "--top", "-1"], "--top must be >= 0"),
        (["chat.jsonl", "--tokenizer", "none.json"], "tokenizer must be a tokenizer.json"),
    ],
)
def test_bad_input_gets_one_line(here, capsys, words, said):
    assert said in error_of(capsys, *words)
    assert not Path("inspect.html").exists()
