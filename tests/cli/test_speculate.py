"""`lmhead sample --speculate` on a tiny run that the test trains: the same text, and what the drafts were worth."""

import re
from pathlib import Path

import pytest
from tests.training.chat_runs import train_words, write_chat

from lmhead.cli.main import main

TINY = [
    *("--vocab-size", "270", "--embed-dim", "32", "--num-heads", "2", "--num-layers", "1", "--max-seq-len", "32"),
    *("--rows", "4", "--steps", "30", "--eval-every", "1000", "--sample-every", "1000", "--precision", "float32"),
    *("--seed", "0", "--quiet"),
]
DRAFTS = r"\(drafts taken, by depth, of those whose forerunners were: (\d\.\d\d )+\d\.\d\d\)"
FORWARDS = r"\((\d\.\d\d) tokens per forward: (\d+) in (\d+)\)"
SPEED = r"\([\d,]+ tokens/s, \d+\.\d\d times plain decoding's [\d,]+\)"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("run")
    for i in range(12):
        (folder / f"{i}.py").write_text("".join(f"def f{i}(x):\n    return x + {j % 3}\n\n" for j in range(60)))
    made = {"plain": (), "mtp": ("--mtp", "2"), "recurrent": ("--mtp", "1", "--mtp-kind", "recurrent")}
    for name, flags in made.items():
        assert main(["train", "--data", str(folder), "--out", str(folder / name), *TINY, *flags]) == 0
    return {name: folder / name for name in made}


def sampled(capsys: pytest.CaptureFixture[str], run: Path, *flags: str, tokens: int = 60) -> tuple[str, list[str]]:
    capsys.readouterr()
    assert main(["sample", str(run), "--tokens", str(tokens), "--temperature", "0", *flags]) == 0
    captured = capsys.readouterr()
    return captured.out, captured.err.splitlines()


def refused(capsys: pytest.CaptureFixture[str], run: Path, *flags: str) -> str:
    capsys.readouterr()
    assert main(["sample", str(run), *flags]) == 2
    captured = capsys.readouterr()
    assert (captured.out, captured.err.count("\n")) == ("", 1)
    return captured.err


@pytest.mark.parametrize(("name", "flags"), [("mtp", ()), ("mtp", ("--draft", "1")), ("recurrent", ("--draft", "4"))])
def test_greedy_text_is_the_same_in_fewer_forwards(runs, capsys, name, flags):
    prompt = ("--prompt", "def f")
    plain, nothing = sampled(capsys, runs[name], *prompt)
    text, notes = sampled(capsys, runs[name], *prompt, "--speculate", *flags)
    assert (text, nothing) == (plain, [])
    forwards = re.fullmatch(FORWARDS, notes[1])
    assert forwards is not None
    rate, tokens, reads = map(float, forwards.groups())
    assert reads < tokens == 60
    assert rate == pytest.approx(tokens / reads, abs=0.005)
    assert re.fullmatch(SPEED, notes[2])
    assert max(map(len, notes)) <= 80


def test_acceptance_is_told_of_every_depth(runs, capsys):
    _, notes = sampled(capsys, runs["mtp"], "--speculate")
    assert re.fullmatch(DRAFTS, notes[0])


def test_of_many_drafts_the_depths_that_were_come_to_are_told_within_80_columns(runs, capsys):
    _, notes = sampled(capsys, runs["recurrent"], "--speculate", "--draft", "40")
    told = " ".join(notes).split(")")[0]
    assert max(map(len, notes)) <= 80
    assert 1 < len(re.findall(r"\d\.\d\d", told)) < 40


def test_a_seed_gives_one_text(runs, capsys):
    flags = ("--speculate", "--temperature", "0.8")
    texts = [sampled(capsys, runs["mtp"], *flags, "--seed", seed)[0] for seed in ("1", "1", "2")]
    assert texts[0] == texts[1] != texts[2]


def test_few_tokens_are_not_timed(runs, capsys):
    _, notes = sampled(capsys, runs["mtp"], "--speculate", tokens=5)
    assert not any(re.fullmatch(SPEED, note) for note in notes)
    assert re.fullmatch(FORWARDS, notes[1])


def test_a_run_without_modules_is_refused_with_the_remedy(runs, capsys):
    error = refused(capsys, runs["plain"], "--speculate")
    assert "has no modules of multi-token prediction to draft with: train them behind it with lmhead train " in error
    assert f"--init {runs['plain']} --mtp 1 --mtp-frozen" in error


@pytest.mark.parametrize(
    ("flags", "rule"),
    [
        (("--draft", "2"), "--draft must be left out without --speculate, got 2"),
        (("--speculate", "--draft", "0"), "--draft must be >= 1, got 0"),
        (("--speculate", "--draft", "3"), "--draft must be at most 2, the model's depths, got 3"),
    ],
)
def test_a_wrong_draft_is_refused(runs, capsys, flags, rule):
    assert rule in refused(capsys, runs["mtp"], *flags)


def test_a_prompt_that_is_longer_than_the_context_is_refused(runs, capsys):
    error = refused(capsys, runs["mtp"], "--speculate", "--prompt", "def read(self):\n" * 400)
    assert re.search(
        r"the prompt must fit into the model's context of \d+ tokens, got \d+: shorten it, or leave", error
    )


def test_a_chat_is_answered_alike(tmp_path, capsys):
    run = tmp_path / "run"
    assert main(train_words(write_chat(tmp_path / "chat.jsonl"), run, "--steps", "10", "--mtp", "1")) == 0
    question = ("--chat", "--prompt", "Add 1 and 2.")
    plain, nothing = sampled(capsys, run, *question, tokens=20)
    text, notes = sampled(capsys, run, *question, "--speculate", tokens=20)
    assert (text, nothing) == (plain, [])
    assert any(re.fullmatch(FORWARDS, note) for note in notes)
