"""Training on conversations: every learnt token with its weight, no conversation sees another, nothing in silence."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.training.chat_runs import train_words, write_chat

from lmhead.batches.chat import ChatRows, HeldOutChat
from lmhead.cli.main import main
from lmhead.data.labelling.outcome import Labelled
from lmhead.data.rows import selection
from lmhead.data.rows.row import Place
from lmhead.data.rows.row_files import DataFile
from lmhead.data.rows.selection import Selection, select
from lmhead.data.sets.conversations import labelled_format
from lmhead.data.sets.data_config import DataConfig
from lmhead.data.sets.held_out import held_out
from lmhead.data.sets.message_texts import split_texts
from lmhead.data.sets.standard_library import standard_library
from lmhead.data.tokenizer.chatml import CHATML
from lmhead.data.tokenizer.tokenizer_files import read_tokenizer
from lmhead.evaluation.held_out.evaluate import evaluate_held_out
from lmhead.labels.example import Example
from lmhead.training.config.train_config import TrainConfig, default_model
from lmhead.training.loop import Trainer
from lmhead.training.run.run_folder import RunFolder
from lmhead.training.setup import Ready, prepare


class Silent:
    """A Reporter that keeps the losses."""

    def __init__(self) -> None:
        self.losses: list[float] = []

    def step(self, record) -> None:
        self.losses.append(record.loss)

    def evaluation(self, step, result) -> None: ...
    def sample(self, step, text) -> None: ...
    def evaluating(self, step, done, total) -> None: ...
    def saved(self, step, folder) -> None: ...


def weighted(weight: float, question: str, answer: str) -> dict[str, object]:
    said = {"role": "assistant", "content": answer, "weight": weight}
    return {"messages": [{"role": "user", "content": question}, said]}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_chat(tmp_path / "chat.jsonl")


def tiny(data: Path, **changes: object) -> TrainConfig:
    sizes = {"vocab_size": 300, "embed_dim": 32, "num_layers": 1, "max_seq_len": 160}
    model = replace(default_model(), **sizes, zero_init_head=False, zero_init_projections=False, dropout=0.1)
    config = TrainConfig(data=DataConfig(paths=(str(data),)), model=model, precision="float32", device="cpu", steps=2)
    return replace(config, **changes)  # type: ignore[arg-type]


def made(config: TrainConfig, folder: Path) -> tuple[Ready, list[str]]:
    notes: list[str] = []
    return prepare(config, RunFolder.create(folder), notes.append), notes


def losses(run: Path) -> dict[int, float]:
    return {record["step"]: record["loss"] for record in RunFolder(run).records() if "loss" in record}


def alone(ready: Ready, example: Example) -> tuple[torch.Tensor, torch.Tensor]:
    """Nll of each learnt token of one conversation that has a row to itself, and the weights."""
    targets = example.targets()
    ids = torch.from_numpy(example.ids.astype("int64"))[None]
    ready.model.eval()
    with torch.no_grad():
        _, statistics = ready.model.loss(ids, targets.ids[None], return_stats=True)
    weight = targets.scored.float() if targets.weight is None else targets.weight
    return statistics.nll[0][targets.scored], weight[targets.scored]


def test_the_loss_of_a_step_is_the_weighted_mean_of_conversations_that_see_nothing_else(tmp_path: Path) -> None:
    extra = tuple(weighted(w, f"What is {w}?", f"It is {w}, I am sure.") for w in (0.25, 0.5, 3.0, 0.0) for _ in "ab")
    extra = tuple(row for row in extra if row["messages"][1]["weight"])  # type: ignore[index]
    data = write_chat(tmp_path / "chat.jsonl", 12, extra=extra)
    config = tiny(data, rows=2, accumulate=3)
    ready, _ = made(replace(config, model=replace(config.model, dropout=0.0)), tmp_path / "run")
    rows = ready.rows._rows  # type: ignore[attr-defined]
    pieces = [piece for row in range(6) for piece in rows.rows[rows._place(row)]]
    assert len(pieces) > 6
    sums = [alone(ready, piece.example) for piece in pieces]
    weights = {float(weight) for _, each in sums for weight in each.unique()}
    expected = sum(float((nll * weight).sum()) for nll, weight in sums) / sum(float(w.sum()) for _, w in sums)
    reporter = Silent()
    trainer = Trainer(RunFolder(tmp_path / "run"), ready.config, ready, reporter, 0.0)
    trainer._step()
    assert len(weights) > 1
    assert reporter.losses == pytest.approx([expected], rel=1e-5)


def test_the_evaluation_scores_each_learnt_token_once_whatever_shares_a_batch(data: Path, tmp_path: Path) -> None:
    config = replace(tiny(data), data=DataConfig(paths=(str(data),), held_out=0.4))
    ready, _ = made(config, tmp_path / "run")
    held_out = ready.held_out
    assert isinstance(held_out, HeldOutChat)
    sums = [alone(ready, example)[0] for example in held_out.examples]
    result = evaluate_held_out(ready.model, ready.held_out, device=ready.device, dtype=ready.dtype)
    assert result.tokens == sum(map(len, sums)) == held_out.scored
    assert result.nll == pytest.approx(float(torch.cat(sums).mean()), rel=1e-5)
    assert result.whole
    assert result.answers == sum(len(spans(example)) for example in held_out.examples)


def spans(example: Example) -> list[int]:
    return [span.index for span in example.spans if span.role == "assistant"]


def test_bytes_are_those_of_the_answers_text(data: Path, tmp_path: Path) -> None:
    ready, _ = made(tiny(data), tmp_path / "run")
    rows = [json.loads(line)["messages"] for line in data.read_text().splitlines()]
    asked = {message["content"] for row in rows for message in row}
    result = evaluate_held_out(ready.model, ready.held_out, device=ready.device, dtype=ready.dtype)
    backend = ready.tokenizer.backend
    texts = [
        backend.decode(example.ids[span.start : span.stop].tolist())
        for example in ready.held_out.examples  # type: ignore[attr-defined]
        for span in example.spans
        if span.role == "assistant"
    ]
    assert set(texts) <= asked
    assert result.bytes == sum(len(text.encode()) for text in texts)
    assert result.bits_per_byte == pytest.approx(result.nll * result.tokens / 0.6931471805599453 / result.bytes)


def test_a_run_writes_the_template_and_fills_the_vocabulary(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    assert main(train_words(data, run, "--steps", "2")) == 0
    output = capsys.readouterr().out
    assert "chat.jsonl: messages, 40 conversations; 4 held out" in output
    assert "held-out answers exact" in output
    for folder in (run, RunFolder(run).latest()):
        files = read_tokenizer(str(folder))
        assert files.chat_template == CHATML
        assert files.backend().get_vocab_size() == 300
        assert files.special_tokens["eos_token"] == "<|im_end|>"


def test_a_run_that_goes_on_from_a_checkpoint_takes_the_same_steps(data: Path, tmp_path: Path) -> None:
    run, other = tmp_path / "run", tmp_path / "other"
    flags = ("--steps", "6", "--save-every", "2", "--keep", "9", "--dropout", "0.1", "--accumulate", "2")
    assert main(train_words(data, run, *flags)) == 0
    shutil.copytree(run, other)
    for step in (4, 6):
        shutil.rmtree(RunFolder(other).checkpoint(step))
    assert main(["train", "--resume", str(other)]) == 0
    assert losses(other) == losses(run)
    one, two = (torch.load(RunFolder(each).checkpoint(6) / "training.pt")["model"] for each in (run, other))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_a_resume_on_other_conversations_is_refused(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(train_words(data, tmp_path / "run", "--steps", "2")) == 0
    data.write_text(data.read_text().replace("capital", "Capital"))
    assert main(["train", "--resume", str(tmp_path / "run"), "--steps", "4"]) == 2
    assert "the data are not those that this run was trained on" in capsys.readouterr().err


BROKEN: tuple[dict[str, object], ...] = (
    {"messages": [{"role": "user", "content": "Nobody answers this."}]},
    {"messages": [{"role": "user"}]},
    {"messages": [{"role": "user", "content": "a " * 400}, {"role": "assistant", "content": "b"}]},
)


def test_a_conversation_that_cannot_be_labelled_stops_the_run_before_it_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_chat(tmp_path / "chat.jsonl", extra=BROKEN)
    assert main(train_words(data, tmp_path / "run", "--steps", "2")) == 2
    captured = capsys.readouterr()
    assert "3 of 43 conversations cannot be labelled" in captured.err
    assert "chat.jsonl, line 41" in captured.err
    assert "--on-error skip" in captured.err
    assert captured.err.count("\n") == 1
    assert [f"line {number}" in captured.out for number in (41, 42, 43)] == [True] * 3
    assert not (tmp_path / "run").exists()


def test_conversations_that_are_all_too_long_name_the_flags_and_no_skipping(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = train_words(write_chat(tmp_path / "chat.jsonl"), tmp_path / "run", "--steps", "2", "--max-seq-len", "8")
    assert main(words) == 2
    error = capsys.readouterr().err
    assert "messages must have at most --max-seq-len 8 tokens, got" in error
    assert "give a larger --max-seq-len, or --overflow truncate_end or truncate_start; mend them\n" in error
    assert main([*words, "--overflow", "truncate_end"]) == 2
    assert "give a larger --max-seq-len, or cut the other side by --overflow; mend" in capsys.readouterr().err


def test_rows_of_one_token_are_refused_by_their_flag(data: Path, tmp_path: Path, capsys) -> None:
    assert main(train_words(data, tmp_path / "run", "--max-seq-len", "1")) == 2
    assert "--max-seq-len must be >= 2 tokens for conversations, got 1" in capsys.readouterr().err


def test_a_lone_conversation_is_told_that_two_are_the_least(tmp_path: Path, capsys) -> None:
    data = write_chat(tmp_path / "chat.jsonl", 1)
    assert main(train_words(data, tmp_path / "run", "--vocab-size", "264")) == 2
    assert "must leave a conversation to hold out, got 1 that can be trained on: give more" in capsys.readouterr().err


def test_data_that_are_given_twice_are_told(data: Path, tmp_path: Path) -> None:
    config = tiny(data)
    _, notes = made(replace(config, data=replace(config.data, paths=(str(data),) * 2)), tmp_path / "run")
    assert f"data: {data} is given 2 times, and weighs 2 times as much" in notes


def test_a_template_that_is_no_jinja_is_named_by_its_file(data: Path, tmp_path: Path, capsys) -> None:
    base = tmp_path / "base"
    assert main(train_words(data, base, "--steps", "1")) == 0
    (tmp_path / "bad.jinja").write_text("{% for m in messages %}{{ m.content }")
    words = ["train", "--init", str(base), "--data", str(data), "--template", str(tmp_path / "bad.jinja")]
    assert main([*words, "--out", str(tmp_path / "run")]) == 2
    assert f"{tmp_path / 'bad.jinja'}: chat_template must be Jinja, got a syntax error in line 1" in (
        capsys.readouterr().err
    )


def test_the_command_that_is_suggested_can_be_pasted(data: Path, tmp_path: Path, capsys) -> None:
    assert main(train_words(data, tmp_path / "my run", "--steps", "1")) == 0
    assert f"lmhead sample '{tmp_path / 'my run'}' --chat" in capsys.readouterr().out


def test_skipped_conversations_are_counted_and_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = write_chat(tmp_path / "chat.jsonl", extra=BROKEN)
    assert main(train_words(data, tmp_path / "run", "--steps", "2", "--on-error", "skip")) == 0
    output = capsys.readouterr().out
    assert "refused: 3 of 43 conversations" in output
    listed = [json.loads(line) for line in (tmp_path / "run" / "skipped.jsonl").read_text().splitlines()]
    assert [row["line"] for row in listed] == [41, 42, 43]
    assert [row["kind"] for row in listed][::2] == ["nothing_to_train", "too_long"]
    assert all(row["source"] == str(data) and row["message"] for row in listed)


@pytest.mark.parametrize("flags", [(), ("--on-error", "skip")])
def test_no_run_trains_on_nothing(flags: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = tmp_path / "chat.jsonl"
    row = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho", "train": False}]}
    data.write_text((json.dumps(row) + "\n") * 5)
    assert main(train_words(data, tmp_path / "run", "--steps", "2", "--vocab-size", "268", *flags)) == 2
    error = capsys.readouterr().err
    assert "nothing_to_train 5" in error
    assert ("0 trained tokens" in error) == bool(flags)
    assert not (tmp_path / "run").exists()


def test_a_vocabulary_that_cannot_be_filled_for_broken_rows_is_told_by_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "chat.jsonl"
    data.write_text('{"messages": [{"rol": "user", "content": "Hi"}]}\n')
    assert main(train_words(data, tmp_path / "run", "--steps", "2")) == 2
    assert f"error: 1 row cannot be read, the first: {data}, line 1: messages[0] must have" in capsys.readouterr().err
    assert main(train_words(data, tmp_path / "run", "--steps", "2", "--format", "alpaca")) == 2
    assert "as --format alpaca says, got the columns messages: its columns are those of --format messages;" in (
        capsys.readouterr().err
    )


def test_bytes_that_are_not_utf8_are_replaced_where_that_is_asked(tmp_path: Path) -> None:
    data = write_chat(tmp_path / "chat.jsonl")
    with data.open("ab") as file:
        file.write(b'{"messages": [{"role": "user", "content": "caf\xe9"}, {"role": "assistant", "content": "yes"}]}\n')
    words = train_words(data, tmp_path / "run", "--steps", "2")
    assert main(words) == 2
    assert main([*words, "--errors", "replace"]) == 0


def test_a_vocabulary_that_the_conversations_cannot_fill_is_refused_with_the_one_they_can(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = train_words(data, tmp_path / "run", "--steps", "2", "--vocab-size", "5000")
    assert main(words) == 2
    least = capsys.readouterr().err.split("give --vocab-size ")[1].split()[0].rstrip(",")
    assert main([*words, "--vocab-size", least]) == 0


def selected(config: TrainConfig) -> Selection:
    return select(config.data.source(config.chat.columns))


def texts_to_learn_from(config: TrainConfig) -> list[str]:
    return list(split_texts(selected(config), {}, format=config.chat.format, held_out_share=config.data.held_out))


@pytest.mark.parametrize(
    ("row", "flags", "name"),
    [
        ({"text": "a"}, {}, None),
        ({"messages": []}, {}, "messages"),
        ({"prompt": "a", "completion": "b"}, {}, "prompt_completion"),
        ({"input_ids": [1]}, {}, "tokens"),
        ({"text": "a", "messages": []}, {"format": "text"}, None),
    ],
)
def test_the_first_row_tells_the_format_unless_it_is_named(
    row: dict[str, object], flags: dict[str, str], name: str | None, tmp_path: Path
) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text(json.dumps(row) + "\n")
    config = tiny(file)
    assert labelled_format(selected(config), **flags) == name


def said(number: int) -> dict[str, object]:
    return {"messages": [{"role": "user", "content": f"Question {number}?"}, {"role": "assistant", "content": "Yes"}]}


def numbers(texts: list[str]) -> set[int]:
    return {int(found) for text in texts for found in re.findall(r"Question (\d+)", text)}


@pytest.mark.parametrize("times", [1, 3])
def test_a_conversation_is_trained_on_or_held_out_however_often_it_stands_in_the_data(
    times: int, tmp_path: Path
) -> None:
    data = tmp_path / "chat.jsonl"
    data.write_text("".join(json.dumps(said(number)) + "\n" for number in list(range(40)) * times))
    (tmp_path / "again.jsonl").write_text(json.dumps(said(7)) + "\n")
    config = tiny(data)
    config = replace(config, data=replace(config.data, paths=(str(data), str(tmp_path / "again.jsonl"))))
    ready, _ = made(replace(config, model=replace(config.model, vocab_size=285)), tmp_path / "run")
    decode = ready.tokenizer.backend.decode
    apart = [decode(example.ids.tolist()) for example in ready.held_out.examples]  # type: ignore[attr-defined]
    rows = ready.rows._rows.rows  # type: ignore[attr-defined]
    learnt = [decode(piece.example.ids.tolist()) for row in rows for piece in row]
    assert len(apart) + len(learnt) == 40 * times + 1
    assert numbers(learnt) == numbers(texts_to_learn_from(config))
    assert numbers(apart) == set(range(40)) - numbers(learnt)
    assert abs(len(apart) - 4 * times) <= times


def test_a_tokenizer_is_trained_on_what_is_not_held_out(tmp_path: Path) -> None:
    data = tmp_path / "chat.jsonl"
    broken: list[object] = [{"messages": [{"role": "user"}]}, []]
    data.write_text("".join(json.dumps(row) + "\n" for row in [*broken, *map(said, range(2, 43))]))
    names = [f"chat.jsonl:{number}" for number in range(1, 44)]
    apart = set(held_out(names, tiny(data).data.held_out).nonzero()[0].tolist())
    assert len(apart) == 4
    assert numbers(texts_to_learn_from(tiny(data))) == set(range(2, 43)) - apart


def test_a_folder_of_files_that_are_no_rows_is_text(tmp_path: Path) -> None:
    (tmp_path / "package.json").write_text('{"name": "x"}')
    (tmp_path / "main.py").write_text("x = 1\n")
    assert labelled_format(selected(tiny(tmp_path))) is None
    assert labelled_format(standard_library()) is None


@pytest.mark.parametrize("chat", [True, False])
def test_the_files_of_a_run_are_found_once_and_each_is_looked_into_once(
    chat: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    if chat:
        write_chat(folder / "a.jsonl")
    else:
        (folder / "a.txt").write_text(" ".join(map(str, range(1000))))
    row = said(1) if chat else {"text": " ".join(map(str, range(1000, 2000)))}
    (folder / "b.jsonl").write_text(json.dumps(row) + "\n")
    walked: list[Path] = []
    looked: list[str] = []
    walk, look = selection.files_of_folder, selection._format

    def walking(path: Path, *rest: Any) -> Any:
        walked.append(path)
        return walk(path, *rest)

    def looking(file: DataFile, *rest: Any) -> Any:
        looked.append(file.name)
        return look(file, *rest)

    monkeypatch.setattr(selection, "files_of_folder", walking)
    monkeypatch.setattr(selection, "_format", looking)
    config = tiny(folder, prompt="Some")
    made(config, tmp_path / "run")
    assert walked == [folder]
    assert looked == (["a.jsonl", "b.jsonl"] if chat else ["b.jsonl"])


def test_ids_without_their_tokenizer_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text('{"input_ids": [1, 2, 3]}\n' * 3)
    assert main(train_words(file, tmp_path / "run")) == 2
    assert "must come with the tokenizer that made its ids" in capsys.readouterr().err


def test_a_template_without_its_tokenizer_is_refused(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "own.jinja").write_text(CHATML)
    assert main(train_words(data, tmp_path / "run", "--template", str(tmp_path / "own.jinja"))) == 2
    assert "must come with a tokenizer that has its control tokens" in capsys.readouterr().err


def test_rows_tell_where_they_come_from_and_depend_on_the_seed_alone() -> None:
    labelled = [
        Labelled(
            place=Place(source="a", number=number),
            example=Example.of([number] * 3, trained=[False, True, True]),
        )
        for number in range(6)
    ]
    one, same, other = (ChatRows(labelled, length=6, seed=seed, pad_id=9) for seed in (0, 0, 1))
    batch = one.take(0, 3)
    pairs = [
        (source, ids)
        for row, kept in zip(batch.ids, batch.sources, strict=True)
        for source, ids in zip(kept, row.split(3), strict=True)
    ]
    named = {one.name(source): ids.tolist() for source, ids in pairs}
    assert named == {f"a, row {number}": [number] * 3 for number in range(6)}
    assert torch.equal(one.take(0, 9).ids, same.take(0, 9).ids)
    assert not torch.equal(one.take(0, 9).ids, other.take(0, 9).ids)
    assert one.fingerprint() == same.fingerprint()
    changed = [*labelled[1:], replace(labelled[0], example=Example.of([0] * 3, trained=[False, False, True]))]
    assert ChatRows(changed, length=6, seed=0, pad_id=9).fingerprint() != one.fingerprint()


def test_transformers_renders_encodes_and_stops_as_we_do(data: Path, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    from lmhead.generation.chat_prompt import ChatPrompt

    assert main(train_words(data, tmp_path / "run", "--steps", "2")) == 0
    folder = RunFolder(tmp_path / "run").latest()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What is 2 plus 2?"}]
    theirs = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
    assert theirs == ChatPrompt.of(read_tokenizer(str(folder))).ids(messages)
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert (tokenizer.eos_token, tokenizer.pad_token) == ("<|im_end|>", "<|endoftext|>")
    model = transformers.AutoModelForCausalLM.from_pretrained(folder)
    assert model.generation_config.eos_token_id[0] == end
    assert tokenizer.convert_tokens_to_ids("<|endoftext|>") in model.generation_config.eos_token_id
    model.generate(torch.tensor([theirs]), max_new_tokens=3, do_sample=False)
