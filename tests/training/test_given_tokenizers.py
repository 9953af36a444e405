"""Training on texts with somebody's tokenizer: ids with holes, ends of its own, texts that do not come back."""

import json
from pathlib import Path

import pytest
from tests.training.chat_runs import train_words, write_chat
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from lmhead.cli.main import main

ALPHABET = sorted(pre_tokenizers.ByteLevel.alphabet())
SIZES = [
    *("--max-seq-len", "32", "--rows", "2", "--embed-dim", "16", "--num-layers", "1", "--mlp-dim", "16"),
    *("--precision", "float32", "--steps", "2"),
]


def byte_level(special: dict[str, int], *, ordinary: dict[str, int] | None = None) -> Tokenizer:
    vocabulary = {character: i for i, character in enumerate(ALPHABET)} | (ordinary or {}) | special
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in special])
    return tokenizer


@pytest.fixture
def text(tmp_path: Path) -> Path:
    file = tmp_path / "t.txt"
    file.write_text("".join(f"Line {i} of a small text, number {i * 7 % 13}\n" for i in range(80)))
    return file


def train(text: Path, tokenizer: Path, *flags: str) -> int:
    out = text.parent / "run"
    return main(["train", "--data", str(text), "--tokenizer", str(tokenizer), "--out", str(out), *SIZES, *flags])


def checkpoint_config(text: Path) -> dict[str, object]:
    config: dict[str, object] = json.loads((text.parent / "run/checkpoints/step-2/config.json").read_text())
    return config


@pytest.mark.parametrize("rows", [301, 320])
def test_ids_with_holes_need_a_row_each_and_more_rows_pad(
    rows: int, text: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    byte_level({"<|endoftext|>": 300}).save(str(text.parent / "tokenizer.json"))
    assert train(text, text.parent / "tokenizer.json", "--vocab-size", str(rows)) == 0
    assert ("301 ids, 320 rows in embedding and head" in capsys.readouterr().out) == (rows == 320)
    assert checkpoint_config(text)["vocab_size"] == rows
    assert main(["sample", str(text.parent / "run"), "--tokens", "40", "--seed", "0", "--temperature", "5"]) == 0


def test_fewer_rows_than_the_largest_id_asks_for_are_refused(text: Path, capsys: pytest.CaptureFixture[str]) -> None:
    byte_level({"<|endoftext|>": 300}).save(str(text.parent / "tokenizer.json"))
    assert train(text, text.parent / "tokenizer.json", "--vocab-size", "257") == 2
    assert "must be at least the tokenizer's 301, got 257: give --vocab-size 301" in capsys.readouterr().err


def test_ends_of_a_folder_are_written_as_the_model_s(text: Path) -> None:
    folder = text.parent / "theirs"
    folder.mkdir()
    tokenizer = byte_level({"<BOS>": 257, "<END>": 258}, ordinary={"</s>": 256})
    tokenizer.post_processor = processors.TemplateProcessing(single="<BOS> $A", special_tokens=[("<BOS>", 257)])
    tokenizer.save(str(folder / "tokenizer.json"))
    names = {"bos_token": "<BOS>", "eos_token": "<END>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(names))
    assert train(text, folder, "--vocab-size", "259") == 0
    config = checkpoint_config(text)
    assert (config["bos_token_id"], config["eos_token_id"]) == (257, 258)


def test_no_bits_per_byte_are_claimed_of_texts_that_do_not_come_back(
    text: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folding = byte_level({"<|endoftext|>": 256})
    folding.normalizer = normalizers.Lowercase()
    folding.save(str(text.parent / "tokenizer.json"))
    assert train(text, text.parent / "tokenizer.json", "--vocab-size", "257") == 0
    said = capsys.readouterr().out
    assert "comes back as 'line" in said
    assert "bits per byte on" not in said
    records = [json.loads(line) for line in (text.parent / "run/log.jsonl").read_text().splitlines()]
    assert [record["bits_per_byte"] for record in records if "evaluation" in record] == [None]


def test_a_space_before_a_text_loses_nothing(text: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spaced = byte_level({"<|endoftext|>": 256})
    spaced.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    spaced.save(str(text.parent / "tokenizer.json"))
    assert train(text, text.parent / "tokenizer.json", "--vocab-size", "257") == 0
    assert "bits per byte on" in capsys.readouterr().out


def test_no_bits_per_byte_are_claimed_of_messages_that_do_not_come_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chat = write_chat(tmp_path / "chat.jsonl", 30)
    folding = byte_level({"<|endoftext|>": 256, "<|im_start|>": 257, "<|im_end|>": 258})
    for name, normalizer in (("kept", None), ("folded", normalizers.Lowercase())):
        if normalizer is not None:
            folding.normalizer = normalizer
        folding.save(str(tmp_path / f"{name}.json"))
        flags = ("--tokenizer", str(tmp_path / f"{name}.json"), "--vocab-size", "259", "--max-seq-len", "512")
        assert main([*train_words(chat, tmp_path / name), *flags, "--steps", "1"]) == 0
        said = capsys.readouterr().out
        assert ("come back" in said) == (name == "folded")
        assert ("bits per byte, perplexity" in said) == (name == "kept")
