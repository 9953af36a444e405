"""Small tokenizers of every kind that people have."""

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

TEXT = "Größe: 3 µm,\n\n\U0001f600 the end of the thing"


def byte_level(size: int = 300, text: str = TEXT) -> Tokenizer:
    """As GPT-2's."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    backend.train_from_iterator([text] * 3, trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet))
    backend.add_special_tokens(["<end>"])
    return backend


def byte_fallback() -> Tokenizer:
    """As Gemma's."""
    words = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), "\u2581", *"Gröe:3,thendofig"]
    vocabulary = {word: number for number, word in enumerate(dict.fromkeys(words))}
    vocabulary["\u2581t"] = len(vocabulary)
    backend = Tokenizer(models.BPE(vocabulary, [("\u2581", "t")], unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    backend.normalizer = normalizers.Replace(" ", "\u2581")
    backend.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()])
    backend.add_special_tokens(["<end>"])
    return backend


def metaspace() -> Tokenizer:
    """As T5's and Llama 2's: a mark for each space, and one before the text."""
    pieces = ["<unk>", "\u2581", "\u2581the", "\u2581end", "\u2581of", "\u2581thing", *"Größe:3µm,thendofig\n"]
    backend = Tokenizer(models.Unigram([(piece, -1.0 - len(piece)) for piece in dict.fromkeys(pieces)], unk_id=0))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Metaspace()
    backend.add_special_tokens(["<end>"])
    return backend


def word_piece() -> Tokenizer:
    """As BERT's."""
    words = ["[UNK]", "the", "end", "of", "th", "##ing", "3", ":", ",", "[SEP]"]
    backend = Tokenizer(models.WordPiece({word: number for number, word in enumerate(words)}, unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer()
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece()
    backend.add_special_tokens(["[SEP]"])
    return backend


def words() -> Tokenizer:
    """Of words, with no decoder."""
    backend = Tokenizer(models.WordLevel({"the": 0, "end": 1, "?": 2}, unk_token="?"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    return backend
