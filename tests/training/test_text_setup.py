"""Data decide a run's fingerprint, and nothing else does; a run records where they are found and what it continues."""

import json
import os
import shutil
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from tests.training.chat_runs import write_chat

from lmhead.data.sets.data_config import DataConfig
from lmhead.training.config.train_config import TrainConfig, default_model
from lmhead.training.run.run_folder import RunFolder
from lmhead.training.setup import Ready, prepare

SIZES = {"vocab_size": 285, "embed_dim": 16, "num_layers": 1, "max_seq_len": 160, "mlp_dim": 16}
COUNT = iter(range(1000))


@pytest.fixture
def ready(tmp_path: Path):
    """Prepares a run on data."""

    def made(*paths: Path | str, vocab_size: int = 285, notes: list[str] | None = None, **options: object) -> Ready:
        model = replace(default_model(), **{**SIZES, "vocab_size": vocab_size})
        config = TrainConfig(data=DataConfig(paths=tuple(map(str, paths))), model=model, device="cpu", **options)  # type: ignore[arg-type]
        run = RunFolder.create(tmp_path / "runs" / str(next(COUNT)))
        return prepare(config, run, ([] if notes is None else notes).append)

    return made


def lay(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for i in range(20):
        (folder / f"{i}.txt").write_text(f"# number {i}\n" + " ".join(f"word{i * j}" for j in range(20)))
    rows = [{"text": f"row {i} " + " ".join(f"piece{i * j}" for j in range(30))} for i in range(20)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_texts_that_moved_are_the_same_data(ready, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = lay(tmp_path / "data")
    whole, rows = ready(data).fingerprint(), ready(data / "rows.jsonl").fingerprint()
    shutil.copytree(data, tmp_path / "elsewhere" / "other")
    shutil.rmtree(data)
    monkeypatch.chdir(tmp_path / "elsewhere" / "other")
    for same in (".", "../other", tmp_path / "elsewhere" / "other"):
        assert ready(same).fingerprint() == whole
    assert ready("./rows.jsonl").fingerprint() == rows


def test_a_held_out_text_that_changed_is_other_data(ready, tmp_path: Path) -> None:
    data = lay(tmp_path / "data")
    first = ready(data)
    [apart, *_] = [name for name in (path.name for path in data.glob("*.txt")) if _is_held_out(first, data / name)]
    with (data / apart).open("a") as file:
        file.write("\none more line\n")
    second = ready(data)
    assert second.rows.fingerprint() == first.rows.fingerprint()
    assert second.fingerprint() != first.fingerprint()


def _is_held_out(ready: Ready, file: Path) -> bool:
    return file.read_text() in ready.held_out.text  # type: ignore[attr-defined]


def test_a_held_out_conversation_that_changed_is_other_data(ready, tmp_path: Path) -> None:
    data = write_chat(tmp_path / "chat.jsonl")
    first = ready(data, vocab_size=300, seed=1)
    moved = tmp_path / "sub" / "chat.jsonl"
    moved.parent.mkdir()
    shutil.copy(data, moved)
    assert ready(moved, vocab_size=300, seed=1).fingerprint() == first.fingerprint()
    decode = first.tokenizer.backend.decode
    apart = decode(first.held_out.examples[0].ids.tolist(), skip_special_tokens=False)  # type: ignore[attr-defined]
    lines = moved.read_text().splitlines()
    [line] = [line for line in lines if all(m["content"] in apart for m in json.loads(line)["messages"])]
    row = json.loads(line)
    row["messages"][-1]["content"] += "!"
    moved.write_text("\n".join(json.dumps(row) if each == line else each for each in lines))
    second = ready(moved, vocab_size=300, seed=1)
    assert second.fingerprint() != first.fingerprint()


def test_a_run_records_where_its_data_are_and_what_it_continues(
    ready, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lay(tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    notes: list[str] = []
    run = ready("data", notes=notes)
    assert run.config.data.paths == (str(tmp_path / "data"),)
    assert notes[0].startswith("data: data: 40 documents")
    assert run.config.prompt
    assert run.config.prompt in run.held_out.text
    assert run.prompts[0].text(run.tokenizer.backend, []) == run.config.prompt
    assert len({prompt.text(run.tokenizer.backend, []) for prompt in run.prompts}) == 3
    assert ready("data", prompt="mine").config.prompt == "mine"


def test_ids_are_cached_where_that_is_asked_for(ready, tmp_path: Path) -> None:
    data = lay(tmp_path / "data")
    plain = TrainConfig().chat
    chat = replace(plain, cache=str(tmp_path / "cache"))
    prints = {ready(data, chat=each).fingerprint() for each in (plain, chat, chat)}
    assert len(prints) == 1
    assert len(list((tmp_path / "cache").iterdir())) == 2


def test_what_can_be_read_once_is_told_on_a_resume(ready, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    text = "a line of words\nand another\n" * 40
    writer = threading.Thread(target=(tmp_path / "pipe").write_text, args=(text,))
    writer.start()
    notes: list[str] = []
    run = ready(tmp_path / "pipe", vocab_size=260, notes=notes)
    writer.join()
    assert not [note for note in notes if "not kept" in note]
    folder = RunFolder.create(tmp_path / "resumed")
    folder.write_text("tokenizer.json", run.tokenizer.backend.to_str())
    prepare(run.config, folder, notes.append)
    assert [note for note in notes if f"data: {tmp_path}/pipe: what was read of it before is not kept" in note]
