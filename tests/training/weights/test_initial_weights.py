"""--init: weights, tokenizer and sizes of another run; a vocabulary that grows; nothing that contradicts weights."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from tests.training.chat_runs import TINY, write_chat

from lmhead.cli.main import main
from lmhead.data.tokenizer.chatml import CHATML
from lmhead.data.tokenizer.tokenizer_files import read_tokenizer
from lmhead.data.tokenizer.train_tokenizer import train_tokenizer
from lmhead.errors import InputError
from lmhead.models.transformers.formats.pretrained import load_pretrained
from lmhead.training.config.optimizer_config import OptimizerConfig
from lmhead.training.config.train_config import TrainConfig, read_yaml
from lmhead.training.run.run_folder import RunFolder
from lmhead.training.weights.initial_weights import DecoderStart, initial_model
from lmhead.training.weights.start import read_from


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on texts."""
    folder = tmp_path_factory.mktemp("pretrained")
    draw = [f"line {i}: what is the capital of nowhere? {i * 7} and so on\n" for i in range(400)]
    (folder / "text.txt").write_text("".join(draw))
    words = ["train", "--data", str(folder / "text.txt"), "--out", str(folder / "run"), "--vocab-size", "300"]
    assert main([*words, *TINY, "--steps", "20"]) == 0
    return folder / "run"


