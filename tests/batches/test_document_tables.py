"""What training rows and held-out data tell of their documents: sources, tokens, and how often each id is learnt."""

import dataclasses

import numpy as np

from lmhead.batches.chat import ChatRows, HeldOutChat, SeparateChatRows
from lmhead.batches.text import HeldOutText, TextRows
from lmhead.data.labelling.outcome import Labelled
from lmhead.data.rows.row import Place
from lmhead.data.sets.documents import Documents, DocumentsBuilder
from lmhead.data.tokenizer.train_tokenizer import train_tokenizer
from lmhead.labels.example import Example, MessageSpan
from lmhead.labels.packing.wrapped_rows import DocumentStream


def documents(*given: tuple[str, int | None]) -> Documents:
    builder = DocumentsBuilder()
    for source, number in given:
        builder.add("text", source=source, name=source, number=number)
    return builder.documents()


def conversations() -> list[Labelled]:
    examples = [
        Example.of([5, 6, 6, 7], trained=[True, False, True, True]),
        Example.of([6, 6, 6], trained=[False, True, True]),
    ]
    examples[1] = dataclasses.replace(
        examples[1],
        weight=np.array([1, 0, 2], np.float32),
        spans=(MessageSpan(index=0, role="assistant", start=1, stop=3),),
    )
    places = [Place(source="a.jsonl", number=4, unit="line"), Place(source="b.jsonl", number=2, unit="line")]
    return [Labelled(place=place, example=example) for place, example in zip(places, examples, strict=True)]


def test_texts_are_counted_by_their_files() -> None:
    stream = DocumentStream.of([[1, 2, 3], [2, 2], [], [3, 1, 1, 1]])
    given = documents(("a.jsonl", 1), ("b.txt", None), ("b.txt", None), ("a.jsonl", 7))
    rows = TextRows(stream, given.names(), length=4, seed=0)
    held_out = HeldOutText(stream, given, length=4)
    for table in (rows.table(), held_out.table()):
        assert [table.sources[each] for each in table.source] == ["a.jsonl", "b.txt", "b.txt", "a.jsonl"]
        assert table.tokens.tolist() == [3, 2, 0, 4]
        assert table.scored.tolist() == [2, 1, 0, 3]
    assert held_out.scored == held_out.table().scored.sum()
    assert (held_out.name(3), held_out.spans(3)) == ("a.jsonl:7", ())
    assert rows.target_counts().tolist() == [0, 3, 2, 1]  # but for the first of each document


def test_conversations_are_counted_by_what_is_learnt_of_them() -> None:
    tokenizer = train_tokenizer(["ab"], 258)
    for kind in (ChatRows, SeparateChatRows):
        rows = kind(conversations(), length=8, seed=0, pad_id=0)
        assert rows.target_counts().tolist() == [0, 0, 0, 0, 0, 0, 2, 1]
        assert rows.table().scored.tolist() == [2, 1]
    held_out = HeldOutChat(conversations(), tokenizer, length=8)
    table = held_out.table()
    assert list(table.sources) == ["a.jsonl", "b.jsonl"]
    assert (table.source.tolist(), table.tokens.tolist()) == ([0, 1], [4, 3])
    assert table.scored.sum() == held_out.scored
    assert held_out.name(1) == "b.jsonl, line 2"
    assert [span.role for span in held_out.spans(1)] == ["assistant"]
