"""`lmhead sample` on a tiny run that the test trains."""

import io
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer

from lmhead.cli.main import main
from lmhead.generation.sampling import sample
from lmhead.models.causal_lm import CausalLM
from lmhead.models.transformers.formats.pretrained import load_pretrained
from lmhead.shown import shown
from lmhead.training.run.run_folder import RunFolder
from lmhead.training.weights import trained_model

TINY = [
    *("--vocab-size", "300", "--embed-dim", "32", "--num-heads", "2", "--num-layers", "1", "--max-seq-len", "32"),
    *("--rows", "4", "--steps", "6", "--save-every", "3", "--keep", "9", "--eval-every", "1000"),
    *("--sample-every", "1000", "--seed", "0", "--precision", "float32"),
]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    for i in range(12):
        lines = [f"def f{i}_{j}(x):\n    return x + {i * j}\n\n" for j in range(30)]
        (folder / f"{i}.py").write_text("".join(lines))
    assert main(["train", "--data", str(folder), "--out", str(folder / "run"), *TINY]) == 0
    return folder / "run"


class Sampler:
    """Runs the command and reads what it prints."""

    def __init__(self, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.run, self.capsys = run, capsys

    def __call__(self, *flags: str, tokens: int = 40) -> str:
        self.capsys.readouterr()  # what training printed
        assert main(["sample", str(self.run), "--tokens", str(tokens), *flags]) == 0
        captured = self.capsys.readouterr()
        assert captured.err == ""
        return captured.out

    def refused(self, *flags: str) -> str:
        assert main(["sample", str(self.run), *flags]) == 2
        captured = self.capsys.readouterr()
        assert captured.out == ""
        assert captured.err.count("\n") == 1
        return captured.err


@pytest.fixture
def sampled(run: Path, capsys: pytest.CaptureFixture[str]) -> Sampler:
    return Sampler(run, capsys)


def test_the_prompt_comes_first_then_what_follows(sampled: Sampler) -> None:
    text = sampled("--prompt", "def f", "--seed", "1")
    assert text.startswith("def f")
    assert text.endswith("\n")
    assert len(text) > len("def f\n")


def test_one_seed_gives_one_text(sampled: Sampler) -> None:
    texts = [sampled("--seed", seed) for seed in ("1", "1", "2")]
    assert texts[0] == texts[1] != texts[2]


def test_without_a_seed_each_text_is_another(sampled: Sampler) -> None:
    assert len({sampled() for _ in range(3)}) > 1


def test_temperature_zero_needs_no_seed(sampled: Sampler) -> None:
    assert sampled("--temperature", "0", "--seed", "1") == sampled("--temperature", "0", "--seed", "2")


@pytest.mark.parametrize("flags", [("--top-k", "1"), ("--top-p", "1e-6"), ("--top_k=1", "--top_p=0.5")])
def test_the_only_token_left_is_the_most_probable_one(sampled: Sampler, flags: tuple[str, ...]) -> None:
    assert sampled(*flags, "--temperature", "2", "--seed", "3") == sampled("--temperature", "0")


def test_a_large_k_and_the_whole_probability_change_nothing(sampled: Sampler) -> None:
    assert sampled("--seed", "1", "--top-k", "300", "--top-p", "1.0") == sampled("--seed", "1")


def test_the_prompt_may_come_from_standard_input(sampled: Sampler, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"def f1(x):\n    return")))
    assert sampled("--prompt", "-", "--seed", "1") == sampled("--prompt", "def f1(x):\n    return", "--seed", "1")


@pytest.mark.parametrize(
    "prompt", ["na\u00efve \u65e5\u672c\u8a9e \U0001f642 ", "", " leading", "<|endoftext|>", "a\n\n"]
)
def test_any_prompt_comes_back_as_it_was(sampled: Sampler, prompt: str) -> None:
    assert sampled(f"--prompt={prompt}", "--seed", "1").startswith(prompt)


def test_a_prompt_may_be_longer_than_the_context(sampled: Sampler) -> None:
    prompt = "def f1(x): return x\n" * 20
    assert sampled("--prompt", prompt, "--seed", "1").startswith(prompt)


def test_more_tokens_than_the_context_are_made(sampled: Sampler) -> None:
    short, long = (sampled("--temperature", "1", "--seed", "5", tokens=tokens) for tokens in (10, 100))
    assert long.startswith(short.removesuffix("\n").removesuffix("\N{REPLACEMENT CHARACTER}"))


def greedy(checkpoint: Path, prompt: str, tokens: int) -> str:
    """The text by the library alone."""
    tokenizer = Tokenizer.from_file(str(checkpoint / "tokenizer.json"))
    end = tokenizer.token_to_id("<|endoftext|>")
    ids = tokenizer.encode(prompt, add_special_tokens=False).ids
    assert tokenizer.encode(prompt).ids == [end, *ids]  # the run's tokenizer begins a text as training did
    new = sample(load_pretrained(checkpoint), [end, *ids], max_new_tokens=tokens, temperature=0, stop_ids=[end])
    return str(tokenizer.decode([*ids, *new])) + "\n"


def test_the_newest_checkpoint_is_taken_or_the_one_that_step_names(sampled: Sampler) -> None:
    folder = RunFolder(sampled.run)
    assert folder.steps() == [3, 6]
    texts = [greedy(folder.checkpoint(step), "def read(", 40) for step in (3, 6)]
    prompt = ("--prompt", "def read(", "--temperature", "0")
    assert sampled(*prompt) == texts[1]
    assert sampled(*prompt, "--step", "3") == texts[0]
    assert sampled(*prompt, "--step", "6") == texts[1]


