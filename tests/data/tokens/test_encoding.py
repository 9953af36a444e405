"""A stream of ids in bounded memory is that of each document encoded whole; the cache gives it back."""

import json
import os
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from lmhead.data.labelling import cache_folder
from lmhead.data.rows.progress import unheard
from lmhead.data.sets.documents import Documents, DocumentsBuilder
from lmhead.data.tokenizer.text_ends import TextEnds
from lmhead.data.tokenizer.tokenizer_files import TokenizerFiles
from lmhead.data.tokenizer.train_tokenizer import END_OF_TEXT, encode_documents, train_tokenizer
from lmhead.data.tokens import encoding, text_pieces
from lmhead.data.tokens.encoding import encode_stream
from lmhead.data.tokens.text_pieces import pieces
from lmhead.data.tokens.token_cache import tokenised
from lmhead.errors import InputError
from lmhead.training.text_setup import trained_tokenizer

SOURCE = Path(json.__file__).parent.joinpath("decoder.py").read_text()
OWN = train_tokenizer([SOURCE, "\u6df1\u5ea6\u5b66\u4e60 caf\u00e9 \U0001f600"], 600)
WORDS = [
    "def ",
    "x",
    " y",
    "\n",
    "    ",
    "\n\n",
    "12345",
    "\u6df1\u5ea6",
    "\uff0c",
    "\U0001f600",
    ".",
    '"',
    "\t",
    "\u3000",
    "a" * 300,
    END_OF_TEXT,
]


def ends_of(tokenizer: Tokenizer) -> TextEnds:
    return TextEnds.of(TokenizerFiles(json=tokenizer.to_str()))


def marked() -> Tokenizer:
    """One that begins every text with a space, and knows no words."""
    tokenizer = Tokenizer(models.BPE(unk_token=None))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.train_from_iterator(
        [SOURCE], trainers.BpeTrainer(vocab_size=500, special_tokens=[END_OF_TEXT], show_progress=False)
    )
    return tokenizer


def cl100k() -> Tokenizer:
    """With the pieces of another tokenizer, which look ahead, and join marks with the line ends behind them."""
    tokenizer = Tokenizer(models.BPE())
    pattern = r"(?i:'s|'t)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    split = pre_tokenizers.Split(__import__("tokenizers").Regex(pattern), behavior="isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([SOURCE], trainer)
    return tokenizer


TOKENIZERS = {"own": OWN, "marked": marked(), "cl100k": cl100k()}


