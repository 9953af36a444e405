"""`lmhead train --init --mtp` on a model that this library's decoder cannot be: modules behind it, and adapters."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from tests.models.transformers.causal_lms.build import build
from tests.training.tiny_pretrained import write_tokenizer

from lmhead.cli.main import main
from lmhead.generation.sampling import sample
from lmhead.generation.speculative import speculate
from lmhead.models.multi_token.multi_token_model import MultiTokenModel
from lmhead.models.transformers.pretrained_causal_lm import PretrainedCausalLM
from lmhead.training.run.run_folder import RunFolder
from lmhead.training.weights.published_model import read_model

transformers = pytest.importorskip("transformers")
pytest.importorskip("peft")

TINY = [
    *("--rows", "2", "--accumulate", "2", "--max-seq-len", "120", "--eval-every", "4", "--sample-every", "1000"),
    *("--save-every", "2", "--keep", "9", "--steps", "4", "--warmup-steps", "1", "--precision", "float32"),
    *("--lr", "5e-3"),
]
ADAPTERS = ("--mtp", "1", "--lora", "2", "--lora-dropout", "0.1", "--mtp-against", "model")
pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning"),  # asked for by PEFT
]


def tuned(init: Path, data: Path, out: Path, *flags: str) -> list[str]:
    return ["train", "--init", str(init), "--data", str(data), "--out", str(out), *TINY, *flags]


@pytest.fixture(scope="module")
def run(gemma: Path, chat: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "adapters"
    assert main(tuned(gemma, chat, out, *ADAPTERS)) == 0
    return out


def model_of(run: Path) -> MultiTokenModel:
    model = read_model(RunFolder(run).latest(), device=torch.device("cpu"))
    assert isinstance(model, MultiTokenModel)
    return model


def logged(run: Path) -> list[list[float]]:
    """The losses of each step, those of the depths behind the model's own."""
    records = [record for record in RunFolder(run).records() if "mtp_loss_1" in record]
    return [[each for name, each in record.items() if name == "loss" or "mtp_loss_" in name] for record in records]


def weights(run: Path) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(RunFolder(run).latest() / "training.pt", weights_only=True)["model"]
    return state


def test_adapters_and_modules_resume_bit_for_bit(run: Path, tmp_path: Path) -> None:
    moved = shutil.copytree(run, tmp_path / "moved")
    shutil.rmtree(RunFolder(moved).checkpoint(4))
    assert main(["train", "--resume", str(moved)]) == 0
    assert logged(moved) == logged(run)
    one, other = weights(run), weights(moved)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_the_checkpoint_is_the_model_that_was_trained(run: Path) -> None:
    model, trained = model_of(run), weights(run)
    state = model.state_dict()
    assert any(name.startswith("mtp.") for name in trained)
    for name, each in trained.items():
        assert torch.equal(state[name], each), name


def test_the_model_beside_the_adapters_stays_what_it_was(run: Path, gemma: Path) -> None:
    before = PretrainedCausalLM.load(gemma).base.state_dict()
    state = model_of(run).main.base.state_dict()
    held = {name.replace(".base_layer", ""): each for name, each in state.items() if "lora_" not in name}
    assert held.keys() == before.keys()
    assert all(torch.equal(held[name], each) for name, each in before.items())


def test_the_modules_draft(run: Path) -> None:
    model, prompt = model_of(run), [5, 9, 20]
    made = speculate(model, [prompt], max_new_tokens=8, temperature=0)
    assert made.tokens == [list(sample(model.main, prompt, max_new_tokens=8, temperature=0))]
    assert made.counts.forwards <= 8


def test_a_run_goes_on_with_the_modules_beside_its_starts_adapters(
    run: Path, chat: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(tuned(run, chat, tmp_path / "on", "--mtp", "1", "--steps", "1")) == 0
    assert "those of" in capsys.readouterr().out
    assert logged(tmp_path / "on")[0][1] < logged(run)[0][1]
    assert main(tuned(run, chat, tmp_path / "other", "--mtp", "4")) == 2
    assert "must be that of --init's modules, 1, got 4" in capsys.readouterr().err


def test_modules_that_a_published_family_has_are_trained_on(chat: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    main_model = PretrainedCausalLM(build("glm4_moe", vocab_size=320, max_position_embeddings=512).eval())
    model = MultiTokenModel.behind(main_model)
    main_model.save(tmp_path / "glm", modules=model)
    write_tokenizer(tmp_path / "glm")
    said = json.loads((tmp_path / "glm" / "config.json").read_text())
    del said["lmhead_mtp"]  # as the family publishes it
    (tmp_path / "glm" / "config.json").write_text(json.dumps(said))
    assert main(tuned(tmp_path / "glm", chat, tmp_path / "run", "--mtp", "1", "--steps", "1")) == 0
    trained = model_of(tmp_path / "run")
    assert trained.mtp.style.family == "glm4_moe"
    before, after = model.mtp.state_dict(), trained.mtp.state_dict()
    drawn = MultiTokenModel.behind(main_model).mtp.state_dict()
    for name in ("layers.0.eh_proj.weight", "layers.0.mtp_block.self_attn.q_proj.weight"):
        assert (after[name] - before[name]).norm() < 0.5 * (after[name] - drawn[name]).norm()
