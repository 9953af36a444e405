"""The report of a run: one file, drawn anew from what is new, whatever state its folder is in."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from tests.browser.run_logs import HEADER, diverged_lines, run_lines, token_lines, write_log, write_run

import lmhead.report.run_report
from lmhead.errors import InputError
from lmhead.report.run_report import RunReport, draw_report


def data_of(page: Path) -> dict[str, Any]:
    """What the page was given."""
    found = re.search(r'id="data-run">(.*?)</script>', page.read_text())
    assert found is not None
    data: dict[str, Any] = json.loads(found[1])
    return data


def test_the_page_has_the_run(tmp_path: Path) -> None:
    page = RunReport(write_run(tmp_path / "base", run_lines(steps=200))).write()
    assert page == tmp_path / "base" / "report.html"
    (run,) = data_of(page)["runs"]
    assert (run["name"], run["lines"], run["steps"], run["whole"]) == ("base", 200, 200, True)
    assert run["curves"]["axes"]["step"] == list(range(1, 201))
    assert len(run["worst"]) == 16
    assert 'id="tokens"' in page.read_text()


def test_it_is_drawn_anew_from_what_is_new_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = run_lines(steps=200)
    run = write_run(tmp_path / "run", lines[:101])
    report = RunReport(run)
    report.write()
    parsed: list[bytes] = []
    real = json.loads
    monkeypatch.setattr("lmhead.report.log_reader.json.loads", lambda text: parsed.append(text) or real(text))
    with (run / "log.jsonl").open("a") as stream:
        stream.write("".join(json.dumps(line) + "\n" for line in lines[101:]))
    report.write()
    assert len(parsed) == len(lines) - 101
    monkeypatch.undo()
    again = RunReport(run).write(tmp_path / "again.html")
    assert (run / "report.html").read_text() == again.read_text()


def test_a_log_that_was_cut_back_by_a_resume_is_read_from_its_beginning(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", diverged_lines())
    report = RunReport(run)
    assert data_of(report.write())["runs"][0]["findings"]
    (run / "new").write_text("".join(json.dumps(line) + "\n" for line in run_lines(steps=50)))
    (run / "new").replace(run / "log.jsonl")
    (told,) = data_of(report.write())["runs"]
    assert (told["lines"], told["findings"], told["events"]) == (50, [], [])


def test_where_a_run_diverged_is_told(tmp_path: Path) -> None:
    (run,) = data_of(RunReport(write_run(tmp_path / "hot", diverged_lines(at=402))).write())["runs"]
    spike, jump = run["events"]
    assert (spike["kind"], spike["step"]) == ("spike", 230)
    assert (jump["kind"], jump["step"], jump["until"]) == ("jump", 402, None)
    (finding,) = run["findings"]
    assert finding["code"] == "not_finite"
    assert finding["step"] == 442


def test_tokens_are_read_again_when_they_were_written_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = write_run(tmp_path / "run", run_lines(steps=20), tokens=False)
    report = RunReport(run)
    assert data_of(report.write())["runs"][0]["worst"] == []
    write_log(run / "tokens.jsonl", token_lines())
    assert data_of(report.write())["runs"][0]["worst"]
    monkeypatch.setattr(lmhead.report.run_report, "read_record", None)  # and not when they were not
    assert data_of(report.write())["runs"][0]["worst"]


@pytest.mark.parametrize(
    ("tail", "note"),
    [
        ('{"step": 21, "lo', "log.jsonl: its last line is cut off; the others are shown"),
        ("no json\n", "log.jsonl: 1 line cannot be read; the others are shown"),
        ('[]\n\x00\n{"loss": 1}\n', "log.jsonl: 3 lines cannot be read; the others are shown"),
    ],
)
def test_a_damaged_log_is_told_in_one_line(tail: str, note: str, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", run_lines(steps=20), tokens=False)
    with (run / "log.jsonl").open("a") as stream:
        stream.write(tail)
    page, notes = draw_report([run])
    assert notes == [f"run: {note}"]
    assert data_of(page)["notes"] == [[note]]
    assert data_of(page)["runs"][0]["lines"] == 20


def test_tokens_of_another_version_are_told_and_the_rest_is_drawn(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", run_lines(steps=20), tokens=False)
    write_log(run / "tokens.jsonl", [{"record": 9}, *token_lines()[1:]])
    _, (note,) = draw_report([run])
    assert note.startswith("run: tokens.jsonl is not shown: ")
    assert "must be of version 1, got 9" in note


def test_a_log_of_another_version_is_refused(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [{**HEADER, "record": 2, "made_by": "lmhead 9"}])
    with pytest.raises(InputError, match=r"a record must be of version 1, got 2: .*lmhead 9"):
        draw_report([run])


@pytest.mark.parametrize(("name", "what"), [("", "a folder without log.jsonl"), ("none", "no such file")])
def test_what_is_no_run_is_refused(name: str, what: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"must be a run, or a record of one .*, got {what}"):
        draw_report([tmp_path / name])


@pytest.mark.parametrize("text", ['{"messages": []}\n', "no json\n[1]\n"])
def test_what_has_no_line_of_a_record_is_refused(text: str, tmp_path: Path) -> None:
    file = tmp_path / "chat.jsonl"
    file.write_text(text)
    with pytest.raises(InputError, match=r"chat\.jsonl must be a record, JSON lines, got none"):
        draw_report([file])
    assert not (tmp_path / "report.html").exists()


def test_an_empty_log_makes_a_page(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [], tokens=False)
    (told,) = data_of(RunReport(run).write())["runs"]
    assert (told["lines"], told["curves"]["curves"]) == (0, {})


def test_the_config_of_an_older_run_is_that_of_its_folder(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", run_lines(steps=20)[1:], tokens=False)
    (run / "config.yaml").write_text("steps: 50\nmodel: {width: 8}\n")
    (told,) = data_of(RunReport(run).write())["runs"]
    assert told["header"]["config"] == {"steps": 50, "model": {"width": 8}}
    assert told["steps"] == 50
    (run / "config.yaml").write_text("{:")
    (told,) = data_of(RunReport(run).write())["runs"]
    assert "config" not in told["header"]


def test_several_runs_stand_in_one_page_under_names_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    runs = [write_run(Path(name), run_lines(steps=50, seed=at)) for at, name in enumerate(("a/x", "b/x", "c"))]
    runs.append(write_log(Path("other.jsonl"), run_lines(steps=50)))
    page, notes = draw_report([*runs, Path("a/x")])
    assert page == Path("report.html")
    assert notes == []
    assert [run["name"] for run in data_of(page)["runs"]] == ["a/x, 1", "b/x", "c", "other", "a/x, 5"]
    assert 'id="tokens"' not in page.read_text()


def test_a_long_log_makes_a_page_that_is_not_long(tmp_path: Path) -> None:
    lines = [{"step": at, "loss": 2.0 + (at == 31_007), "tokens": at, "seconds": at / 3} for at in range(1, 40_001)]
    page = RunReport(write_run(tmp_path / "run", lines, tokens=False)).write()
    (run,) = data_of(page)["runs"]
    assert run["curves"]["width"] == 8
    assert max(run["curves"]["curves"]["loss"]["high"]) == 3
    assert page.stat().st_size < 1_000_000