def test_a_checkpoints_folder_is_a_run_too(sampled: Sampler, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    alone = Sampler(RunFolder(run).checkpoint(3), capsys)
    assert alone("--seed", "1") == sampled("--seed", "1", "--step", "3")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--step", "4"), "no checkpoint of step 4, it has 3, 6"),
        (("--temperature", "-1"), "--temperature must be finite and >= 0, got -1.0"),
        (("--top-k", "0"), "--top-k must be >= 1, got 0"),
        (("--top-p", "1.5"), "--top-p must be in (0, 1], got 1.5"),
        (("--tokens", "0"), "--tokens must be >= 1, got 0"),
        (("--device", "tpu9"), "--device must be one that this torch can use"),
    ],
)
def test_an_option_that_breaks_its_rule_is_one_line(sampled: Sampler, flags: tuple[str, ...], message: str) -> None:
    assert message in sampled.refused(*flags)


def test_a_prompt_that_is_not_utf8_is_refused_with_its_place(
    sampled: Sampler, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"caf\xe9")))
    assert main(["sample", str(sampled.run), "--prompt", "-"]) == 2
    assert main(["sample", str(sampled.run), "--prompt", "caf\udce9"]) == 2
    assert capsys.readouterr().err.count("the prompt is not UTF-8: byte 0xe9 at position 3\n") == 2


def test_the_run_may_stand_anywhere(sampled: Sampler, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sample", "--seed", "1", str(sampled.run), "--prompt", "def", "--tokens", "3"]) == 0
    assert capsys.readouterr().out.startswith("def")


def test_without_a_prompt_the_runs_own_is_continued(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = RunFolder(shutil.copytree(run, tmp_path / "run"))
    other.write_config(replace(other.config(), prompt="def f3_"))
    for folder in (other.path, other.latest()):
        sampled = Sampler(folder, capsys)
        text = sampled("--temperature", "0")
        assert text == sampled("--temperature", "0", "--prompt", "def f3_")
        assert text.startswith("def f3_")


def test_where_nothing_records_a_prompt_the_beginning_of_a_text_is_continued(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = RunFolder(shutil.copytree(run, tmp_path / "run"))
    other.write_config(replace(other.config(), prompt=None))  # as an earlier version wrote it
    alone = shutil.copytree(other.latest(), tmp_path / "model")
    for folder in (other.path, alone):
        assert Sampler(folder, capsys)("--temperature", "0") == greedy(alone, "", 40)


def copied(run: Path, folder: Path) -> Path:
    """The newest checkpoint as a model's folder, which no sums protect."""
    without_sums = shutil.ignore_patterns("SHA256SUMS")
    return Path(shutil.copytree(RunFolder(run).latest(), folder / "model", ignore=without_sums))


@pytest.mark.parametrize("flags", [("--temperature", "1e-300"), ("--top-p", "1e-300"), ("--temperature", "5e-324")])
def test_the_smallest_numbers_take_the_most_probable_token(sampled: Sampler, flags: tuple[str, ...]) -> None:
    assert sampled(*flags, "--seed", "3") == sampled("--temperature", "0")


@pytest.mark.parametrize("temperature", ["0", "1e-300", "0.8"])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("model.embed_tokens.weight", torch.nan),
        ("model.layers.0.mlp.up_proj.weight", torch.inf),  # squared relu of -inf is 0: no logit shows it
        ("lm_head.weight", -torch.inf),
    ],
)
def test_weights_that_are_no_numbers_are_one_line(
    temperature: str, name: str, value: float, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = copied(run, tmp_path)
    tensors = load_file(broken / "model.safetensors")
    tensors[name][5, 3] = value
    if name.endswith("up_proj.weight"):
        tensors[name.replace("up_proj", "gate_proj")][5, 3] = value
    save_file(tensors, broken / "model.safetensors")
    capsys.readouterr()
    assert main(["sample", str(broken), "--prompt", "def", "--temperature", temperature]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert f"must be finite, got NaN or infinity in {name}: take an earlier checkpoint" in captured.err


def test_a_checkpoint_that_is_removed_while_it_is_read_makes_way_for_the_newer_one(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pruned = RunFolder(shutil.copytree(run, tmp_path / "run"))
    newer = pruned.checkpoint(6).rename(tmp_path / "newer")
    read: list[Path] = []

    def prune(checkpoint: Path, device: str) -> CausalLM:
        read.append(checkpoint)
        if len(read) == 1:  # training goes on
            newer.rename(pruned.checkpoint(6))
            shutil.rmtree(checkpoint)
        return loaded(checkpoint, device)

    loaded = trained_model.read_trained_model
    monkeypatch.setattr(trained_model, "read_trained_model", prune)
    text = Sampler(pruned.path, capsys)("--temperature", "0", "--prompt", "def read(")
    assert read == [pruned.checkpoint(3), pruned.checkpoint(6)]
    assert text == greedy(pruned.checkpoint(6), "def read(", 40)


@pytest.mark.parametrize("name", ["tokenizer.json", "config.json"])
def test_an_error_that_no_newer_checkpoint_mends_is_told(
    name: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = copied(run, tmp_path)
    (checkpoint / name).write_text("[" * 100_000)
    capsys.readouterr()
    refused = Sampler(checkpoint, capsys).refused("--prompt", "def")
    assert str(checkpoint) in refused
    assert name in refused


HOSTILE = "\x1b]0;X\x07\x1b[2J\x9b2J\u202e"


def test_a_terminal_is_shown_control_characters_and_a_pipe_gets_them(
    sampled: Sampler, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompt = f"--prompt=a{HOSTILE}"
    raw = sampled(prompt, "--temperature", "0")
    assert raw.startswith(f"a{HOSTILE}")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    seen = sampled(prompt, "--temperature", "0")
    assert seen == shown(raw)
    assert seen.startswith("a\\x1b]0;X\\x07\\x1b[2J\\x9b2J\\u202e")
