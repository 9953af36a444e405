"""lmhead report draws runs again; lmhead train draws its own at each evaluation and at the end."""

import json
from pathlib import Path

import pytest
from tests.browser.run_logs import run_lines, write_run

from lmhead.cli.main import main
from lmhead.errors import InputError
from lmhead.report.run_report import RunReport
from lmhead.training.run.run_folder import RunFolder

SIZES = ("--embed-dim", "16", "--num-layers", "1", "--mlp-dim", "32", "--max-seq-len", "16", "--rows", "4")
TINY = (*SIZES, "--vocab-size", "257", "--steps", "6", "--eval-every", "2", "--sample-every", "4", "--device", "cpu")


@pytest.fixture
def text(tmp_path: Path) -> Path:
    file = tmp_path / "a.txt"
    file.write_text("some words of a text that is learnt " * 60)
    return file


def test_a_run_is_drawn_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = write_run(tmp_path / "run", run_lines(steps=30))
    assert main(["report", str(run)]) == 0
    assert capsys.readouterr().out == f"report: {run}/report.html\n"
    assert (run / "report.html").read_text().startswith("<!doctype html>")


def test_several_runs_go_where_they_are_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [str(write_run(tmp_path / name, run_lines(steps=30))) for name in ("a", "b")]
    page = tmp_path / "both.html"
    assert main(["report", *runs, "--out", str(page), "--quiet"]) == 0
    assert capsys.readouterr().out == ""
    assert "<title>2 runs: a, b</title>" in page.read_text()


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ([], "which run? lmhead report RUN"),
        (["nowhere"], "nowhere must be a run, or a record of one (docs/seeing/record.md), got no such file"),
        (["chat.jsonl"], "chat.jsonl must be a record, JSON lines, got none that is a line of one"),
        (
            ["run", "--out", "chat.jsonl"],
            "the report must be a new file, or a report to be written anew, got chat.jsonl",
        ),
        (["run", "--out", "no/such/folder.html"], "cannot write no/such/folder.html: No such file or directory"),
    ],
)
def test_what_is_wrong_is_one_line(
    words: list[str], error: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_run(Path("run"), run_lines(steps=30))
    Path("chat.jsonl").write_text('{"messages": []}\n')
    assert main(["report", *words]) == 2
    assert Path("chat.jsonl").read_text() == '{"messages": []}\n'
    assert capsys.readouterr().err.startswith(f"lmhead report: error: {error}")


def test_training_draws_at_each_evaluation_and_names_the_file_at_the_end(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    drawn: list[int] = []
    real = RunReport.write

    def write(self: RunReport, file: Path | None = None) -> Path:
        made = real(self, file)
        drawn.append(self.run().record.last["step"])
        return made

    monkeypatch.setattr(RunReport, "write", write)
    run = tmp_path / "run"
    assert main(["train", "--data", str(text), "--out", str(run), *TINY]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"report: {run}/report.html"
    assert drawn == [2, 4, 6, 6]
    page = (run / "report.html").read_text()
    assert main(["report", str(run)]) == 0
    assert (run / "report.html").read_text() == page


def test_a_run_whose_loss_is_no_number_leaves_a_report_with_its_last_words(
    text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    assert main(["train", "--data", str(text), "--out", str(run), *TINY, "--lr", "1e30", "--clip", "none"]) == 1
    error = capsys.readouterr().err.removeprefix("lmhead train: error: ").strip()
    last = json.loads((run / "log.jsonl").read_text().splitlines()[-1])
    assert last["finding"] == {"code": "not_finite", "severity": "error", "count": 1, "message": error}
    assert "--lr" in error
    assert '"code":"not_finite"' in (run / "report.html").read_text()
    assert main(["runs", str(run)]) == 0
    assert f"{last['step'] - 1}/6" in capsys.readouterr().out  # the step that was not taken is not counted


def test_a_disk_that_refuses_the_last_words_does_not_hide_them(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = RunFolder.log

    def log(run: RunFolder, *records: dict[str, object]) -> None:
        if any("finding" in record for record in records):
            raise InputError("cannot write log.jsonl: No space left on device")
        real(run, *records)

    monkeypatch.setattr(RunFolder, "log", log)
    words = ["train", "--data", str(text), "--out", str(tmp_path / "run"), *TINY, "--lr", "1e30", "--clip", "none"]
    assert main(words) == 1
    assert "the loss is" in capsys.readouterr().err


def test_a_report_that_cannot_be_written_stops_no_training(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    real = RunReport.write
    monkeypatch.setattr(RunReport, "write", lambda self: real(self, run / "none" / "report.html"))
    assert main(["train", "--data", str(text), "--out", str(run), *TINY]) == 0
    lines = capsys.readouterr().out.splitlines()
    told = [line for line in lines if line.startswith("no report: cannot write ")]
    assert told == [lines[-1]] * 2  # once when it was found, and at the end
