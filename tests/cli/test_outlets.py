"""Whatever stands in data, names and flags reaches a terminal as text: at every place where something is printed."""

import ast
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import lmhead.cli
from lmhead.cli.console import console
from lmhead.cli.main import main
from lmhead.inspection.batch.audit_report import AuditReport
from lmhead.inspection.doctor.report import DoctorReport
from lmhead.inspection.finding import Finding
from lmhead.shown import shown

PACKAGE = Path(lmhead.cli.__file__).parent.parent
HOSTILE = "\x1b]0;X\x07\x1b[2J\x9b2J\u202ev\u2066\x85\u2028"
SAFE = "\\x1b]0;X\\x07\\x1b[2J\\x9b2J\\u202ev\\u2066\\x85\\u2028"
ESCAPES = {"shown", "shown_line", "shown_json"}
WRITES = {"sys.stdout.write", "sys.stderr.write", "errors.write", "self._errors.write", "print", "input"}
OUR_OWN_TEXT = {  # what is printed without an escape: (file, the argument), with no word of anybody else's
    ("cli/main.py", "usage() + '\\n'"),
    ("cli/main.py", "f'lmhead {__version__}\\n'"),
    ("cli/main.py", "f'lmhead: error: standard output must be written to, got {gone.reason}\\n'"),
    (  # the line is shown
        "cli/main.py",
        "f'lmhead {command}: error: {line}\\n' if command in COMMANDS else f'lmhead: error: {line}\\n'",
    ),
    ("ranks/one_voice.py", "_CLEARED"),
    ("cli/train_ranks.py", "_WITHOUT_BAR"),
    ("cli/outlet.py", "f'standard output is gone ({gone.reason}): {self._remark}\\n'"),  # its remark is shown
    ("cli/flags/parsing.py", "make(kind, command=command, about=about) + '\\n'"),  # of our classes
    ("cli/completion.py", "script(shell)"),
    ("cli/inspect.py", "seen.text(colour=wants_colour()) + '\\n'"),  # each token and name in it is shown
    ("cli/inspect.py", "f'\\nrow {number}\\n{seen.table(number)}\\n'"),  # so too
    ("cli/model_text.py", "shown(text) if sys.stdout.isatty() else text"),  # a pipe or a file gets the text itself
}


def safe(argument: ast.expr) -> bool:
    """Whether a printed expression is made of constants and of calls that escape."""
    if isinstance(argument, ast.BinOp):
        return safe(argument.left) and safe(argument.right)
    if isinstance(argument, ast.Call):
        return isinstance(argument.func, ast.Name) and argument.func.id in ESCAPES
    return isinstance(argument, ast.Constant)


