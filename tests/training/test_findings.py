"""What the doctor calls an error is told by training before it starts, in the same words."""

import json
from pathlib import Path

import pytest
from tests.inspection.doctor.patients import GOOD, assistant, chat, system, tokenizer, user
from tests.labels.chat.chat_templates import CHATML, NO_TERMINATOR
from tests.training.chat_runs import train_words, write_chat

from lmhead.cli.main import main
from lmhead.data.labelling.chat_config import ChatConfig
from lmhead.data.tokenizer.tokenizer_files import TokenizerFiles
from lmhead.inspection.doctor.examine import examine

FEW = ["--steps", "1", "--device", "cpu"]
ELSEWHERE = {"too_long", "row_breaks_format", "nothing_trained", "answer_truncated"}  # rows that training refuses


def saved(folder: Path, files: TokenizerFiles) -> str:
    folder.mkdir()
    (folder / "tokenizer.json").write_text(files.json)
    (folder / "tokenizer_config.json").write_text(
        json.dumps({**files.special_tokens, "chat_template": files.chat_template})
    )
    return str(folder)


def lines(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def told(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [line for line in capsys.readouterr().out.splitlines() if line.endswith("]") and ": " in line]


DROPS_SYSTEM = CHATML.replace("for message in messages", "for message in messages if message.role != 'system'")
PICTURES = [{**row, "images": ["a.png"]} for row in GOOD]
TOLD_TO_BE = [chat(system("Be golf"), user(f"Ask {n}"), assistant("Reply alpha")) for n in range(3)]
RENDERED = [{"text": f"<|im_start|>user\nAsk {n} alpha bravo<|im_end|>"} for n in range(20)]


@pytest.mark.parametrize(
    ("files", "rows", "flags", "code"),
    [
        (tokenizer(), PICTURES, [], "media_not_read"),
        (tokenizer(DROPS_SYSTEM), TOLD_TO_BE, ["--dropped-text", "note"], "system_prompt_dropped"),
        (tokenizer(NO_TERMINATOR, eos="</s>"), GOOD, [], "no_end_token"),
        (tokenizer(), RENDERED, [], "rendered_text"),
    ],
    ids=["media_not_read", "system_prompt_dropped", "no_end_token", "rendered_text"],
)
def test_an_error_of_the_doctor_is_told_before_training(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    files: TokenizerFiles,
    rows: list[object],
    flags: list[str],
    code: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    lines(tmp_path / "chat.jsonl", *rows)
    report = examine("chat.jsonl", files, config=ChatConfig(dropped_text="note" if flags else "refuse"))
    words = train_words(Path("chat.jsonl"), Path("run"), "--tokenizer", saved(tmp_path / "tok", files), *FEW, *flags)
    words[words.index("--vocab-size") + 1] = str(files.backend().get_vocab_size())
    words[words.index("--max-seq-len") + 1] = "32"
    assert main(words) == 0
    lines_told = told(capsys)
    errors = [finding for finding in report.errors if finding.code not in ELSEWHERE]
    assert code in [finding.code for finding in errors]
    assert [finding.head() for finding in errors] == [line for line in lines_told if line.startswith("error: ")]


def test_what_is_not_read_is_told_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = write_chat(tmp_path / "chat.jsonl", 6)
    rows = [{**json.loads(line), "id": n, "tool": "x"} for n, line in enumerate(data.read_text().splitlines())]
    lines(data, *rows)
    assert main(train_words(data, tmp_path / "run", *FEW)) == 0
    (line,) = told(capsys)
    assert line == (
        "warning: columns that nothing reads: id (6 rows), tool (6 rows, did you mean tools?) "
        f"({data}, line 1) [columns_not_read]"
    )


def test_of_texts_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = lines(tmp_path / "a.jsonl", *[{"text": f"some text {n} of many words", "id": n} for n in range(90)])
    words = train_words(data, tmp_path / "run", *FEW)
    words[words.index("--max-seq-len") + 1] = "16"
    assert main(words) == 0
    (line,) = told(capsys)
    assert line.startswith("info: columns that nothing reads: id (90 rows) ")
