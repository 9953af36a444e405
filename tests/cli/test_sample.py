"""`lmhead sample` on a tiny run that the test trains."""

import io
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from lmhead.cli.main import main
from lmhead.generation.sampling import sample
from lmhead.models.hub import load_pretrained
from lmhead.training.run_folder import RunFolder

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
    assert sampled("--temperature", "0") == texts[1]
    assert sampled("--temperature", "0", "--step", "3") == texts[0]
    assert sampled("--temperature", "0", "--step", "6") == texts[1]


def test_a_checkpoints_folder_is_a_run_too(sampled: Sampler, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    alone = Sampler(RunFolder(run).checkpoint(3), capsys)
    assert alone("--seed", "1") == sampled("--seed", "1", "--step", "3")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--step", "4"), "no checkpoint of step 4, it has 3, 6"),
        (("--temperature", "-1"), "temperature must be finite and >= 0, got -1.0"),
        (("--top-k", "0"), "top_k must be >= 1, got 0"),
        (("--top-p", "1.5"), "top_p must be in (0, 1], got 1.5"),
        (("--tokens", "0"), "tokens must be >= 1, got 0"),
        (("--device", "tpu9"), "device must be one that this torch can use"),
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
