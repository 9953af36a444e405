"""Whatever the decoder, tokens that come one by one make the text that they make at once."""

import random

import pytest
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models
from tokenizers.decoders import (
    CTC,
    BPEDecoder,
    ByteFallback,
    ByteLevel,
    Decoder,
    Fuse,
    Metaspace,
    Replace,
    Sequence,
    Strip,
    WordPiece,
)

from lmhead.generation.sampling import TextStream

BYTES = [0x00, 0x41, 0xC3, 0xA9, 0xE2, 0x82, 0xAC, 0xF0, 0x9F, 0x98, 0x80, 0xFF, 0xED]
PIECES = [
    *(f"<0x{byte:02X}>" for byte in BYTES),
    *("<0xAZ>", "<0x-1>", "<0x+A>", "<0xA>", "<0x 1>"),  # which look like bytes
    *("a", "b", "ab", "\u2581", "\u2581a", "\u2581\u2581", "b\u2581a", "", " ", " a", "a ", "  "),
    *("##ing", "##", " .", ".", "n't", " ' ", "</w>", "hello</w>", "a</w>b", "<pad>", "|", "a|", "\ufffd"),
    *("\u0120the", "\u00c3", "\u00a9", "\u00c3\u00a9x", "\u011f\u0142", "\u013a", "\u0122", "\u20ac"),  # bytes of GPT-2
]
SPECIAL = ["<s>", "</s>"]
DECODERS: dict[str, Decoder | None] = {
    "none": None,
    "byte level": ByteLevel(),
    "llama": Sequence([Replace("\u2581", " "), ByteFallback(), Fuse(), Strip(" ", 1, 0)]),
    "gemma": Sequence([Replace("\u2581", " "), ByteFallback(), Fuse()]),
    "byte fallback": ByteFallback(),
    "byte fallback after metaspace": Sequence([Metaspace(), ByteFallback()]),
    "byte fallback before metaspace": Sequence([ByteFallback(), Metaspace(prepend_scheme="first")]),
    "byte fallback before word pieces": Sequence([ByteFallback(), WordPiece()]),
    "metaspace": Metaspace(),
    "metaspace without a prefix": Metaspace(prepend_scheme="never"),
    "word pieces": WordPiece(),
    "word pieces as they are": WordPiece(cleanup=False),
    "suffixes": BPEDecoder(),
    "suffixes, fused": Sequence([BPEDecoder(), Fuse(), Strip("a", 2, 0)]),
    "ctc": CTC(),
    "ctc, then word pieces": Sequence([CTC(cleanup=False), WordPiece()]),
    "stripped each": Strip("a", 1, 0),
    "a pattern of tokens": Replace(Regex("[ab]+"), "x"),
    "a pattern of the text": Sequence([Fuse(), Replace("ab", "x")]),
    "an expression of the text": Sequence([Fuse(), Replace(Regex("a+b"), "x"), Strip("x", 1, 0)]),
    "characters of the text": Sequence([Fuse(), Replace("a", "xyz"), Metaspace()]),
    "nested": Sequence([Sequence([Replace("\u2581", " "), ByteFallback()]), Sequence([Fuse(), Strip(" ", 1, 0)])]),
    "bytes, then more": Sequence([ByteLevel(), Strip(" ", 1, 0), Replace("a", "")]),
    "bytes twice": Sequence([ByteLevel(), ByteLevel()]),
    "fused word pieces": Sequence([Fuse(), WordPiece()]),
    "nothing": Sequence([]),
}


def made(decoder: Decoder | None) -> Tokenizer:
    tokenizer = Tokenizer(models.WordLevel({piece: id for id, piece in enumerate(PIECES)}, unk_token="a"))
    tokenizer.add_special_tokens(SPECIAL)
    tokenizer.add_tokens([AddedToken("\u00e9 added", normalized=False)])
    if decoder is not None:
        tokenizer.decoder = decoder
    return tokenizer


def streamed(tokenizer: Tokenizer, ids: list[int], prompt: list[int] | None = None) -> list[str]:
    stream = TextStream(tokenizer, prompt or [])
    return [*map(stream.add, ids), stream.finish()]


@pytest.mark.parametrize("name", DECODERS)
def test_the_pieces_joined_are_the_text_decoded_at_once(name: str) -> None:
    tokenizer, random_ = made(DECODERS[name]), random.Random(0)
    count = tokenizer.get_vocab_size()
    for _ in range(300):
        ids = random_.choices(range(count + 1), k=random_.randrange(12))  # one id is no token
        few = random_.choices(ids or [0], k=random_.randrange(12))  # repeats
        for each in (ids, few):
            assert "".join(streamed(tokenizer, each)) == tokenizer.decode(each), each


