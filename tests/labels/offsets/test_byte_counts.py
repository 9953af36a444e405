"""byte_counts: the bytes of tokens add up to those of the text, or none are told."""

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from lmhead.labels.offsets.byte_counts import byte_counts

TEXT = "Größe: 3 µm,\n\n\U0001f600 the end of the thing"


def byte_level(**parts):
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    for name, part in parts.items():
        setattr(backend, name, part)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    backend.train_from_iterator([TEXT] * 3, trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet))
    return backend


def byte_fallback(**parts):
    """As Gemma's."""
    words = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), "\u2581", *"Gröe:3,thendofig"]
    vocabulary = {word: number for number, word in enumerate(dict.fromkeys(words))}
    vocabulary["\u2581t"] = len(vocabulary)
    merges = [("\u2581", "t")]
    backend = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    backend.normalizer = normalizers.Replace(" ", "\u2581")
    backend.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()])
    for name, part in parts.items():
        setattr(backend, name, part)
    return backend


@pytest.mark.parametrize("parts", [{}, {"normalizer": normalizers.NFC()}])
def test_bytes_of_tokens_add_up_to_the_texts(parts):
    backend = byte_level(**parts)
    backend.add_special_tokens(["<end>"])
    backend.add_tokens(["thing"])
    counts = byte_counts(backend)
    ids = backend.encode(f"{TEXT}<end>").ids
    assert counts[ids].sum() == len(TEXT.encode())
    assert counts[backend.token_to_id("<end>")] == 0
    assert counts[backend.token_to_id("thing")] == len("thing")
    assert len(ids) < len(TEXT.encode())


def test_bytes_behind_a_fallback_add_up_too():
    backend = byte_fallback()
    backend.add_special_tokens(["<end>"])
    counts = byte_counts(backend)
    ids = backend.encode(f"{TEXT}<end>").ids
    assert backend.decode(ids) == TEXT
    assert counts[ids].sum() == len(TEXT.encode())


@pytest.mark.parametrize(
    "backend",
    [
        byte_level(normalizer=normalizers.Lowercase()),
        byte_level(decoder=decoders.Fuse()),
        byte_fallback(normalizer=normalizers.Sequence([normalizers.Prepend("\u2581"), byte_fallback().normalizer])),
        Tokenizer(models.WordLevel({"a": 0, "[UNK]": 1}, unk_token="[UNK]")),
    ],
    ids=["folds case", "not byte-level", "puts a space before a text", "unknown words"],
)
def test_of_tokens_that_do_not_tell_there_are_none(backend):
    assert byte_counts(backend) is None


def test_a_vocabulary_that_lacks_a_byte_tells_none():
    backend = Tokenizer(models.BPE(vocab={"a": 0}, merges=[]))
    backend.decoder = decoders.ByteLevel()
    assert byte_counts(backend) is None