@pytest.fixture(scope="module")
def chat(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_chat(tmp_path_factory.mktemp("chat") / "chat.jsonl", 60)


def tuned(pretrained: Path, chat: Path, out: Path, *flags: str) -> list[str]:
    run = (
        "--rows",
        "2",
        "--save-every",
        "1000",
        "--eval-every",
        "10",
        "--sample-every",
        "1000",
        "--max-seq-len",
        "320",
    )
    return ["train", "--init", str(pretrained), "--data", str(chat), "--out", str(out), *run, *flags]


def evaluations(run: Path) -> list[float]:
    return [record["nll"] for record in RunFolder(run).records() if "evaluation" in record]


def test_a_run_on_texts_gains_the_control_tokens_and_learns_to_answer(
    pretrained: Path, chat: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    assert main(tuned(pretrained, chat, run, "--steps", "30")) == 0
    output = capsys.readouterr().out
    assert "gains <|im_end|>, <|im_start|>; embedding and head grow from 300 to 302 rows" in output
    nll = evaluations(run)
    assert nll[0] > nll[1] > nll[2]
    config = read_yaml(run / "config.yaml")
    assert (config.model.vocab_size, config.init) == (302, str(pretrained))
    before, after = (read_tokenizer(str(RunFolder(each).latest())) for each in (pretrained, run))
    grown = after.backend().get_vocab()
    assert before.backend().get_vocab().items() <= grown.items()
    assert set(grown) - set(before.backend().get_vocab()) == {"<|im_start|>", "<|im_end|>"}
    assert after.special_tokens == {
        "bos_token": "<|endoftext|>",
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
    }


def test_new_rows_are_the_mean_of_the_others_and_the_others_stay(pretrained: Path) -> None:
    start = read_from(str(pretrained), DecoderStart.of)
    own = start.found.state_dict()
    config = start.with_vocabulary(TrainConfig(model=start.found.config), 303)
    state = initial_model(config, start, [300, 301, 302]).state_dict()
    for name, tensor in state.items():
        assert torch.equal(tensor[: len(own[name])], own[name])
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        assert len(state[name]) == 303
        torch.testing.assert_close(state[name][300:], own[name].mean(0).expand(3, -1))


def test_a_new_token_in_a_row_that_was_there_gets_the_mean_of_the_rest(pretrained: Path) -> None:
    start = read_from(str(pretrained), DecoderStart.of)
    own = start.found.lm_head.weight.detach()
    made = initial_model(TrainConfig(model=start.found.config), start, [299]).lm_head.weight
    torch.testing.assert_close(made[299], own[:299].mean(0))
    assert torch.equal(made[:299], own[:299])


def test_the_weights_are_those_of_the_checkpoint(pretrained: Path, chat: Path, tmp_path: Path) -> None:
    assert main(tuned(pretrained, chat, tmp_path / "run", "--steps", "1", "--lr", "1e-7")) == 0
    before = load_pretrained(RunFolder(pretrained).latest())
    after = load_pretrained(RunFolder(tmp_path / "run").latest())
    ids = torch.arange(32)[None]
    torch.testing.assert_close(after(ids)[0][..., :300], before(ids)[0])


def test_a_checkpoint_without_its_run_is_enough(pretrained: Path, chat: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(RunFolder(pretrained).latest(), folder)
    (folder / "training.pt").unlink()
    assert main(tuned(folder, chat, tmp_path / "run", "--steps", "1")) == 0


def test_a_folder_that_transformers_wrote_goes_on_with_its_template_and_its_terminator(
    chat: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    transformers = pytest.importorskip("transformers")
    backend = train_tokenizer(["What is the capital of this?"], 270, control_tokens=("[U]", "[A]", "[E]"))
    template = (
        "{% for m in messages %}{{ '[A]' if m.role == 'assistant' else '[U]' }}{{ m.content }}[E]{% endfor %}"
        "{% if add_generation_prompt %}[A]{% endif %}"
    )
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|endoftext|>")
    tokenizer.chat_template = template
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = transformers.LlamaForCausalLM(
        transformers.LlamaConfig(vocab_size=288, max_position_embeddings=512, **sizes)
    )
    model.save_pretrained(tmp_path / "llama")
    tokenizer.save_pretrained(tmp_path / "llama")
    assert main(tuned(tmp_path / "llama", chat, tmp_path / "run", "--steps", "2", "--max-seq-len", "512")) == 0
    assert "gains" not in capsys.readouterr().out
    folder = RunFolder(tmp_path / "run").latest()
    files = read_tokenizer(str(folder))
    assert files.chat_template == template
    assert files.generation_eos == tuple(backend.token_to_id(token) for token in ("[E]", "<|endoftext|>"))
    assert load_pretrained(folder).config.vocab_size == 288


def test_a_run_on_conversations_goes_on_with_its_own_template(
    pretrained: Path, chat: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(tuned(pretrained, chat, tmp_path / "one", "--steps", "1")) == 0
    capsys.readouterr()
    assert main(tuned(tmp_path / "one", chat, tmp_path / "two", "--steps", "1")) == 0
    output = capsys.readouterr().out
    assert "ChatML" not in output
    assert "gains" not in output
    one, two = (read_tokenizer(str(RunFolder(tmp_path / name).latest())) for name in ("one", "two"))
    assert (one.json, one.chat_template, one.special_tokens) == (two.json, two.chat_template, two.special_tokens)


def test_a_fine_tuned_run_is_resumed_without_the_run_that_it_began_from(
    pretrained: Path, chat: Path, tmp_path: Path
) -> None:
    base, run, other = (tmp_path / name for name in ("base", "run", "other"))
    shutil.copytree(pretrained, base)
    assert main(tuned(base, chat, run, "--steps", "4", "--save-every", "2")) == 0
    shutil.copytree(run, other)
    shutil.rmtree(base)
    shutil.rmtree(RunFolder(other).checkpoint(4))
    assert main(["train", "--resume", str(other)]) == 0
    one, two = (load_pretrained(RunFolder(each).checkpoint(4)).state_dict() for each in (run, other))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_a_run_is_resumed_with_the_template_that_it_began_with(pretrained: Path, chat: Path, tmp_path: Path) -> None:
    own, run = tmp_path / "own.jinja", tmp_path / "run"
    own.write_text(CHATML)
    assert main(tuned(pretrained, chat, run, "--steps", "2", "--template", str(own))) == 0
    shutil.rmtree(RunFolder(run).latest())
    own.write_text("{{ messages }}")
    assert main(["train", "--resume", str(run)]) == 0
    own.unlink()
    assert main(["train", "--resume", str(run)]) == 0
    assert read_tokenizer(str(RunFolder(run).latest())).chat_template == CHATML


def test_texts_are_trained_on_from_another_runs_weights(pretrained: Path, tmp_path: Path) -> None:
    text = pretrained.parent / "text.txt"
    assert main(tuned(pretrained, text, tmp_path / "run", "--steps", "2", "--max-seq-len", "160")) == 0
    first = evaluations(pretrained)[-1]
    assert evaluations(tmp_path / "run")[-1] < first + 0.1


def test_a_checkpoint_that_is_removed_while_it_is_read_gives_way_to_the_newer_one(
    pretrained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    shutil.copytree(pretrained, run)
    first = RunFolder(run).latest()

    def prune(folder: Path) -> object:
        if folder == first and first.exists():
            first.rename(run / "checkpoints" / "step-999")
        return load_pretrained(folder)

    monkeypatch.setattr("lmhead.training.weights.initial_weights.load_pretrained", prune)
    assert read_from(str(run), DecoderStart.of).place.name == "step-999"
    (RunFolder(run).latest() / "config.json").write_text("{}")
    with pytest.raises(InputError, match=r"config\.json"):
        read_from(str(run), DecoderStart.of)


def test_a_larger_vocabulary_pads(pretrained: Path, chat: Path, tmp_path: Path) -> None:
    text = pretrained.parent / "text.txt"
    for data, name in ((text, "texts"), (chat, "chats")):
        assert main(tuned(pretrained, data, tmp_path / name, "--steps", "1", "--vocab-size", "320")) == 0
        assert load_pretrained(RunFolder(tmp_path / name).latest()).config.vocab_size == 320
        assert main(["sample", str(tmp_path / name), "--tokens", "30", "--temperature", "50", "--seed", "0"]) == 0


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--num-layers", "2"), "--num-layers must be --init's 1, got 2: leave --num-layers out"),
        (("--vocab-size", "301"), "--vocab-size must be at least 302, got 301"),
        (("--tokenizer", "x.json"), "--tokenizer must be left out where --init gives one"),
    ],
)
def test_flags_that_contradict_the_weights_are_refused(
    flags: tuple[str, ...],
    message: str,
    pretrained: Path,
    chat: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(tuned(pretrained, chat, tmp_path / "run", "--steps", "1", *flags)) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("init", "message"),
    [
        ("nowhere", "no such folder"),
        (".", "which has neither a config.yaml nor weights: give another folder"),
        ("run", "no complete checkpoint"),
    ],
)
def test_an_init_that_is_no_run_is_refused(
    init: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text("seed: 1\n")
    assert main(["train", "--init", init]) == 2
    assert message in capsys.readouterr().err


def test_yaml_may_name_the_start(pretrained: Path, chat: Path, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(
        json.dumps({"init": str(pretrained), "steps": 1, "rows": 1, "model": {"max_seq_len": 320}})
    )
    words = ["train", "--config", str(tmp_path / "config.yaml"), "--data", str(chat), "--out", str(tmp_path / "run")]
    assert main(words) == 0
    assert read_yaml(tmp_path / "run" / "config.yaml").model.max_seq_len == 320


def test_rates_are_lower_where_training_goes_on_and_those_that_are_given_stay() -> None:
    usual, lower = OptimizerConfig().rates(), OptimizerConfig().rates("decoder")
    assert all(0 < lower[kind] < usual[kind] for kind in usual)
    assert OptimizerConfig(head_rate=0.5).rates("decoder")["head"] == 0.5


def test_the_config_of_a_run_before_conversations_is_read(pretrained: Path) -> None:
    lines = (pretrained / "config.yaml").read_text().splitlines()
    start = lines.index("chat:")
    stop = next(i for i in range(start + 1, len(lines)) if not lines[i].startswith(" "))
    older = pretrained.parent / "older.yaml"
    older.write_text("\n".join([*lines[:start], *lines[stop:]]).replace("init: null\n", "", 1))
    assert read_yaml(older) == read_yaml(pretrained / "config.yaml")


def test_estimate_takes_the_model_of_the_start(pretrained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["estimate", "--init", str(pretrained)]) == 0
    assert "embedding 9,600" in capsys.readouterr().out