def documents(*texts: str) -> Documents:
    builder = DocumentsBuilder()
    for number, text in enumerate(texts):
        builder.add(text, source="t.jsonl", name="t.jsonl", number=number)
    return builder.documents()


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Texts of kilobytes are long."""
    for module, name, value in ((encoding, "_BATCH", 300), (encoding, "_BEFORE", 64)):
        monkeypatch.setattr(module, name, value)
    monkeypatch.setattr(encoding, "spans", lambda utf8: text_pieces.spans(utf8, longest=200))


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.lists(st.sampled_from(WORDS), max_size=150).map("".join), max_size=5),
    st.sampled_from(sorted(TOKENIZERS)),
)
def test_the_ids_are_those_of_whole_texts(texts: list[str], name: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoding, "_BATCH", 300)
        patch.setattr(encoding, "_BEFORE", 64)
        patch.setattr(encoding, "spans", lambda utf8: text_pieces.spans(utf8, longest=200))
        stream = encode_stream(TOKENIZERS[name], documents(*texts), ends_of(TOKENIZERS[name]))
    whole = encode_documents(TOKENIZERS[name], texts, ends_of(TOKENIZERS[name]))
    assert stream.ids.tolist() == list(chain.from_iterable(whole))
    assert stream.ends.tolist() == np.cumsum([len(ids) for ids in whole]).tolist()
    assert stream.ids.dtype == np.uint16


def test_a_long_text_is_not_encoded_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    real = encode_documents

    def counting(tokenizer: Tokenizer, texts: list[str], ends: TextEnds) -> list[list[int]]:
        asked.extend(map(len, texts))
        return real(tokenizer, texts, ends)

    monkeypatch.setattr(encoding, "encode_documents", counting)
    for name, tokenizer in TOKENIZERS.items():
        stream = encode_stream(tokenizer, documents(SOURCE), ends_of(tokenizer))
        assert stream.ids.tolist() == real(tokenizer, [SOURCE], ends_of(tokenizer))[0], name
    assert asked == []


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from(WORDS), max_size=100).map("".join), st.integers(8, 100))
def test_pieces_joined_are_the_text(text: str, longest: int) -> None:
    found = list(pieces(memoryview(text.encode()), longest=longest))
    assert "".join(found) == text
    assert all(0 < len(piece.encode()) <= longest for piece in found)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from([word for word in WORDS if len(word) < 100]), min_size=100, max_size=300).map("".join))
def test_a_tokenizer_is_the_same_whether_it_gets_a_text_whole_or_in_pieces(text: str) -> None:
    whole = train_tokenizer([SOURCE, text], 300)
    cut = train_tokenizer(
        [*pieces(memoryview(SOURCE.encode()), longest=1000), *pieces(memoryview(text.encode()), longest=500)], 300
    )
    assert cut.to_str() == whole.to_str()


def test_it_is_told_how_much_is_done() -> None:
    heard: list[tuple[str, int, int | None, str]] = []
    texts = documents("short", SOURCE, "short")
    trained_tokenizer(texts, 300, lambda *said: heard.append(said))
    encode_stream(OWN, texts, ends_of(OWN), lambda *said: heard.append(said))
    for doing in ("training the tokenizer", "tokenising"):
        said = [each for each in heard if each[0] == doing]
        assert said[-1] == (doing, texts.bytes, texts.bytes, "bytes")
        assert [each[1] for each in said] == sorted(each[1] for each in said)
        assert len(said) > 2


def test_what_is_cached_is_what_was_made(tmp_path: Path) -> None:
    notes: list[str] = []
    texts = documents(SOURCE, "short", SOURCE)
    made = tokenised(OWN, texts, ends_of(OWN), tmp_path, notes.append, unheard)
    found = tokenised(OWN, texts, ends_of(OWN), tmp_path, notes.append, unheard)
    assert isinstance(found.ids, np.memmap)
    assert found.fingerprint() == made.fingerprint()
    for other in (
        documents(SOURCE, "short"),
        documents("short", SOURCE, SOURCE),
        documents(SOURCE + "short", "", SOURCE),
    ):
        assert not isinstance(tokenised(OWN, other, ends_of(OWN), tmp_path, notes.append, unheard).ids, np.memmap)
    other = TOKENIZERS["cl100k"]
    assert not isinstance(
        tokenised(other, texts, ends_of(other), tmp_path, notes.append, unheard).ids,
        np.memmap,
    )
    assert notes == []
    assert len(list(tmp_path.iterdir())) == 5


@pytest.mark.parametrize("name", ["ids.npy", "ends.npy", "meta.json"])
@pytest.mark.parametrize("damage", ["cut", "flipped", "missing"])
def test_what_was_damaged_is_made_anew(tmp_path: Path, name: str, damage: str) -> None:
    notes: list[str] = []
    made = tokenised(OWN, documents(SOURCE), ends_of(OWN), tmp_path, notes.append, unheard)
    [entry] = tmp_path.iterdir()
    content = (entry / name).read_bytes()
    if damage == "missing":
        (entry / name).unlink()
    else:
        (entry / name).write_bytes(
            content[:-1] if damage == "cut" else content[:-2] + bytes([content[-2] ^ 1, content[-1]])
        )
    again = tokenised(OWN, documents(SOURCE), ends_of(OWN), tmp_path, notes.append, unheard)
    assert again.fingerprint() == made.fingerprint()
    assert len(notes) == 1
    assert notes[0].endswith("): tokenised anew")
    assert isinstance(tokenised(OWN, documents(SOURCE), ends_of(OWN), tmp_path, notes.append, unheard).ids, np.memmap)


def test_the_cache_keeps_what_was_used_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [documents(SOURCE + str(i)) for i in range(4)]
    keys = []
    for number, each in enumerate(texts[:3]):
        tokenised(OWN, each, ends_of(OWN), tmp_path, print, unheard)
        keys.append(({path.name for path in tmp_path.iterdir()} - set(keys)).pop())
        os.utime(tmp_path / keys[-1], (number, number))
    os.utime(tmp_path / keys[0], (99, 99))
    (tmp_path / "mine").mkdir()
    size = sum(file.stat().st_size for file in (tmp_path / keys[0]).iterdir())
    monkeypatch.setattr(cache_folder, "MOST_BYTES", int(2.5 * size))
    tokenised(OWN, texts[3], ends_of(OWN), tmp_path, print, unheard)
    left = {path.name for path in tmp_path.iterdir()}
    assert keys[0] in left
    assert "mine" in left
    assert not {keys[1], keys[2]} & left


def test_a_cache_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cache must be a folder that can be written, got .*file: "):
        tokenised(OWN, documents(SOURCE), ends_of(OWN), tmp_path / "file", print, unheard)
