"""What `--init` takes beside this library's decoder, what may be said of it, and what is refused in one line."""

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from tests.training.chat_runs import write_chat
from tests.training.tiny_pretrained import write_gemma2, write_mamba, write_tokenizer

from lmhead.cli.flags.train_config import train_config
from lmhead.cli.main import main
from lmhead.data.tokenizer.tokenizer_files import read_tokenizer
from lmhead.models.transformers.pretrained import load_pretrained
from lmhead.training.config.fine_tuning import PretrainedModel
from lmhead.training.config.train_config import read_yaml
from lmhead.training.published_model import read_model
from lmhead.training.run.run_folder import RunFolder
from lmhead.training.setup import prepare
from lmhead.training.start import is_hub_name
from lmhead.training.window import backward

transformers = pytest.importorskip("transformers")
pytest.importorskip("peft")

ONE_STEP = [
    *("--rows", "2", "--accumulate", "1", "--max-seq-len", "200", "--steps", "1", "--precision", "float32"),
    *("--prompt", "What?"),
]


@pytest.fixture(scope="module")
def gemma(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_gemma2(tmp_path_factory.mktemp("gemma") / "gemma")


@pytest.fixture(scope="module")
def chat(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_chat(tmp_path_factory.mktemp("chat") / "chat.jsonl", 12)


def trained(init: Path | str, data: Path, out: Path, *flags: str) -> int:
    return main(["train", "--init", str(init), "--data", str(data), "--out", str(out), *ONE_STEP, *flags])


def evaluation(run: Path) -> dict[str, float]:
    return [record for record in RunFolder(run).records() if record.get("evaluation") == "full"][-1]


@pytest.mark.parametrize("flags", [(), ("--lora", "2")])
def test_a_model_without_a_template_gains_the_tokens_of_chatml(
    flags: tuple[str, ...], chat: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = write_gemma2(tmp_path / "plain", template=None, vocab_size=280)
    assert trained(plain, chat, tmp_path / "run", *flags) == 0
    told = capsys.readouterr().out
    assert "gains <|im_end|>, <|im_start|>; embedding and head grow from 280 to 282 rows" in told
    folder = RunFolder(tmp_path / "run").latest()
    model = read_model(folder, device=torch.device("cpu"))
    assert model.vocab_size == 282
    ids = transformers.AutoTokenizer.from_pretrained(folder).apply_chat_template([{"role": "user", "content": "Hi"}])
    assert max(ids["input_ids"]) >= 280
    assert main(["sample", str(tmp_path / "run"), "--chat", "--prompt", "Hi", "--tokens", "3"]) == 0


def test_texts_are_trained_on_end_to_end(gemma: Path, tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("".join(f"line {i}: what is the capital of nowhere? {i * 7} and so on\n" for i in range(60)))
    assert trained(gemma, text, tmp_path / "run", "--lora", "2") == 0
    assert evaluation(tmp_path / "run")["bits_per_byte"] > 0
    assert main(["sample", str(tmp_path / "run"), "--tokens", "3"]) == 0


def test_a_model_that_mixes_documents_is_refused_and_reads_rows_of_one_conversation(
    chat: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mamba = write_mamba(tmp_path / "mamba")
    assert trained(mamba, chat, tmp_path / "run") == 2
    error = capsys.readouterr().err
    assert re.search("mixes the documents of a row.*give each conversation a row of its own: --no-pack\n", error)
    assert not (tmp_path / "run").exists()
    assert trained(mamba, chat, tmp_path / "run", "--no-pack") == 0
    assert "rows of one conversation each" in capsys.readouterr().out


def test_an_epoch_of_rows_of_one_conversation_has_the_loss_and_the_gradient_of_the_packed_one(
    gemma: Path, chat: Path, tmp_path: Path
) -> None:
    made = {}
    for pack in (True, False):
        given = {"init": str(gemma), "data.paths": (str(chat),), "model.max_seq_len": 200, "device": "cpu"}
        config = train_config({**given, "pack": pack, "precision": "float32"})
        with RunFolder.create(tmp_path / str(pack)) as run:
            ready = prepare(config, run, lambda line: None)
        epoch = [ready.rows.take(0, ready.rows.report.rows)]  # type: ignore[attr-defined]
        how = {"device": ready.device, "dtype": ready.dtype, "label_smoothing": 0.0, "z_loss": 0.0}
        loss = backward(ready.model.train().loss, epoch, **how)
        gradient = torch.cat([weight.grad.flatten() for weight in ready.model.parameters()])
        made[pack] = epoch[0].ids.shape, loss.scored, loss.loss, gradient
    packed, single = made.values()
    assert packed[0][0] < single[0][0] == 11  # of 12 conversations one is held out
    assert packed[0][1] == 200 > single[0][1]
    assert packed[1] == single[1]
    assert packed[2] == pytest.approx(single[2], rel=1e-6)
    assert float((packed[3] - single[3]).norm() / single[3].norm()) < 1e-5


def test_what_is_asked_of_a_decoder_of_this_library_decides_whether_it_is_one(
    chat: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = transformers.LlamaConfig(
        vocab_size=320, hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2
    )
    transformers.LlamaForCausalLM(config).save_pretrained(tmp_path / "llama")
    write_tokenizer(tmp_path / "llama")
    assert trained(tmp_path / "llama", chat, tmp_path / "decoder") == 0
    assert read_yaml(tmp_path / "decoder" / "config.yaml").model.style == "modern"
    load_pretrained(RunFolder(tmp_path / "decoder").latest())
    for name, flags in (("lora", ("--lora", "2")), ("less", ("--gradient-checkpointing",))):
        assert trained(tmp_path / "decoder", chat, tmp_path / name, *flags) == 0
        model = read_yaml(tmp_path / name / "config.yaml").model
        assert isinstance(model, PretrainedModel)
        assert model.kind == "llama"
