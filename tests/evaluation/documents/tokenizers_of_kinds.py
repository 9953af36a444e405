"""Small tokenizers of every kind that people have, trained on a few words."""

import functools
import json

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from lmhead.data.tokenizer.tokenizer_files import TokenizerFiles

WORDS = [
    "the cat sat on the mat, and the dog did not",
    "Wörter über Ärger",
    "日本語の文 です",
    "x = 3 + 4\n",
    "🙂🙃",
] * 4
SPECIAL = ["<s>", "</s>", "<unk>", "<|turn|>"]
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
MARK = "\u2581"


def byte_level(*, normalizer=None, add_prefix_space=False) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=add_prefix_space)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=330, initial_alphabet=alphabet, special_tokens=SPECIAL, show_progress=False
    )
    tokenizer.train_from_iterator(WORDS, trainer)
    return tokenizer


def _fall_back(normalizer, decoder) -> Tokenizer:
    """A BPE whose unknown characters are bytes, as SentencePiece makes it."""
    trained = Tokenizer(models.BPE(unk_token="<unk>"))
    trained.normalizer = normalizer
    trainer = trainers.BpeTrainer(vocab_size=380, special_tokens=[*SPECIAL, *BYTES], show_progress=False)
    trained.train_from_iterator([text for text in WORDS if "🙂" not in text], trainer)
    state = json.loads(trained.to_str())
    state["model"]["byte_fallback"] = True
    state["added_tokens"] = [token for token in state["added_tokens"] if token["content"] in SPECIAL]
    tokenizer = Tokenizer.from_str(json.dumps(state))
    tokenizer.decoder = decoder
    return tokenizer


def gemma_like() -> Tokenizer:
    """No mark before a text."""
    steps = [decoders.Replace(MARK, " "), decoders.ByteFallback(), decoders.Fuse()]
    return _fall_back(normalizers.Replace(" ", MARK), decoders.Sequence(steps))


def llama_like() -> Tokenizer:
    """A mark before a text, and behind control tokens."""
    before = normalizers.Sequence([normalizers.Prepend(MARK), normalizers.Replace(" ", MARK)])
    steps = [decoders.Replace(MARK, " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    return _fall_back(before, decoders.Sequence(steps))


def unigram() -> Tokenizer:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=80, special_tokens=SPECIAL, unk_token="<unk>", show_progress=False)
    tokenizer.train_from_iterator(WORDS, trainer)
    return tokenizer


def word_piece(*, lowercase=False) -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece(unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Lowercase() if lowercase else None
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.train_from_iterator(
        WORDS, trainers.WordPieceTrainer(vocab_size=160, special_tokens=SPECIAL, show_progress=False)
    )
    return tokenizer


KINDS = {
    "byte-level": byte_level,
    "byte-level, NFC": functools.partial(byte_level, normalizer=normalizers.NFC()),
    "byte-level, a space in front": functools.partial(byte_level, add_prefix_space=True),
    "byte fallback": gemma_like,
    "byte fallback, a mark in front": llama_like,
    "unigram": unigram,
    "word pieces": word_piece,
    "word pieces, lower case": functools.partial(word_piece, lowercase=True),
}


@functools.cache
def of_kind(kind: str, *, begins: bool = False, template: str | None = None) -> TokenizerFiles:
    """The files of a tokenizer.

    Args:
        begins: it puts <s> before a text by itself.
    """
    tokenizer = KINDS[kind]()
    if begins:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<s> $A", pair="<s> $A $B:1", special_tokens=[("<s>", tokenizer.token_to_id("<s>"))]
        )
    named = {"bos_token": "<s>", "eos_token": "</s>"}
    return TokenizerFiles(json=tokenizer.to_str(), special_tokens=named, chat_template=template, source=kind)
