"""`lmhead train --init` on a model that this library's decoder cannot be: all of it, or adapters beside it."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.training.tiny_pretrained import write_gemma2

from lmhead.cli.main import main
from lmhead.models.causal_lm import CausalLM
from lmhead.training.config.train_config import read_yaml
from lmhead.training.run.run_folder import RunFolder
from lmhead.training.setup import Ready, prepare
from lmhead.training.weights.published_model import read_model

transformers = pytest.importorskip("transformers")
pytest.importorskip("peft")

TINY = [
    *("--rows", "2", "--accumulate", "2", "--max-seq-len", "200", "--eval-every", "1000", "--sample-every", "1000"),
    *("--save-every", "3", "--keep", "9", "--steps", "6", "--warmup-steps", "1", "--precision", "float32"),
]
FULL = ("--lr", "5e-3")
LORA = ("--lora", "4", "--lora-dropout", "0.1", "--lr", "1e-2")
pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning"),  # asked for by PEFT
]


def tuned(init: Path, data: Path, out: Path, *flags: str) -> list[str]:
    return ["train", "--init", str(init), "--data", str(data), "--out", str(out), *TINY, *flags]


@pytest.fixture(scope="module", params=["full", "lora"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def run(kind: str, gemma: Path, chat: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / kind
    assert main(tuned(gemma, chat, out, *(FULL if kind == "full" else LORA))) == 0
    return out


@pytest.fixture
def moved(run: Path, tmp_path: Path) -> Path:
    return shutil.copytree(run, tmp_path / "moved")


def losses(run: Path) -> list[float]:
    return [record["loss"] for record in RunFolder(run).records() if "loss" in record]


def weights(run: Path) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(RunFolder(run).latest() / "training.pt", weights_only=True)["model"]
    return state


def prepared(run: Path, tmp_path: Path) -> Ready:
    """What the run was made of, its newest checkpoint's model apart."""
    folder = RunFolder(run)
    return prepare(folder.config(), folder, lambda line: None, checkpoint=folder.latest())


def model_of(run: Path) -> CausalLM:
    return read_model(RunFolder(run).latest(), device=torch.device("cpu"))


def stock(folder: Path, kind: str) -> Any:
    """The checkpoint as transformers, or peft, loads it."""
    if kind == "lora":
        import peft

        return peft.AutoPeftModelForCausalLM.from_pretrained(folder).eval()
    return transformers.AutoModelForCausalLM.from_pretrained(folder).eval()


