"""QLoRA: adapters beside weights of 4 bits get the gradient that the same weights written out give them."""

from pathlib import Path
from typing import Any

import pytest
import torch
from tests.training.chat_runs import write_chat
from tests.training.tiny_pretrained import write_gemma2

from lmhead.cli.main import main
from lmhead.models.transformers.lora_options import LoraOptions
from lmhead.models.transformers.pretrained_causal_lm import PretrainedCausalLM
from lmhead.training.run.run_folder import RunFolder
from lmhead.training.weights.trained_state import load_trained_state, trained_state

pytest.importorskip("transformers")
pytest.importorskip("peft")
bitsandbytes: Any = pytest.importorskip("bitsandbytes")
pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")  # of PEFT


@pytest.fixture(scope="module")
def gemma(tmp_path_factory: pytest.TempPathFactory) -> Path:
    sizes = {"hidden_size": 64, "intermediate_size": 128, "head_dim": 32}  # blocks of 64 numbers have one scale
    return write_gemma2(tmp_path_factory.mktemp("gemma") / "gemma", **sizes)


def test_adapters_beside_four_bits_get_the_gradient_of_the_weights_written_out(gemma: Path) -> None:
    torch.manual_seed(0)
    loads = {"dtype": torch.float32, "lora": LoraOptions(rank=2)}
    narrow = PretrainedCausalLM.load(gemma, quantize="4bit", **loads)  # type: ignore[arg-type]
    plain = PretrainedCausalLM.load(gemma, **loads)  # type: ignore[arg-type]
    with torch.no_grad():
        for name, parameter in narrow.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0.0, 0.1)  # 0 at first: nothing would flow through them
        load_trained_state(plain, trained_state(narrow))
        for name, module in narrow.named_modules():
            if isinstance(module, bitsandbytes.nn.Linear4bit):
                written = bitsandbytes.functional.dequantize_4bit(module.weight.data, module.weight.quant_state)
                plain.get_submodule(name).weight.copy_(written)
    ids = torch.arange(3, 43).reshape(2, 20)
    found = []
    for model in (narrow, plain):
        model.eval()(ids)  # which on some CPUs lays out weights of 4 bits anew
        loss = model.train().loss(ids[:, :-1], ids[:, 1:])
        loss.backward()
        gradient = [weight.grad.flatten() for weight in model.parameters() if weight.grad is not None]
        found.append((float(loss.detach()), torch.cat(gradient)))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-5)
    assert float((found[0][1] - found[1][1]).norm() / found[1][1].norm()) < 1e-4


def test_a_run_beside_four_bits_is_resumed_and_answers(gemma: Path, tmp_path: Path) -> None:
    chat = write_chat(tmp_path / "chat.jsonl", 12)
    flags = ("--lora", "2", "--quantize", "4bit", "--max-seq-len", "200", "--rows", "1", "--accumulate", "1")
    words = ["train", "--init", str(gemma), "--data", str(chat), "--out", str(tmp_path / "run"), *flags]
    assert main([*words, "--steps", "2", "--precision", "float32", "--prompt", "What?", "--lr", "1e-2"]) == 0
    assert main(["train", "--resume", str(tmp_path / "run"), "--steps", "3"]) == 0
    losses = [record["loss"] for record in RunFolder(tmp_path / "run").records() if "loss" in record]
    assert len(losses) == 3
    assert main(["sample", str(tmp_path / "run"), "--chat", "--prompt", "What?", "--tokens", "2"]) == 0
