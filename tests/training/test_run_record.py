"""The log of a run is a record: a header first, losses by class, several prompts; beside it the worst held-out rows."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.training.chat_runs import train_words, write_chat

from lmhead.cli.main import main
from lmhead.record.record import Record, kind_of, read_record
from lmhead.training.run.run_folder import RunFolder

TINY = [
    *("--vocab-size", "300", "--embed-dim", "16", "--num-layers", "1", "--max-seq-len", "32", "--rows", "2"),
    *("--eval-every", "2", "--sample-every", "2", "--save-every", "2"),
]


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("text")
    for i in range(30):
        (folder / f"{i}.py").write_text("".join(f"def f{i}_{j}(x):\n    return x + {i * j}\n\n" for j in range(30)))
    return folder


@pytest.fixture(scope="module")
def run(text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "texts"
    assert main(["train", "--data", str(text), "--out", str(out), *TINY, "--steps", "4"]) == 0
    return out


@pytest.fixture(scope="module")
def chat(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("chat")
    data = write_chat(folder / "chat.jsonl", 200)
    assert main(train_words(data, folder / "run", "--steps", "4", "--eval-every", "2", "--sample-every", "4")) == 0
    return folder / "run"


def log(run: Path) -> Record:
    return read_record(run / "log.jsonl")


def headers(run: Path) -> list[dict[str, Any]]:
    return [record for record in RunFolder(run).records() if kind_of(record) == "header"]


def test_the_first_line_is_the_header_of_step_0(run: Path, text: Path) -> None:
    first = RunFolder(run).records()[0]
    assert headers(run) == [first]
    assert (first["record"], first["step"], first["data"]) == (1, 0, [str(text)])
    config = first["config"]
    assert "out" not in config
    assert (config["steps"], config["model"]["embed_dim"], config["prompt"]) == (4, 16, log(run).samples[0]["prompt"])
    environment = first["environment"]
    assert {"lmhead", "torch", "python", "numpy", "tokenizers"} <= set(environment["versions"])
    assert (environment["device"], environment["precision"]) == ("cpu", config["precision"])
    assert first["tokenizer"] == {
        "name": "trained on the data",
        "vocab_size": 300,
        "sha256": hashlib.sha256((run / "tokenizer.json").read_bytes()).hexdigest(),
    }


def test_the_data_card_counts_documents_tokens_and_scored_ones_in_all_and_by_source(run: Path, chat: Path) -> None:
    for each, documents in ((run, 30), (chat, 200)):
        card = log(each).header["data_card"]
        assert card["train"]["documents"] + card["held_out"]["documents"] == documents
        for part in ("train", "held_out"):
            for what in ("documents", "tokens", "scored"):
                of_sources = sum(source.get(part, {}).get(what, 0) for source in card["sources"].values())
                assert of_sources == card[part][what]
        whole = [line for line in log(each).evaluations if line["evaluation"] == "full"]
        assert card["held_out"]["scored"] == whole[-1]["tokens"]
        assert card["held_out"]["bytes"] == whole[-1]["bytes"]
        assert card["fingerprint"] == RunFolder(each).seal().fingerprint  # type: ignore[union-attr]
    assert log(run).header["data_card"]["kind"] == "texts"
    template = log(chat).header["data_card"]["template"]
    assert template["name"] == "ChatML, the built-in one"
    assert template["sha256"] == hashlib.sha256((chat / "chat_template.jinja").read_bytes()).hexdigest()


def test_evaluations_have_their_losses_by_class(run: Path, chat: Path) -> None:
    for each, kinds in (
        (run, ["position", "frequency", "source"]),
        (chat, ["position", "frequency", "source", "part"]),
    ):
        for line in log(each).evaluations:
            assert list(line["classes"]) == kinds
            for kind in kinds[:3]:
                assert sum(tokens for _, tokens in line["classes"][kind].values()) == line["tokens"]


def test_the_same_prompts_are_sampled_each_time(run: Path, chat: Path) -> None:
    for each, steps in ((run, [2, 4]), (chat, [4])):
        prompts = {step: [line["prompt"] for line in log(each).samples if line["step"] == step] for step in steps}
        assert len(set(prompts[4])) == 3
        assert all(made == prompts[4] for made in prompts.values())
        assert all(line["sample"].startswith(line["prompt"].rstrip("\ufffd")) for line in log(each).samples)


def test_the_worst_held_out_rows_are_those_of_the_last_evaluation(run: Path, chat: Path) -> None:
    for each in (run, chat):
        record = read_record(each / "tokens.jsonl")
        assert record.header["title"] == f"{each.name}, step 4: the worst held-out rows"
        assert record.damage is None
        assert record.rows
        for row in record.rows:
            assert row.scores is not None
            assert row.scores.top_ids is not None
            scored = row.targets >= 0
            assert np.isfinite(row.scores.nll[scored]).all()
            shown = {*row.ids.tolist(), *row.targets[scored].tolist(), *row.scores.top_ids[scored].ravel().tolist()}
            assert shown <= set(record.vocabulary)
            assert len(row.names) == row.document.max() + 1  # type: ignore[union-attr]


def test_a_resumed_run_has_one_header_and_one_that_is_made_longer_a_second(text: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert main(["train", "--data", str(text), "--out", str(run), *TINY, "--steps", "2"]) == 0
    lines = (run / "log.jsonl").read_text().splitlines(keepends=True)
    (run / "log.jsonl").write_text("".join(lines[:-1]))  # as if it had been killed in its last evaluation
    assert main(["train", "--resume", str(run)]) == 0
    assert [header["step"] for header in headers(run)] == [0]
    assert main(["train", "--resume", str(run), "--steps", "4"]) == 0
    assert [(header["step"], header["config"]["steps"]) for header in headers(run)] == [(0, 2), (2, 4)]
    assert log(run).header["config"]["steps"] == 4


def test_a_log_of_an_earlier_lmhead_gets_a_header_when_its_run_goes_on(text: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert main(["train", "--data", str(text), "--out", str(run), *TINY, "--steps", "2"]) == 0
    records = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    for record in records:
        record.pop("classes", None)
        record.pop("prompt", None)
    older = [record for record in records if "record" not in record]
    (run / "log.jsonl").write_text("".join(json.dumps(record) + "\n" for record in older))
    (run / "tokens.jsonl").unlink()
    assert log(run).header == {}
    assert main(["train", "--resume", str(run), "--steps", "4"]) == 0
    assert RunFolder(run).records()[: len(older)] == older
    assert [header["step"] for header in headers(run)] == [2]
    assert [line["step"] for line in log(run).evaluations] == [2, 4]


def test_a_timed_runs_second_header_has_its_length(text: Path, tmp_path: Path) -> None:
    assert main(["train", "--data", str(text), "--out", str(tmp_path / "run"), *TINY, "--minutes", "0.01"]) == 0
    told = [(header["step"], header["config"]["steps"]) for header in headers(tmp_path / "run")]
    assert told == [(0, None), (12, RunFolder(tmp_path / "run").config().steps)]