def test_a_finished_run_says_so_whatever_its_own_config_says_again(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    for flags in ((), ("--config", str(run / "config.yaml"))):
        assert main(["train", "--resume", str(run), *flags]) == 0
        assert "finished at step 6" in capsys.readouterr().out
    assert main(["train", "--resume", str(run), "--max-seq-len", "100"]) == 2
    assert "with another config (model.max_seq_len: 200 -> 100)" in capsys.readouterr().err


def test_the_loss_falls(run: Path) -> None:
    assert losses(run)[-1] < losses(run)[0] - 0.05


def test_a_moved_and_resumed_run_ends_bit_for_bit_as_one_that_was_never_stopped(
    run: Path, kind: str, moved: Path, gemma: Path
) -> None:
    shutil.rmtree(RunFolder(moved).checkpoint(6))
    away = gemma.rename(gemma.with_name("away"))
    try:
        assert main(["train", "--resume", str(moved), *(() if kind == "full" else ("--init", str(away)))]) == 0
    finally:
        away.rename(gemma)
    assert losses(moved) == losses(run)
    one, other = weights(run), weights(moved)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_the_checkpoint_is_one_that_others_load_with_the_loss_that_the_run_told(
    run: Path, kind: str, tmp_path: Path
) -> None:
    folder = RunFolder(run).latest()
    model, ready = stock(folder, kind), prepared(run, tmp_path)
    nats, count = 0.0, 0
    with torch.no_grad():
        for example in ready.held_out.examples:  # type: ignore[attr-defined]
            ids = torch.from_numpy(example.ids).long()[None]
            labels = torch.where(torch.from_numpy(example.learnt), ids[0], -100)[None]
            scored = int((labels[:, 1:] != -100).sum())
            nats, count = nats + float(model(input_ids=ids, labels=labels).loss) * scored, count + scored
    told = [record for record in RunFolder(run).records() if record.get("evaluation") == "full"][-1]
    assert count == told["tokens"]
    assert nats / count == pytest.approx(told["nll"], rel=1e-5)


def test_the_tokenizer_in_the_checkpoint_makes_the_ids_of_training(run: Path, kind: str, gemma: Path) -> None:
    messages = [{"role": "user", "content": "How much is 3 + 9?"}, {"role": "assistant", "content": "12"}]
    tokenizers = [transformers.AutoTokenizer.from_pretrained(folder) for folder in (gemma, RunFolder(run).latest())]
    base, own = [tokenizer.apply_chat_template(messages)["input_ids"] for tokenizer in tokenizers]
    assert own == base
    assert tokenizers[1].eos_token == "[E]"
    said = json.loads((RunFolder(run).latest() / "generation_config.json").read_text())
    assert said["eos_token_id"] == [3, 0]  # a turn's end, and a text's


def test_adapters_alone_are_saved_and_what_they_stand_beside_is_known_again(
    run: Path, kind: str, moved: Path, gemma: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if kind == "full":
        assert set(weights(run)) >= {"model.model.embed_tokens.weight", "model.lm_head.weight"}
        return
    assert all("lora_" in name for name in weights(run))
    folder = RunFolder(run).latest()
    assert not (folder / "model.safetensors").exists()
    assert json.loads((folder / "adapter_config.json").read_text())["base_model_name_or_path"] == str(gemma)
    other = shutil.copytree(gemma, tmp_path / "kept")
    try:
        write_gemma2(gemma, sliding_window=16, initializer_range=0.03)  # of the same sizes
        shutil.rmtree(RunFolder(moved).checkpoint(6))
        assert main(["train", "--resume", str(moved)]) == 2
        assert "the weights of --init that were frozen in training are not those" in capsys.readouterr().err
    finally:
        shutil.rmtree(gemma)
        shutil.copytree(other, gemma)


def test_a_run_that_was_stopped_before_its_first_checkpoint_begins_anew_alike(
    run: Path, kind: str, moved: Path, gemma: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if kind == "full":
        return
    shutil.rmtree(moved / "checkpoints")
    assert main(["train", "--resume", str(moved), "--init", str(gemma.parent)]) == 2
    assert "--init must be what it was" in capsys.readouterr().err
    assert main(["train", "--resume", str(moved)]) == 0
    assert losses(moved) == losses(run)


def test_another_run_goes_on_with_the_adapters_of_a_run(
    run: Path, kind: str, chat: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if kind == "full":
        return
    out = tmp_path / "on"
    assert main(tuned(run, chat, out, "--lora", "8")) == 2
    assert "--lora must be that of --init's adapters, 4, got 8: leave it out" in capsys.readouterr().err
    assert main(tuned(run, chat, out, "--steps", "1", "--lr", "1e-9")) == 0
    config = read_yaml(out / "config.yaml")
    assert (config.lora.rank, config.lora.dropout) == (4, 0.1)
    assert config.init == str(RunFolder(run).latest())
    before, after = weights(run), weights(out)
    assert before.keys() == after.keys()
    assert all(torch.allclose(before[name], after[name], atol=1e-8) for name in before)
    shutil.rmtree(out / "checkpoints")
    assert main(["train", "--resume", str(out)]) == 0


def test_a_run_answers_and_continues(run: Path, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    folder = RunFolder(run).latest()
    tokenizer, model = transformers.AutoTokenizer.from_pretrained(folder), stock(folder, kind)
    asked = [{"role": "user", "content": "How much is 3 + 9?"}]
    chat_ids = tokenizer.apply_chat_template(asked, add_generation_prompt=True, return_tensors="pt")["input_ids"]
    for flags, ids in ((("--chat",), chat_ids), ((), tokenizer("How much is 3 + 9?", return_tensors="pt").input_ids)):
        capsys.readouterr()
        words = ["sample", str(run), "--prompt", asked[0]["content"], "--tokens", "12", "--temperature", "0"]
        assert main([*words, *flags]) == 0
        text = capsys.readouterr().out.removesuffix("\n")
        made = model.generate(input_ids=ids, max_new_tokens=12, do_sample=False, eos_token_id=[3, 0])
        expected = tokenizer.decode(made[0] if not flags else made[0, ids.shape[1] :], skip_special_tokens=True)
        assert text == expected
