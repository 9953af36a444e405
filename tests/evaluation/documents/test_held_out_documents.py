"""What a run held out, split again: its own held-out rows, token by token; nothing else is taken for them."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.training.chat_runs import write_chat

from lmhead.cli.train import write_tokenizer
from lmhead.data.labelling.chat_config import ChatConfig
from lmhead.data.rows.selection import select
from lmhead.data.rows.source import Source
from lmhead.data.sets.data_config import DataConfig
from lmhead.errors import InputError
from lmhead.evaluation.documents.document_options import DocumentOptions
from lmhead.evaluation.documents.held_out_documents import held_out_documents
from lmhead.evaluation.documents.read_documents import read_documents
from lmhead.evaluation.documents.trained_on import trained_on
from lmhead.given.given_tokenizer import GivenTokenizer
from lmhead.training.config.train_config import TrainConfig, default_model
from lmhead.training.run.run_folder import RunFolder
from lmhead.training.setup import Ready, prepare


def run_on(out: Path, *paths: Path, vocab_size: int = 285, **options: object) -> Ready:
    """A run that is about to take its first step."""
    sizes = {"vocab_size": vocab_size, "embed_dim": 16, "num_layers": 1, "max_seq_len": 160, "mlp_dim": 16}
    data = options.pop("data", DataConfig())
    config = TrainConfig(
        data=replace(data, paths=tuple(map(str, paths))),  # type: ignore[arg-type,type-var]
        model=replace(default_model(), **sizes),
        device="cpu",
        **options,  # type: ignore[arg-type]
    )
    with RunFolder.create(out) as run:
        ready = prepare(config, run, lambda line: None)
        write_tokenizer(run, ready.tokenizer)
        run.write_config(ready.config, fingerprint=ready.fingerprint())
    return ready


def lay(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for i in range(20):
        (folder / f"{i}.txt").write_text(f"# number {i} é\n" + " ".join(f"word{i * j}" for j in range(20)))
    rows = [{"text": f"row {i} " + " ".join(f"piece{i * j}" for j in range(30)), "by": f"s{i % 2}"} for i in range(20)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_held_out_texts_are_those_of_the_run_with_its_tokens_and_bytes(tmp_path):
    ready = run_on(tmp_path / "run", lay(tmp_path / "data"), data=DataConfig(held_out=0.3))
    documents = held_out_documents(tmp_path / "run", DocumentOptions(end=True))
    made = list(documents)
    assert np.array_equal(np.concatenate([each.example.ids for each in made]), ready.held_out.stream.ids)
    assert documents.scored == ready.held_out.scored
    assert documents.bytes == ready.held_out.bytes
    assert b"".join(each.utf8 for each in made).decode() == ready.held_out.text
    assert any(f"held out by {tmp_path / 'run'}: 12 texts" in line for line in documents.told)
    assert sum(int(each.scored.sum()) for each in held_out_documents(tmp_path / "run")) == documents.scored - 12


def test_held_out_conversations_are_those_of_the_run(tmp_path):
    data = write_chat(tmp_path / "chat.jsonl", 30, extra=({"messages": [{"role": "user", "content": "?"}]},))
    ready = run_on(tmp_path / "run", data, vocab_size=300, chat=ChatConfig(on_error="skip"))
    documents = held_out_documents(tmp_path / "run")
    made = list(documents)
    wanted = ready.held_out.examples
    assert [each.example.ids.tolist() for each in made] == [each.ids.tolist() for each in wanted]
    assert [each.example.trained.tolist() for each in made] == [each.trained.tolist() for each in wanted]
    assert documents.scored == ready.held_out.scored
    assert documents.bytes == ready.held_out.bytes
    assert documents.lost == 0
    assert documents.forms == {"conversations": len(wanted)}
    assert (tmp_path / "run" / "skipped.jsonl").stat().st_mtime <= (tmp_path / "run" / "config.yaml").stat().st_mtime


def test_the_end_of_one_text_is_held_out(tmp_path):
    (tmp_path / "a.txt").write_text("".join(f"line {i} of many\n" for i in range(300)))
    ready = run_on(tmp_path / "run", tmp_path / "a.txt")
    [document] = held_out_documents(tmp_path / "run")
    assert document.utf8.decode() == ready.held_out.text


def test_held_out_texts_of_replaced_bytes_have_no_bytes(tmp_path):
    for i in range(10):
        file = lay(tmp_path / "data") if not i else tmp_path / "data"
        (file / f"{i}.txt").write_bytes(b"number %d \xff " % i + b"word " * 9)
    run_on(tmp_path / "run", tmp_path / "data", data=DataConfig(held_out=0.5, errors="replace"))
    documents = held_out_documents(tmp_path / "run")
    for document in documents:
        assert (document.utf8 is None) == (document.source in {f"{i}.txt" for i in range(10)})
    assert 0 < documents.lost < documents.documents


def test_held_out_rows_are_of_the_source_that_they_name(tmp_path):
    run_on(tmp_path / "run", lay(tmp_path / "data") / "rows.jsonl", data=DataConfig(held_out=0.3))
    made = list(held_out_documents(tmp_path / "run", DocumentOptions(source_key="by")))
    assert [each.source for each in made] == [f"s{(each.place.number - 1) % 2}" for each in made]
    assert {each.source for each in held_out_documents(tmp_path / "run")} == {"rows.jsonl"}


def test_data_that_are_gone_or_others_are_refused_in_one_line(tmp_path):
    run_on(tmp_path / "run", lay(tmp_path / "data"))
    held_out_documents(tmp_path / "run")
    file = tmp_path / "data" / "3.txt"
    before = file.read_text()
    file.write_text(before.replace("word", "werd"))
    with pytest.raises(InputError, match=r"the data of .*run must be what the run split, got others in their place"):
        held_out_documents(tmp_path / "run")
    file.write_text(before)
    held_out_documents(tmp_path / "run")
    shutil.rmtree(tmp_path / "data")
    with pytest.raises(InputError, match=r"the data of .*run must be where they were, got no such file or folder"):
        held_out_documents(tmp_path / "run")
    with pytest.raises(InputError, match="no run in"):
        held_out_documents(tmp_path)


def test_data_that_moved_with_nothing_changed_are_the_same(tmp_path, monkeypatch):
    run_on(tmp_path / "run", lay(tmp_path / "data"))
    prints = list(map(len, held_out_documents(tmp_path / "run")))
    monkeypatch.chdir(tmp_path / "run")
    assert list(map(len, held_out_documents(Path()))) == prints


@pytest.mark.parametrize("kind", ["texts", "rows", "conversations"])
def test_documents_that_a_run_was_trained_on_are_counted(tmp_path, kind):
    data = lay(tmp_path / "data")
    paths = {"texts": data, "rows": data / "rows.jsonl", "conversations": tmp_path / "chat.jsonl"}
    write_chat(paths["conversations"], 30)
    path = paths[kind]
    ready = run_on(tmp_path / "run", path, vocab_size=285 if kind != "conversations" else 300)
    held_out = {str(each.place) for each in held_out_documents(tmp_path / "run")}
    given = [str(path)]
    other = tmp_path / "other.txt"
    other.write_text("something else")
    selection = select(Source.of(given + ([str(other)] if kind != "conversations" else [])))
    watch = trained_on(tmp_path / "run", selection)
    assert watch is not None
    documents = list(read_documents(selection, GivenTokenizer.of(str(tmp_path / "run"))))
    found = {str(each.place): watch.see(each.place) for each in documents}
    assert [name for name, trained in found.items() if not trained and name != f"{other}, row 1"] == [
        name for name in found if name in held_out
    ]
    trained = len(ready.rows.table().tokens)
    assert watch.line() == f"{trained} of {len(documents)} documents were trained on by {tmp_path / 'run'}"


def test_data_that_share_no_file_with_a_run_are_not_watched(tmp_path):
    run_on(tmp_path / "run", lay(tmp_path / "data"))
    (tmp_path / "b.txt").write_text("something else")
    assert trained_on(tmp_path / "run", select(Source.of([str(tmp_path / "b.txt")]))) is None
    one = [str(each) for each in (tmp_path / "data").glob("*.txt")][:1]
    assert trained_on(tmp_path / "run", select(Source.of(one))) is not None