def unescaped(source: str) -> Iterator[str]:
    """What a file prints past the console and past the escapes; a console of its own is such a thing too."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if called in WRITES:
                yield from (ast.unparse(argument) for argument in node.args if not safe(argument))
            elif called in {"Console", "rich.print", "rich.console.Console", "rich.get_console"}:
                yield called


@pytest.mark.parametrize("file", sorted(PACKAGE.rglob("*.py")), ids=lambda file: str(file.relative_to(PACKAGE)))
def test_nothing_is_printed_past_the_escapes(file: Path) -> None:
    name = file.relative_to(PACKAGE).as_posix()
    assert {(name, found) for found in unescaped(file.read_text())} <= OUR_OWN_TEXT


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("print(text)", ["text"]),
        ("sys.stdout.write(shown(a) + b)", ["shown(a) + b"]),
        ("sys.stderr.write(f'{name}')", ["f'{name}'"]),
        ("Console(stderr=True)", ["Console"]),
        ("sys.stdout.write(shown(a) + '\\n')", []),
        ("print('a', shown_line(b))", []),
    ],
)
def test_the_rule_itself(source: str, found: list[str]) -> None:
    assert list(unescaped(source)) == found


def test_every_line_of_the_console_is_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    console().print(f"[red]{HOSTILE}[/red] :warning:")
    assert capsys.readouterr().out == f"[red]{SAFE}[/red] :warning:\n"


@pytest.mark.parametrize(
    "words",
    [
        [HOSTILE],
        ["train", f"--{HOSTILE}"],
        ["train", HOSTILE],
        ["train", f"-{HOSTILE}"],
        ["train", "--steps", HOSTILE],
        ["train", "--precision", HOSTILE],
        ["train", f"--compile={HOSTILE}"],
        ["train", "--out", f"--{HOSTILE}"],
        ["train", "--data", HOSTILE],
        ["train", "--config", HOSTILE],
        ["train", "--resume", HOSTILE],
        ["train", "--template-arguments", HOSTILE],
        ["estimate", "--device", HOSTILE],
        ["estimate", "--init", HOSTILE],
        ["sample", HOSTILE],
        ["doctor", HOSTILE, "--tokenizer", HOSTILE],
        ["doctor", "--tokenizer", HOSTILE],
        ["inspect", HOSTILE, "--tokenizer", HOSTILE],
        ["inspect", HOSTILE, "--model", HOSTILE],
        ["completion", HOSTILE],
    ],
    ids=lambda words: " ".join(words[:2]).encode("ascii", "replace").decode(),
)
def test_errors_show_what_was_typed(
    words: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == shown(captured.err)
    assert captured.err.count("\n") == 1
    assert "\\x1b" in captured.err


def test_errors_show_names_of_files_columns_and_rows(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, tokenizer_file: Path
) -> None:
    folder = tmp_path / "a\x1b[2Jb\u202ec"
    folder.mkdir()
    (folder / "\x9b2J.jsonl").write_text(json.dumps({HOSTILE: 1}) + "\n")
    (folder / "text.txt").write_text("a text\n" * 500)
    (folder / "bytes.txt").write_bytes(b"\xff\x1b[2J")
    for words in (
        ["train", "--data", str(folder / "\x9b2J.jsonl"), "--out", str(tmp_path / "run")],
        ["train", "--data", str(folder / "bytes.txt"), "--out", str(tmp_path / "run")],
        ["train", "--data", str(folder / "text.txt"), "--vocab-size", "99999", "--out", str(folder / "run")],
        ["doctor", str(folder / "\x9b2J.jsonl"), "--tokenizer", str(tokenizer_file)],
        ["doctor", str(folder / "\x9b2J.jsonl"), "--tokenizer", str(tokenizer_file), "--json"],
    ):
        assert main(words) in (1, 2)
        captured = capsys.readouterr()
        assert captured.err + captured.out == shown(captured.err + captured.out)
        assert "\\x1b" in captured.err + captured.out or "\\u001b" in captured.out


@pytest.fixture
def tokenizer_file(tmp_path: Path) -> Path:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    alphabet = pre_tokenizers.ByteLevel.alphabet()
    backend = Tokenizer(models.BPE({letter: i for i, letter in enumerate(sorted(alphabet))}, []))
    backend.pre_tokenizer, backend.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    backend.add_special_tokens(["<|endoftext|>"])
    file = tmp_path / "tokenizer.json"
    backend.save(str(file))
    return file


def test_a_run_on_hostile_text_shows_it_escaped(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, tokenizer_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = tmp_path / f"{HOSTILE[:12].replace('/', '')}.txt"
    text.write_text("\x1b[2J\x9b\u202e " * 400)
    sizes = ["--embed-dim", "16", "--num-layers", "1", "--mlp-dim", "32", "--max-seq-len", "16", "--rows", "4"]
    flags = ["--tokenizer", str(tokenizer_file), "--vocab-size", "257", "--steps", "3", "--prompt", HOSTILE]
    assert main(["train", "--data", str(text), "--out", str(tmp_path / "run"), *sizes, *flags]) == 0
    out = capsys.readouterr().out
    assert out == shown(out)
    assert f"  | {SAFE}" in out
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert main(["sample", str(tmp_path / "run"), "--prompt", HOSTILE, "--tokens", "8"]) == 0
    out = capsys.readouterr().out
    assert out.startswith(SAFE)
    assert out == shown(out)


def test_a_path_with_a_line_end_stays_in_its_line_and_the_command_that_names_it_runs(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, tokenizer_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a\nb.txt").write_text("some words of a text " * 40)
    sizes = ["--embed-dim", "16", "--num-layers", "1", "--mlp-dim", "32", "--max-seq-len", "16", "--rows", "4"]
    flags = ["--tokenizer", str(tokenizer_file), "--vocab-size", "257", "--steps", "1", "--prompt=--two\nlines"]
    assert main(["train", "--data", "a\nb.txt", "--out", "r\nn", *sizes, *flags]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("data: a\\nb.txt: ")
    assert "step 1: saved r\\nn/checkpoints/step-1" in lines
    assert lines[-1] == "report: r\\nn/report.html"
    assert lines[-2] == ("r\\nn: log.jsonl, checkpoints/step-1; try: lmhead sample $'r\\nn' --prompt=$'--two\\nlines'")


def test_reports_are_safe_to_print() -> None:
    finding = Finding(
        code="x", severity="error", count=1, places=(f"{HOSTILE}\n.jsonl, line 1",), message=HOSTILE, remedy=HOSTILE
    )
    for report in (
        AuditReport(findings=(finding,), rows=1, tokens=1, scored=1),
        DoctorReport(findings=(finding,), data=(HOSTILE,), tokenizer=HOSTILE, tables=((HOSTILE, "table"),)),
    ):
        assert str(report) == shown(str(report))
        assert SAFE in str(report)
        assert "\\n.jsonl" in str(report)


def test_a_finding_of_an_array_is_safe_too() -> None:
    finding = Finding.at("x", "error", np.array([True]), "{count}" + HOSTILE)
    assert finding is not None
    assert SAFE in str(finding)


def test_the_streams_are_put_back() -> None:
    before = sys.stdout, sys.stderr
    assert main(["--version"]) == 0
    assert (sys.stdout, sys.stderr) == before
