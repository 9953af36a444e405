"""lmhead.evaluate: figures of float64 on full logits, of a run its own; interrupted ones go on; errors in a line."""

import json
import math
import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import lmhead
import lmhead.evaluation.evaluate as door
from lmhead.cli.main import main
from lmhead.data.tokenizer.train_tokenizer import train_tokenizer
from lmhead.errors import ArgumentError, InputError, NonFiniteError
from lmhead.evaluation.documents.document_options import DocumentOptions
from lmhead.evaluation.evaluate import evaluate
from lmhead.evaluation.evaluation_result import EvaluationResult
from lmhead.evaluation.sums.evaluation_totals import EvaluationTotals
from lmhead.evaluation.sums.worst_documents import WorstDocuments

V, CONTEXT = 300, 16
TEXTS = ["naïve café\n", "one two three four five six seven eight nine ten", "", "日本語 text \U0001f600 end", "a"]


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A model with its tokenizer, and texts of two files."""
    folder = tmp_path_factory.mktemp("evaluate")
    torch.manual_seed(0)
    lmhead.save_pretrained(lmhead.GPT(V, 16, 2, 2, CONTEXT), folder / "model")
    train_tokenizer(TEXTS * 3, 280).save(str(folder / "model" / "tokenizer.json"))
    for name, texts in {"a": TEXTS[:3], "b": TEXTS[3:]}.items():
        lines = [json.dumps({"text": text, "kind": f"k{len(text) % 2}"}) for text in texts if text]
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("evaluated_run")
    for number in range(12):
        (folder / f"{number}.txt").write_text(f"text {number} says " + "more and more words, " * (number + 2))
    sizes = ["--embed-dim", "16", "--num-heads", "2", "--num-layers", "1", "--max-seq-len", "24", "--vocab-size", "270"]
    out = folder / "run"
    given = ["train", "--data", str(folder), "--pattern", "*.txt", *sizes, "--rows", "2", "--steps", "2"]
    assert main([*given, "--precision", "float32", "--out", str(out), "--quiet"]) == 0
    return out


def by_hand(place: Path, texts: list[str], stride: int) -> tuple[float, int, int]:
    """(nats, tokens, bytes) of texts behind an end of text each, in float64."""
    model = lmhead.load_pretrained(place / "model").double().eval()
    tokenizer = lmhead.read_tokenizer(str(place / "model")).backend()
    nll, tokens = 0.0, 0
    for text in texts:
        ids = [0, *tokenizer.encode(text, add_special_tokens=False).ids]
        done = 0
        while done < len(ids) - 1:
            stop = min(CONTEXT if done == 0 else done + stride, len(ids) - 1)
            start = max(0, stop - CONTEXT)
            logits = model(torch.tensor([ids[start:stop]]))[0][0].log_softmax(-1)
            for at in range(done, stop):
                nll -= logits[at - start, ids[at + 1]].item()
                tokens += 1
            done = stop
    return nll, tokens, sum(len(text.encode()) for text in texts)


@pytest.mark.parametrize("stride", [1, 8, 16])
@pytest.mark.parametrize("batch", [1, 8192])
def test_the_figures_are_those_of_float64(place, stride, batch):
    found = evaluate(place / "model", [place / "a.jsonl", place / "b.jsonl"], stride=stride, tokens=batch)
    nll, tokens, num_bytes = by_hand(place, [text for text in TEXTS if text], stride)
    figures = found.card.figures
    assert (figures.tokens, figures.bytes, found.card.counts.documents) == (tokens, num_bytes, 4)
    assert figures.nll_sum == pytest.approx(nll, rel=1e-6)
    assert figures.bits_per_byte == pytest.approx(nll / math.log(2) / num_bytes, rel=1e-6)
    assert figures.perplexity == pytest.approx(math.exp(nll / tokens), rel=1e-6)


def test_sources_sum_to_the_whole(place):
    data = [place / "a.jsonl", place / "b.jsonl"]
    for how, names in ((None, {"a.jsonl", "b.jsonl"}), (DocumentOptions(source_key="kind"), {"k0", "k1"})):
        card = evaluate(place / "model", data, how=how).card
        assert {Path(each.source).name for each in card.sources} == names
        assert sum(each.nll_sum for each in card.sources) == pytest.approx(card.figures.nll_sum, rel=1e-12)
        assert sum(each.tokens for each in card.sources) == card.figures.tokens
        assert sum(each.bytes or 0 for each in card.sources) == card.figures.bytes


def test_a_model_in_memory_gives_what_its_folder_gives_and_is_left_as_it_was(place):
    model = lmhead.load_pretrained(place / "model").train()
    ours = evaluate(model, place / "a.jsonl", tokenizer=place / "model")
    assert model.training
    assert ours.card.figures == evaluate(place / "model", place / "a.jsonl").card.figures


def test_a_run_without_data_gives_its_own_figures(run):
    last = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    wanted = [line for line in last if line.get("evaluation") == "full"][-1]
    stream = evaluate(run, context="stream").card
    assert stream.figures.nll == pytest.approx(wanted["nll"], rel=1e-7)
    assert (stream.figures.tokens, stream.figures.bytes) == (wanted["tokens"], wanted["bytes"])
    assert stream.figures.accuracy == pytest.approx(wanted["accuracy"], rel=1e-9)
    alone = evaluate(run).card
    assert alone.figures.bytes == wanted["bytes"]
    assert alone.figures.tokens == wanted["tokens"] - alone.counts.documents  # the ends are not scored
    assert (alone.model.step, alone.data.fingerprint) == (2, alone.data.fingerprint)


def test_data_that_the_run_trained_on_are_told(run):
    notes = evaluate(run, [run.parent / f"{number}.txt" for number in range(12)]).card.notes
    assert any("were trained on by" in note for note in notes)


def test_an_interrupted_evaluation_goes_on_where_it_was(place, tmp_path, monkeypatch):
    data, out = [place / "a.jsonl", place / "b.jsonl"], tmp_path / "out"
    whole = evaluate(place / "model", data)
    real, read = door.document_scores, []

    def counted(model, documents, windows, **options):
        for each in real(model, documents, windows, **options):
            read.append(each.document.name)
            yield each

    def interrupted(model, documents, windows, **options):
        for number, each in enumerate(counted(model, documents, windows, **options)):
            if number == 2:
                raise KeyboardInterrupt
            yield each

    monkeypatch.setattr(door, "document_scores", interrupted)
    with pytest.raises(KeyboardInterrupt):
        evaluate(place / "model", data, out=out)
    monkeypatch.setattr(door, "document_scores", counted)
    read.clear()
    resumed = evaluate(place / "model", data, out=out)
    assert len(read) == 2
    assert resumed.documents == whole.documents
    same = {name: getattr(whole.card, name) for name in ("making", "worst", "inspect", "calibration")}
    assert replace(resumed.card, **same) == whole.card
    assert resumed.card.calibration.error == pytest.approx(whole.card.calibration.error, rel=1e-12)
    read.clear()
    again = evaluate(place / "model", data, out=out)
    assert not read
    assert again.documents == whole.documents
    assert again.card == EvaluationResult.read(out).card
    with pytest.raises(InputError, match="differs in stride"):
        evaluate(place / "model", data, out=out, stride=3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stride": 0}, "stride must be in"),
        ({"window": CONTEXT + 1}, "window must be <= 16 tokens, the context"),
        ({"window": 0}, "window must be >= 1"),
        ({"tokens": 0}, "batch must be >= 1"),
        ({"context": "all"}, "context must be"),
    ],
)
def test_options_that_cannot_be_are_refused(place, options, message):
    with pytest.raises(ArgumentError, match=message):
        evaluate(place / "model", place / "a.jsonl", **options)


def test_data_that_cannot_be_scored_are_told_in_a_line(place, tmp_path):
    (tmp_path / "empty.txt").write_text("")
    with pytest.raises(InputError, match="empty"):
        evaluate(place / "model", tmp_path / "empty.txt")
    with pytest.raises(InputError, match="data must be given for"):
        evaluate(place / "model")
    other = train_tokenizer(["other words entirely"] * 9, 270)
    with pytest.raises(InputError, match="tokenizer must be the model's"):
        evaluate(place / "model", place / "a.jsonl", tokenizer=other)
    with pytest.raises(InputError, match="tokenizer must be given"):
        evaluate(lmhead.GPT(V, 16, 2, 2, CONTEXT), place / "a.jsonl")


@pytest.mark.parametrize("where", ["_settle", "add"])
def test_an_interruption_amid_the_sums_keeps_none_of_the_document(place, tmp_path, monkeypatch, where):
    data, out = [place / "a.jsonl", place / "b.jsonl"], tmp_path / "out"
    whole = evaluate(place / "model", data)
    real = {"_settle": EvaluationTotals._settle, "add": WorstDocuments.add}[where]
    calls = []

    def interrupted(self, *given):
        calls.append(given)
        if len(calls) == 3:
            self._waiting = []  # as in the middle of a sum
            raise KeyboardInterrupt
        real(self, *given)

    monkeypatch.setattr(door, "_SAVED_EVERY", 0.0)
    with monkeypatch.context() as patch:
        patch.setattr(door, "WorstDocuments", _Slack)
        patch.setattr(EvaluationTotals if where == "_settle" else _Slack, where, interrupted)
        with pytest.raises(KeyboardInterrupt):
            evaluate(place / "model", data, out=out)
    resumed = evaluate(place / "model", data, out=out)
    assert resumed.documents == whole.documents
    assert resumed.card.figures == whole.card.figures


class _Slack(WorstDocuments):
    """One that an attribute can be set on."""


def test_logits_that_are_no_numbers_are_told_of_their_document_and_nothing_is_made_of_them(place, tmp_path):
    model, calls = lmhead.load_pretrained(place / "model"), []

    def broken(_module, _given, made):
        calls.append(made)
        return made * float("nan") if len(calls) == 3 else made

    handle = model.model.register_forward_hook(broken)
    given = {"tokenizer": place / "model", "tokens": 1, "out": tmp_path / "out"}
    data = [place / "a.jsonl", place / "b.jsonl"]
    with pytest.raises(NonFiniteError, match=r"nll must be finite, got nan at token .*.jsonl, line"):
        evaluate(model, data, **given)
    handle.remove()
    found, wanted = evaluate(model, data, **given).card.figures, evaluate(place / "model", data).card.figures
    assert (found.tokens, found.bytes, found.nll_sum) == (wanted.tokens, wanted.bytes, pytest.approx(wanted.nll_sum))


def test_a_file_whose_name_is_no_unicode_is_evaluated_into_a_folder(place, tmp_path):
    file = tmp_path / os.fsdecode(b"caf\xe9.jsonl")
    try:
        file.write_bytes((place / "a.jsonl").read_bytes())
    except OSError:
        pytest.skip("this file system takes Unicode names alone")
    made = evaluate(place / "model", file, out=tmp_path / "out")
    assert EvaluationResult.read(tmp_path / "out").documents == made.documents
    assert main(["eval", str(place / "model"), str(place / "model"), str(file), "--out", str(tmp_path / "two")]) == 0


def test_a_step_of_what_is_no_run_is_refused_and_never_told_on_a_card(place):
    with pytest.raises(InputError, match=r"step must be left out for .*model, which is no run"):
        evaluate(place / "model", place / "a.jsonl", step=3)
    with pytest.raises(ArgumentError, match="step must be left out for a model in memory"):
        evaluate(lmhead.load_pretrained(place / "model"), place / "a.jsonl", tokenizer=place / "model", step=3)
    assert evaluate(place / "model", place / "a.jsonl").card.model.step is None