@pytest.mark.parametrize("name", DECODERS)
def test_behind_a_prompt_comes_the_rest_of_the_text(name: str) -> None:
    tokenizer, random_ = made(DECODERS[name]), random.Random(1)
    for _ in range(300):
        ids = random_.choices(range(tokenizer.get_vocab_size()), k=random_.randrange(12))
        at = random_.randrange(len(ids) + 1)
        before, text = tokenizer.decode(ids[:at]), tokenizer.decode(ids)
        same = next((i for i, (a, b) in enumerate(zip(before, text, strict=False)) if a != b), len(before))
        assert "".join(streamed(tokenizer, ids[at:], ids[:at])) == text[same:], (ids[:at], ids[at:])


def test_every_decoder_of_the_library_is_known() -> None:
    known = {kind for decoder in DECODERS.values() if decoder for kind in types(decoder)}
    assert known == {name for name in dir(decoders) if name[0].isupper()} - {"Decoder", "DecodeStream"}


def types(decoder: Decoder) -> list[str]:
    return [name for name in dir(decoders) if f'"type":"{name}"' in decoder.__getstate__().decode()]


@pytest.mark.parametrize("tokens", ["b", "baaaa", "baab", "aabaa", "aba|a", "b a a"])
def test_both_ends_of_the_text_are_stripped(tokens: str) -> None:
    tokenizer = made(Sequence([Fuse(), Strip("a", 1, 2)]))  # which panics where nothing is left
    ids = [tokenizer.token_to_id(token) for token in tokens]
    assert "".join(streamed(tokenizer, ids)) == tokenizer.decode(ids)


def test_a_decoder_written_in_python_decodes_the_whole() -> None:
    class Upper:
        def decode_chain(self, tokens: list[str]) -> list[str]:
            return ["".join(tokens).upper()[::-1]]

    tokenizer = made(Decoder.custom(Upper()))
    ids = [tokenizer.token_to_id(token) for token in ("a", "<s>", "b")]
    assert streamed(tokenizer, ids) == ["", "", "", "BA"]


LLAMA = DECODERS["llama"]


@pytest.mark.parametrize(
    ("name", "tokens", "pieces"),
    [
        ("llama", ["\u2581a", "b", "\u2581a"], ["a", "b", " a", ""]),
        ("llama", ["a", "<0xC3>", "<0xA9>", "b"], ["a", "", "", "\u00e9b", ""]),
        ("llama", ["a", "<0xC3>", "<s>", "<0xA9>", "b"], ["a", "", "", "", "\u00e9b", ""]),
        ("llama", ["<0xC3>", "<0xA9>", "<0xFF>", "b"], ["", "", "", "\ufffd\ufffd\ufffdb", ""]),
        ("byte level", ["\u0120the", "\u00c3", "\u00a9"], [" the", "", "\u00e9", ""]),
        ("word pieces", ["a", "##ing", "b", "."], ["a", "ing", " b", ".", ""]),
        ("metaspace", ["\u2581a", "\u2581a"], ["a", " a", ""]),
        ("ctc", ["a", "a", "<pad>", "a", "|"], ["a", "", "", "a", " ", ""]),
        ("suffixes", ["hello</w>", "a"], ["", "hello ", "a"]),
        ("none", ["a", "b"], ["a", " b", ""]),
    ],
)
def test_nothing_is_held_back_for_longer_than_it_takes(name: str, tokens: list[str], pieces: list[str]) -> None:
    tokenizer = made(DECODERS[name])
    assert streamed(tokenizer, [tokenizer.token_to_id(token) for token in tokens]) == pieces


def test_a_prompts_last_bytes_are_not_said_again_when_they_were_a_character() -> None:
    tokenizer = made(LLAMA)
    lead, follow, a = (tokenizer.token_to_id(token) for token in ("<0xC3>", "<0xA9>", "a"))
    assert streamed(tokenizer, [a], [a, lead, follow]) == ["a", ""]
    assert streamed(tokenizer, [follow, a], [a, lead]) == ["", "\u00e9a", ""]
    assert streamed(tokenizer, [], [a, lead, follow]) == [""]


def test_every_token_is_decoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("none", "byte level", "llama", "metaspace", "word pieces", "suffixes", "ctc"):
        tokenizer, looked_up = made(DECODERS[name]), []
        stream = TextStream(_Counting(tokenizer, looked_up))  # type: ignore[arg-type]
        for _ in range(50):
            stream.add(tokenizer.token_to_id("<0xFF>"))
        stream.finish()
        assert len(looked_up) == 50


class _Counting:
    """A tokenizer that notes what it is asked, and that never decodes."""

    def __init__(self, tokenizer: Tokenizer, looked_up: list[int]) -> None:
        self.decoder, self.get_added_tokens_decoder = tokenizer.decoder, tokenizer.get_added_tokens_decoder
        self._tokenizer, self._looked_up = tokenizer, looked_up

    def id_to_token(self, id: int) -> str | None:
        self._looked_up.append(id)
        return self._tokenizer.id_to_token(id)
