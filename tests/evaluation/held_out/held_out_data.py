"""Small held-out texts and conversations, data to train on beside them, and a model for both."""

import numpy as np
import torch

from lmhead.batches.chat import ChatRows, HeldOutChat
from lmhead.batches.text import HeldOutText, TextRows
from lmhead.data.labelling.outcome import Labelled
from lmhead.data.rows.row import Place
from lmhead.data.sets.documents import Documents, DocumentsBuilder
from lmhead.data.tokenizer.train_tokenizer import train_tokenizer
from lmhead.labels.example import Example, MessageSpan
from lmhead.labels.packing.wrapped_rows import DocumentStream
from lmhead.models.config import GPTConfig
from lmhead.models.gpt import GPT

V, LENGTH = 300, 24
LENGTHS = (90, 3, 40, 130, 17)  # tokens of the held-out texts


def model() -> GPT:
    torch.manual_seed(0)
    config = GPTConfig(vocab_size=V, embed_dim=16, num_heads=2, num_layers=2, max_seq_len=64, init_std=0.5)
    return GPT.from_config(config)


def documents(names: list[str]) -> Documents:
    builder = DocumentsBuilder()
    for name in names:
        builder.add("some text", source=name, name=name)
    return builder.documents()


def text() -> HeldOutText:
    """Five documents of several files."""
    draw = np.random.default_rng(1)
    stream = DocumentStream.of([draw.integers(0, V, length).tolist() for length in LENGTHS])
    return HeldOutText(stream, documents([f"{number % 3}.txt" for number in range(len(LENGTHS))]), length=LENGTH)


def text_rows() -> TextRows:
    """Ids up to 280, each so often as its square root lets it, from never to some hundred times."""
    ids = np.repeat(np.arange(281), (np.arange(281) ** 2) // 600)
    np.random.default_rng(2).shuffle(ids)
    stream = DocumentStream.of([ids.tolist()])
    return TextRows(stream, documents(["train.txt"]).names(), length=LENGTH, seed=0)


def conversations(count: int, seed: int) -> list[Labelled]:
    draw = np.random.default_rng(seed)
    made = []
    for number in range(count):
        length = int(draw.integers(6, LENGTH))
        trained = [place >= length // 2 for place in range(length)]
        example = Example.of(draw.integers(3, 200, length).tolist(), trained=trained)
        spans = tuple(
            MessageSpan(index=index, role=role, start=start, stop=stop)
            for index, (role, start, stop) in enumerate([("user", 0, length // 2), ("assistant", length // 2, length)])
        )
        example = Example(ids=example.ids, trained=example.trained, reason=example.reason, spans=spans)
        made.append(
            Labelled(place=Place(source=f"{number % 2}.jsonl", number=number + 1, unit="line"), example=example)
        )
    return made


def chat() -> HeldOutChat:
    """Twenty conversations of two files."""
    return HeldOutChat(conversations(20, 3), train_tokenizer(["ab"], 258), length=LENGTH)


def chat_rows() -> ChatRows:
    """Fifty conversations."""
    return ChatRows(conversations(50, 4), length=LENGTH, seed=0, pad_id=0)
