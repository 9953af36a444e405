"""`lmhead eval`: cards and comparisons on a terminal, as JSON and in folders; wrong words in one line."""

import json
from pathlib import Path

import pytest
import torch

import lmhead
from lmhead.cli.main import main
from lmhead.data.tokenizer.train_tokenizer import train_tokenizer

TEXTS = [f"text {number} of some " + "words and more \x1b[31m words " * (number % 4 + 1) for number in range(24)]


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("cli_eval")
    for seed, name in enumerate(("one", "other")):
        torch.manual_seed(seed)
        lmhead.save_pretrained(lmhead.GPT(300, 16, 2, 2, 16), folder / name)
        train_tokenizer(TEXTS, 280).save(str(folder / name / "tokenizer.json"))
    lines = [json.dumps({"text": text, "kind": f"k{number % 2}"}) for number, text in enumerate(TEXTS)]
    (folder / "data.jsonl").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture
def at(place, monkeypatch):
    monkeypatch.chdir(place)


def test_the_card_of_one_model(at, capsys):
    assert main(["eval", "one", "data.jsonl"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("one on data.jsonl\n")
    assert max(map(len, out.splitlines())) <= 80
    assert "\x1b" not in out
    for word in ("bits per byte", "95%", "accuracy", "window", "stride", "prefix", "skipped", "tokenizer sha256"):
        assert word in out


def test_json_is_one_object_with_the_same_figures(at, capsys):
    assert main(["eval", "one", "data.jsonl", "--json", "--source-key", "kind", "--stride", "4"]) == 0
    card = json.loads(capsys.readouterr().out)
    assert card["figures"]["tokens"] == card["counts"]["scored"] > 0
    assert {each["source"] for each in card["sources"]} == {"k0", "k1"}
    assert card["reading"]["stride"] == 4


def test_two_models_are_compared_in_one_line_with_an_interval(at, capsys, tmp_path):
    assert main(["eval", "one", "other", "data.jsonl", "--quiet", "--out", str(tmp_path / "out")]) == 0
    first = capsys.readouterr().out.partition("\n\n")[0].replace("\n", " ")
    assert "bits per byte" in first
    assert "interval" in first
    assert "24" in first
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"1-one", "2-other", "comparison.json", "comparison.md", "comparison.html"} == names
    files = {path.name for path in (tmp_path / "out" / "1-one").iterdir()}
    assert {"card.json", "card.md", "card.html", "documents.jsonl", "losses.bin"} <= files
    made = json.loads((tmp_path / "out" / "comparison.json").read_text())["comparisons"]
    assert [each["documents"] for each in made] == [24]


def test_a_model_against_itself_differs_in_nothing(at, capsys):
    assert main(["eval", "one", "one", "data.jsonl", "--json"]) == 0
    made = json.loads(capsys.readouterr().out)["comparisons"][0]
    assert made["difference"]["value"] == 0


def test_a_base_is_told(at, capsys):
    assert main(["eval", "one", "data.jsonl", "--base", "one", "--json"]) == 0
    (section,) = json.loads(capsys.readouterr().out)["sections"]
    assert section["values"]["mean_kld"] == 0
    assert section["values"]["same_top_p"] == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "which model?"),
        (["data.jsonl"], "the first word must be a model"),
        (["one"], "data must be given"),
        (["one", "missing.txt"], "no such file"),
        (["one", "data.jsonl", "--stride", "0"], "--stride must be in [1, 16]"),
        (["one", "data.jsonl", "--window", "17"], "--window must be <= 16 tokens"),
        (["one", "other", "data.jsonl", "--tokenizer", "one"], "--tokenizer must be left out"),
        (["one", "data.jsonl", "--source-key", "nothing"], "--source-key"),
        (["one", "data.jsonl", "--prefix", "bos"], "--prefix"),
    ],
)
def test_what_cannot_be_is_one_line(at, capsys, words, message):
    assert main(["eval", *words]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1


def test_an_audit_says_whether_the_figure_stands(at, capsys):
    assert main(["eval", "one", "data.jsonl", "--audit", "--quiet", "--window", "8"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("audit of one (float32 weights")
    assert max(map(len, out.splitlines()[:18])) <= 80
    assert main(["eval", "one", "data.jsonl", "--audit", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("words", [["one", "other", "data.jsonl"], ["one", "data.jsonl", "--out", "x"]])
def test_an_audit_is_of_one_model_and_writes_nothing(at, capsys, words):
    assert main(["eval", *words, "--audit"]) == 2
    assert "must be" in capsys.readouterr().err


def test_one_long_text_is_told_of_itself_alone(at, capsys, tmp_path):
    (tmp_path / "long.txt").write_text("".join(f"{text} {number}\n" for number in range(60) for text in TEXTS))
    assert main(["eval", "one", "other", str(tmp_path / "long.txt"), "--json", "--stride", "16"]) == 0
    made = json.loads(capsys.readouterr().out)["comparisons"][0]
    assert made["verdict"] == "too few"
    assert made["blocks"]["blocks"] >= 20
    assert made["blocks"]["difference"]["value"] == pytest.approx(made["difference"]["value"], rel=1e-9)
    assert "1 document alone" in made["sentence"]


def test_the_exit_status_of_an_audit_is_1_where_the_figure_follows_what_it_must_not(at, capsys, monkeypatch):
    assert main(["eval", "one", "data.jsonl", "--audit", "--quiet"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("audit of one (float32 weights, cpu)\n24 of 24 documents")
    assert max(map(len, out.partition("\ninfo:")[0].splitlines())) <= 80
    own = lmhead.GPT.hidden
    monkeypatch.setattr(lmhead.GPT, "hidden", lambda self, ids, **more: own(self, ids, **more) * ids.shape[0])
    assert main(["eval", "one", "data.jsonl", "--audit", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert not found["ok"]
    assert [each["code"] for each in found["findings"] if each["severity"] == "error"] == ["batch_dependent"]


def test_quiet_prints_the_first_figures_alone(at, capsys):
    assert main(["eval", "one", "data.jsonl", "--quiet"]) == 0
    out = capsys.readouterr()
    assert "bits per byte" in out.out
    assert "Behind the figures" not in out.out
    assert len(out.out.splitlines()) < 15
    assert not out.err


@pytest.mark.parametrize("models", [["one"], ["one", "other"]])
def test_nothing_is_written_into_a_folder_of_others(at, capsys, tmp_path, models):
    (tmp_path / "notes.txt").write_text("mine")
    assert main(["eval", *models, "data.jsonl", "--out", str(tmp_path), "--quiet"]) == 2
    assert "--out must be a new or an empty folder" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
