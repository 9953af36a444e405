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
from lmhead.models.transformers.formats.pretrained import load_pretrained
from lmhead.training.config.fine_tuning import PretrainedModel
from lmhead.training.config.train_config import read_yaml
from lmhead.training.run.run_folder import RunFolder
from lmhead.training.setup import prepare
from lmhead.training.step.window import WindowCounts, backward
from lmhead.training.weights.published_model import read_model
from lmhead.training.weights.start import is_hub_name

transformers = pytest.importorskip("transformers")
pytest.importorskip("peft")
pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")  # of PEFT

ONE_STEP = [
    *("--rows", "2", "--accumulate", "1", "--max-seq-len", "200", "--steps", "1", "--precision", "float32"),
    *("--prompt", "What?"),
]


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


def test_rows_that_a_tokenizer_with_its_own_template_adds_are_told(
    chat: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = write_gemma2(tmp_path / "small", vocab_size=278)  # its tokenizer has 280
    assert trained(small, chat, tmp_path / "run") == 0
    assert "more ids than the model has rows; embedding and head grow from 278 to 280 rows" in capsys.readouterr().out


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
        loss = backward(ready.model.train().loss, epoch, WindowCounts.of(epoch), **how)
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


def test_a_folder_is_sampled_and_a_run_s_config_makes_another_run(gemma: Path, chat: Path, tmp_path: Path) -> None:
    for flags in ((), ("--chat",)):
        assert main(["sample", str(gemma), "--prompt", "What?", "--tokens", "3", *flags]) == 0
    assert trained(gemma, chat, tmp_path / "one", "--lora", "2") == 0
    config = tmp_path / "one" / "config.yaml"
    assert main(["train", "--config", str(config), "--out", str(tmp_path / "two"), "--lora-targets", "q_proj"]) == 0
    one, two = (read_yaml(tmp_path / name / "config.yaml") for name in ("one", "two"))
    assert (two.lora.rank, two.lora.targets, two.optimizer) == (2, ("q_proj",), one.optimizer)
    assert 0 < two.model.trained < one.model.trained  # type: ignore[union-attr]


def test_a_run_by_adapters_that_gained_tokens_is_resumed(chat: Path, tmp_path: Path) -> None:
    plain = write_gemma2(tmp_path / "plain", template=None, vocab_size=280)
    steps = ("--steps", "2", "--save-every", "1", "--precision", "bfloat16")  # the embedding has master weights
    assert trained(plain, chat, tmp_path / "whole", "--lora", "2", *steps) == 0
    shutil.copytree(tmp_path / "whole", tmp_path / "resumed")
    shutil.rmtree(RunFolder(tmp_path / "resumed").checkpoint(2))
    assert main(["train", "--resume", str(tmp_path / "resumed")]) == 0
    states = [
        torch.load(RunFolder(tmp_path / name).latest() / "training.pt", weights_only=True)
        for name in ("whole", "resumed")
    ]
    one, other = (state["model"] for state in states)
    assert len([name for name in one if "modules_to_save" in name]) >= 1  # the embedding, with the new rows
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    (master,), (again,) = (state["optimizers"][-1]["masters"] for state in states)
    assert master.dtype == torch.float32
    assert torch.equal(master, again)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            ("--num-layers", "2"),
            "--num-layers must be left out where --init is no decoder of this library, got 2: of su",
        ),
        (("--vocab-size", "999"), "--vocab-size must be left out where --init is no decoder of this library, got 999"),
        (
            ("--dropout", "0.1"),
            "--dropout must be left out where --init is no decoder of this library, got 0.1: of such",
        ),
        (("--max-seq-len", "513"), "--max-seq-len must be at most the 512 tokens that --init can read, got 513"),
        (
            ("--optimizer", "muon"),
            "--optimizer must be adamw where --init is no decoder of this library, got muon: leav",
        ),
        (("--lora", "0"), "--lora must be >= 1, got 0"),
        (("--lora-alpha", "8"), "--lora-alpha must come with --lora, got 8.0 alone: add --lora 16"),
        (("--lora", "2", "--lora-alpha", "0"), "--lora-alpha must be finite and > 0, got 0.0"),
        (("--lora", "2", "--lora-dropout", "1"), "--lora-dropout must be in [0, 1), got 1.0"),
        (("--lora", "2", "--lora-targets", "nowhere"), "--lora-targets must name layers of the model, got nowhere"),
        (
            ("--quantize", "4bit"),
            "--quantize must come with --lora, got 4bit alone: weights of so few bits cannot be tr",
        ),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(
    flags: tuple[str, ...], message: str, gemma: Path, chat: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert trained(gemma, chat, tmp_path / "run", *flags) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            ("--lora", "4"),
            "--lora must come with --init, a model that transformers loads, got 4 alone: give --init, or",
        ),
        (("--gradient-checkpointing",), "--gradient-checkpointing must come with --init, a model that transformers lo"),
        (
            ("--init", "owner/name"),
            "owner/name must be a folder, or the name of a model that can be fetched from the Hub",
        ),
        (
            ("--init", "nowhere"),
            "--init must be a run, a folder with the weights of a model, or its name on the Hub (OW",
        ),
        (
            ("--init", "empty"),
            "--init must be a run, or a folder with the weights of a model, got empty, which has neither a config.yaml",
        ),
        (("--init", "bare"), "got bare, which has a config.json and no weights: fetch or save it anew, whole"),
        (("--init", "wonder"), "error: wonder must be of a type that transformers "),
        (("--init", "broken"), "broken/config.json must be JSON, got Expecting property name"),
        (("--init", "cut"), "cut/model.safetensors must be a safetensors file"),
        (
            ("--init", "bert"),
            "the model must be a causal language model, got one (bert) whose predictions follow later tokens",
        ),
        (("--init", "adapter"), "adapter_config.json must be of LoRA's adapters, got peft_type must be LORA, got None"),
    ],
)
def test_an_init_that_is_no_model_is_refused_in_one_line(
    flags: tuple[str, ...],
    message: str,
    gemma: Path,
    chat: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    for name in ("broken", "cut", "bare", "wonder"):
        shutil.copytree(gemma, tmp_path / name)
    (tmp_path / "bare" / "model.safetensors").unlink()
    (tmp_path / "wonder" / "config.json").write_text('{"model_type": "wonder"}')
    (tmp_path / "broken" / "config.json").write_text("{")
    weights = tmp_path / "cut" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter_model.safetensors").touch()
    (tmp_path / "adapter" / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(gemma)}))
    if "bert" in flags:
        config = transformers.BertConfig(
            vocab_size=280, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, initializer_range=0.5
        )
        transformers.BertLMHeadModel(config).save_pretrained("bert")
        write_tokenizer(tmp_path / "bert")
    capsys.readouterr()
    assert main(["train", "--data", str(chat), "--out", "run", "--steps", "1", *flags]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_a_name_on_the_hub_is_one_with_an_owner_that_is_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    names = ("owner/name", "owner/name-1.5b_x", "runs/mistyped", "name", "./owner/name", "/owner/name", "a/b/c", "~/x")
    assert [is_hub_name(name) for name in names] == [True, True, False, False, False, False, False, False]


def test_estimate_tells_what_is_known_before_the_model_is_loaded(
    gemma: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["estimate", "--init", str(gemma), "--precision", "bfloat16"]
    assert main(words) == 0
    full = capsys.readouterr().out
    built = transformers.Gemma2ForCausalLM.from_pretrained(gemma)
    count = sum(parameter.numel() for parameter in built.parameters())
    assert f"model: gemma2, {count:,} parameters, all trained\n" in full
    assert "rows: 4 of 512 tokens, 4 times a step\n" in full
    assert "rates: matrix 2e-05, embedding 2e-05, head 2e-05, vector 2e-05; warm-up of 20 steps" in full
    assert main([*words, "--lora", "4", "--quantize", "4bit"]) == 0
    lora = capsys.readouterr().out
    import peft

    peft.get_peft_model(built, peft.LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM"))
    adapters = sum(weight.numel() for name, weight in built.named_parameters() if "lora_" in name)
    assert f"frozen in 4 bits; {adapters:,} trained, LoRA of rank 4 and alpha 32\n" in lora
    assert "rates: matrix 0.0002" in lora


def test_a_model_that_does_not_fit_is_refused_with_what_makes_it_smaller(
    gemma: Path, chat: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    monkeypatch.setattr("lmhead.cli.plans.plan.memory_bytes", lambda device: 2**17)
    monkeypatch.setattr("lmhead.cli.plans.plan.data_bytes", lambda *given, **named: None)
    assert trained(gemma, chat, tmp_path / "run") == 2
    error = capsys.readouterr().err
    assert error.endswith("train adapters beside its weights (--lora 16), or take a smaller model\n")
