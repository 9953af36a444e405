"""Data of any kind -> documents in their order: tokens, prefix, source, bytes; what is left out, by reason."""

import gzip
import json
import random
from dataclasses import replace

import numpy as np
import pytest
from tests.evaluation.documents.tokenizers_of_kinds import of_kind

from lmhead.data.formats.formats import read_samples
from lmhead.data.labelling.chat_config import ChatConfig
from lmhead.data.labelling.recipe import Recipe
from lmhead.data.rows.selection import select
from lmhead.data.rows.source import Source
from lmhead.data.tokenizer.plain_text import PlainText
from lmhead.data.tokenizer.tokenizer_files import TokenizerFiles
from lmhead.errors import ArgumentError, InputError
from lmhead.evaluation.documents.document_options import DocumentOptions
from lmhead.evaluation.documents.read_documents import read_documents
from lmhead.given.given_tokenizer import GivenTokenizer
from lmhead.inspection.tokens.token_text import TokenText
from lmhead.labels.targets import Reason

TEMPLATE = (
    "{% for m in messages %}<|turn|>{{ m.role }}\n{{ m.content }}</s>\n{% endfor %}"
    "{% if add_generation_prompt %}<|turn|>assistant\n{% endif %}"
)
TEXTS = ["the cat 🙂", "日本語", "\ufeffa\r\nb", "the mat"]
CHAT = [
    [{"role": "user", "content": "the cat?"}, {"role": "assistant", "content": "Ärger 🙂"}],
    [{"role": "user", "content": "sat"}, {"role": "assistant", "content": "on the mat"}],
]


def files(**options):
    return of_kind("byte-level", **options)


def write(file, rows):
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(file)


def read(paths, tokenizer=None, chat=None, **how):
    documents = read_documents([str(path) for path in paths], tokenizer or files(), chat, DocumentOptions(**how))
    return documents, list(documents)


@pytest.fixture
def folder(tmp_path):
    for number, text in enumerate(TEXTS):
        (tmp_path / f"{number}.txt").write_bytes(text.encode())
    return tmp_path


def test_bytes_end_to_end_are_those_of_the_files(folder):
    documents, made = read([folder])
    assert b"".join(each.utf8 for each in made) == "".join(TEXTS).encode()
    assert documents.bytes == len("".join(TEXTS).encode()) == documents.size == documents.read
    assert documents.scored == sum(int(each.scored.sum()) for each in made)
    assert documents.lost == 0
    for text, document in zip(TEXTS, made, strict=True):
        assert document.ends[-1] == len(text.encode())
        assert document.example.ids[1:].tolist() == PlainText(files().shared_backend()).ids(text)


@pytest.mark.parametrize("begins", [True, False])
def test_a_prefix_comes_from_the_tokenizer_or_is_its_bos_once(folder, begins):
    documents, made = read([folder], files(begins=begins))
    bos = files().shared_backend().token_to_id("<s>")
    assert documents.prefix.origin == ("tokenizer" if begins else "bos")
    assert documents.prefix.names == ("<s>",)
    assert all(each.example.ids.tolist().count(bos) == 1 and each.example.ids[0] == bos for each in made)
    assert all(each.example.reason[0] == Reason.SCAFFOLD and not each.scored[0] and each.ends[0] == 0 for each in made)


def test_a_control_token_that_is_written_in_a_text_stays_text(tmp_path):
    (tmp_path / "a.txt").write_text("<s>the cat</s>")
    _, [document] = read([tmp_path / "a.txt"], files(begins=True))
    bos = files().shared_backend().token_to_id("<s>")
    assert document.example.ids.tolist().count(bos) == 1
    assert document.utf8 == b"<s>the cat</s>"


def test_without_a_prefix_the_first_token_is_not_scored_and_its_bytes_do_not_count(folder):
    documents, made = read([folder], prefix="none")
    assert documents.skipped == {Reason.DOCUMENT_BOUNDARY: len(TEXTS)}
    _, whole = read([folder])
    for document, other in zip(made, whole, strict=True):
        first = int(other.ends[1])
        assert document.utf8 == other.utf8[first:]
        assert document.ends.tolist() == (other.ends[1:] - first).tolist()
        assert document.scored.tolist() == [False, *other.scored[2:].tolist()]
    assert "not scored" in documents.prefix.told()


def test_a_prefix_that_the_tokenizer_lacks_is_refused_in_one_line():
    bare = TokenizerFiles(json=files().json.replace("<s>", "<begin>").replace("</s>", "<stop>"), source="mine")
    with pytest.raises(InputError, match=r"prefix must be a token of the tokenizer, got bos for mine"):
        read(["."], bare, prefix="bos")


def test_eos_takes_the_place_of_a_bos_that_there_is_not(folder):
    named = TokenizerFiles(json=files().json, special_tokens={"eos_token": "</s>"})
    documents, made = read([folder], named)
    assert (documents.prefix.origin, documents.prefix.names) == ("eos", ("</s>",))
    assert read([folder], files(), prefix="eos")[0].prefix.names == ("</s>",)
    assert all(each.bytes for each in made)


def test_an_end_that_is_scored_has_no_bytes(folder):
    (_, plain), (_, ended) = read([folder]), read([folder], end=True)
    end = files().shared_backend().token_to_id("</s>")
    for one, other in zip(plain, ended, strict=True):
        assert other.example.ids.tolist() == [*one.example.ids.tolist(), end]
        assert other.scored[-1]
        assert other.utf8 == one.utf8
        assert other.ends[-2:].tolist() == [len(one.utf8)] * 2


def test_the_tokens_and_bytes_of_conversations_are_those_of_training_and_of_the_answers(tmp_path):
    path = write(tmp_path / "chat.jsonl", [{"messages": messages} for messages in CHAT])
    tokenizer = files(template=TEMPLATE, begins=True)
    documents, made = read([path], tokenizer)
    labeler = Recipe.of(tokenizer, ChatConfig()).labeler()
    for sample, document, messages in zip(read_samples([path]), made, CHAT, strict=True):
        assert np.array_equal(document.example.ids, labeler(sample).ids)
        assert document.utf8 == messages[1]["content"].encode()
        assert document.ends[-1] == document.bytes
        assert len(document.example.spans) == 2
    assert documents.forms == {"conversations": 2}
    assert documents.skipped[Reason.USER] > 0


@pytest.mark.parametrize("kind", ["byte fallback", "byte-level, NFC"])
def test_conversations_of_other_tokenizers_that_lose_nothing_have_bytes_too(tmp_path, kind):
    path = write(tmp_path / "chat.jsonl", [{"messages": messages} for messages in CHAT])
    documents, made = read([path], of_kind(kind, template=TEMPLATE))
    assert [each.utf8.decode() for each in made] == [messages[1]["content"] for messages in CHAT]
    assert documents.lost == 0


@pytest.mark.parametrize("kind", ["word pieces", "byte fallback, a mark in front", "byte-level, a space in front"])
def test_conversations_whose_tokens_do_not_tell_their_bytes_claim_none(tmp_path, kind):
    path = write(tmp_path / "chat.jsonl", [{"messages": messages} for messages in CHAT])
    documents, made = read([path], of_kind(kind, template=TEMPLATE), ChatConfig(on_error="skip"))
    assert made
    assert all(each.utf8 is None and each.ends is None for each in made)
    assert documents.lost == len(made)
    assert any("do not come back" in line for line in documents.told)


def test_an_answer_that_the_tokenizer_normalises_has_no_bytes(tmp_path):
    rows = [{"messages": [CHAT[0][0], {"role": "assistant", "content": "e\u0301"}]}, {"messages": CHAT[0]}]
    documents, made = read([write(tmp_path / "a.jsonl", rows)], of_kind("byte-level, NFC", template=TEMPLATE))
    assert [each.utf8 is None for each in made] == [True, False]
    assert documents.lost == 1


def test_an_answer_in_which_a_control_token_is_written_has_no_bytes(tmp_path):
    rows = [{"messages": [CHAT[0][0], {"role": "assistant", "content": "a </s> b"}]}, {"messages": CHAT[0]}]
    documents, made = read([write(tmp_path / "a.jsonl", rows)], files(template=TEMPLATE))
    assert [each.utf8 is None for each in made] == [True, False]
    assert "control token" in (documents.first_lost or "")


@pytest.mark.parametrize("prompt", ["", "Q: the", "Q:\n"])
@pytest.mark.parametrize("kind", ["byte-level", "byte fallback", "byte fallback, a mark in front", "unigram"])
@pytest.mark.parametrize("prefix", ["auto", "none"])
def test_a_completions_bytes_are_its_own(tmp_path, prompt, kind, prefix):
    path = write(tmp_path / "a.jsonl", [{"prompt": prompt, "completion": " cat and the"}])
    if (kind, prompt) == ("byte fallback, a mark in front", "Q: the"):  # a token reaches over the border
        with pytest.raises(InputError, match=r"no token scored \(tokens 1\)"):
            read([path], of_kind(kind), ChatConfig(on_error="skip"), prefix=prefix)
        return
    documents, [document] = read([path], of_kind(kind), ChatConfig(on_error="skip"), prefix=prefix)
    assert document.utf8 is not None or kind == "unigram"
    if document.utf8 is not None:
        assert b" cat and the".endswith(document.utf8)
        assert document.utf8 == b" cat and the" or (prompt == "" and prefix == "none")
        assert document.ends[-1] == len(document.utf8)
    assert document.example.ids[0] == 0 or prefix == "none"
    assert documents.skipped[Reason.PROMPT] + documents.skipped[Reason.DOCUMENT_BOUNDARY] > 0


def test_rows_of_ids_have_the_bytes_of_their_tokens_lone_bytes_of_characters_too(tmp_path):
    ids = PlainText(files().shared_backend()).ids("日🙂 the")
    path = write(tmp_path / "a.jsonl", [{"input_ids": ids}, {"input_ids": ids[1:3]}])
    documents, (whole, part) = read([path])
    first = int(ends_of(ids)[0])
    assert whole.utf8 == "日🙂 the".encode()[first:]
    assert b"\xef\xbf\xbd" not in part.utf8
    assert part.bytes == int(ends_of(ids)[2] - ends_of(ids)[1])
    assert "2 rows of ids, read as they are: they do not begin with <s>" in documents.told[-1]
    _, begun = read([path], prefix="bos")
    assert begun[0].utf8 == "日🙂 the".encode()
    assert read([path], of_kind("byte-level, a space in front"))[1][0].utf8 is None  # whose the first space is
    small = write(tmp_path / "b.jsonl", [{"input_ids": [5, 6, 7]}])
    assert read([small], of_kind("unigram"))[1][0].utf8 is None


def ends_of(ids):
    spelled = TokenText.of(files().shared_backend())
    return np.cumsum([len(spelled.spelled(number)) for number in ids])


def test_rows_of_ids_need_no_tokenizer_but_texts_do(tmp_path):
    path = write(tmp_path / "a.jsonl", [{"input_ids": [5, 6, 7]}])
    documents = read_documents([path], None, vocab_size=10)
    [document] = documents
    assert document.example.ids.tolist() == [5, 6, 7]
    assert document.utf8 is None
    with pytest.raises(InputError, match=r"input_ids\[2\] must be in \[0, 7\)"):
        list(read_documents([path], None, vocab_size=7))
    with pytest.raises(InputError, match=r"tokenizer must be given for rows that are no ids, got none"):
        list(read_documents([write(tmp_path / "b.jsonl", [{"text": "a"}])], None))


def test_ids_outside_of_the_vocabulary_are_refused_and_counted(tmp_path):
    path = write(tmp_path / "a.jsonl", [{"input_ids": [5, 99_999]}, {"input_ids": [5, 6]}])
    with pytest.raises(InputError, match=r"input_ids.1. must be in .*on_error='skip'"):
        read([path])
    documents, made = read([path], chat=ChatConfig(on_error="skip"))
    assert len(made) == 1
    assert documents.refused == {"ids_out_of_vocabulary": 1}


def test_sources_are_files_or_what_a_column_says(folder, tmp_path):
    _, made = read([folder])
    assert [each.source for each in made] == ["0.txt", "1.txt", "2.txt", "3.txt"]
    path = write(tmp_path / "rows.jsonl", [{"text": "the", "by": by} for by in ("a", 7, None)])
    assert [each.source for each in read([path], source_key="by")[1]] == ["a", "7", "rows.jsonl"]
    assert [each.source for each in read([path])[1]] == ["rows.jsonl"] * 3


def test_a_column_that_no_row_has_and_one_that_tells_no_source_are_refused(tmp_path):
    path = write(tmp_path / "rows.jsonl", [{"text": "the", "by": "a"}, {"text": "the", "by": {"of": "b"}}])
    with pytest.raises(InputError, match=r"source_key must name a column, got 'bye', which no row has"):
        read([path], source_key="bye")
    with pytest.raises(InputError, match=r"rows.jsonl, line 2: by must be a text"):
        read([path], source_key="by")


def test_only_the_first_documents_are_read_where_there_is_a_limit(folder):
    documents, made = read([folder], limit=2)
    assert [each.utf8.decode() for each in made] == TEXTS[:2]
    assert any("only the first 2 documents: limit=2" in line for line in documents.told)
    documents, made = read([folder], limit=4)
    assert len(made) == 4
    assert not documents.limited
    assert documents.forms == {"texts": 4}
    with pytest.raises(ArgumentError, match=r"limit must be >= 1 document"):
        DocumentOptions(limit=0)


def test_a_stream_is_read_anew_each_time_and_is_the_same(folder, tmp_path):
    rows = write(tmp_path / "z.jsonl", [{"text": text} for text in TEXTS])
    documents = read_documents([str(folder / "0.txt"), rows], files())
    once, fingerprint, facts = list(documents), documents.fingerprint, documents.facts()
    again = list(documents)
    assert [each.example.ids.tolist() for each in once] == [each.example.ids.tolist() for each in again]
    assert (documents.fingerprint, documents.facts()) == (fingerprint, facts)
    assert json.loads(json.dumps(facts)) == facts


def test_workers_give_the_same(tmp_path):
    rows = [{"messages": messages} for messages in CHAT * 40] + [{"messages": [CHAT[0][0]]}]
    path, tokenizer = write(tmp_path / "a.jsonl", rows), files(template=TEMPLATE)
    (one, made), (two, other) = (
        read([path], tokenizer, ChatConfig(on_error="skip", workers=workers)) for workers in (1, 2)
    )
    assert one.facts() == two.facts()
    assert [(each.place, each.utf8) for each in made] == [(each.place, each.utf8) for each in other]
    assert one.refused == {"nothing_to_train": 1}


def test_a_text_of_a_row_may_hold_anything(tmp_path):
    path = write(tmp_path / "a.jsonl", [{"text": "a\0b\r\n"}, {"text": "\ufffd"}])
    assert [each.utf8 for each in read([path])[1]] == [b"a\0b\r\n", "\ufffd".encode()]


def test_the_fingerprint_is_of_the_text_in_any_tokenizer(folder):
    prints = {read([folder], of_kind(kind))[0].fingerprint for kind in ("byte-level", "byte fallback")}
    assert len(prints) == 1
    (folder / "3.txt").write_text("the dog")
    assert read([folder])[0].fingerprint not in prints


def test_files_of_many_kinds_in_their_order(tmp_path):
    with gzip.open(tmp_path / "a.txt.gz", "wb") as packed:
        packed.write(b"the cat")
    (tmp_path / "c.csv").write_text('instruction,output\nthe?,"sat\r\non"\n', newline="")
    chat = write(tmp_path / "b.jsonl", [{"messages": CHAT[0]}, {"messages": CHAT[1]}])
    share = write(
        tmp_path / "d.jsonl", [{"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "the"}]}]
    )
    ids = write(tmp_path / "e.jsonl", [{"input_ids": [40, 41, 42]}])
    paths = [str(tmp_path / "a.txt.gz"), chat, str(tmp_path / "c.csv"), share, ids]
    documents, made = read(paths, files(template=TEMPLATE))
    assert [each.source for each in made] == ["a.txt.gz", "b.jsonl", "b.jsonl", "c.csv", "d.jsonl", "e.jsonl"]
    assert [each.utf8 for each in made][:2] == [b"the cat", "Ärger 🙂".encode()]
    assert documents.documents == 6
    assert documents.read == documents.size


def test_data_that_are_selected_already_are_read_as_well(folder):
    selection = select(Source.of([str(folder)]))
    assert [each.utf8.decode() for each in read_documents(selection, GivenTokenizer.of(files()))] == TEXTS


def test_replaced_bytes_are_counted_by_nobody(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"the \xff cat")
    (tmp_path / "b.txt").write_bytes(b"the cat")
    with pytest.raises(InputError, match=r"not UTF-8"):
        read([tmp_path / "a.txt"])
    documents, (replaced, whole) = read([tmp_path / "a.txt", tmp_path / "b.txt"], errors="replace")
    assert replaced.utf8 is None
    assert whole.utf8 == b"the cat"
    assert "bytes that are not UTF-8" in documents.first_lost


def test_no_token_scored_is_an_error_that_says_why(tmp_path):
    (tmp_path / "a.txt").write_text("a")
    with pytest.raises(InputError, match=r"got no token scored \(nothing_to_train 1, document_boundary 1\)"):
        read([tmp_path / "a.txt"], prefix="none")
    path = write(tmp_path / "a.jsonl", [{"messages": [CHAT[0][0]]}])
    tokenizer = files(template=TEMPLATE)
    with pytest.raises(InputError, match=r"hold something to learn.*on_error='skip'"):
        read([path], tokenizer)
    with pytest.raises(InputError, match=r"must hold a token to score, got no token scored .nothing_to_train 1.; the"):
        read([path], tokenizer, ChatConfig(on_error="skip"))


def test_empty_files_and_missing_ones_are_one_line(tmp_path):
    (tmp_path / "a.txt").write_text("")
    with pytest.raises(InputError, match=r"a.txt is empty"):
        read([tmp_path / "a.txt"])
    with pytest.raises(InputError, match=r"no such file or folder"):
        read([tmp_path / "b.txt"])


def test_chatml_is_not_put_on_a_model_that_never_saw_it(tmp_path):
    path = write(tmp_path / "a.jsonl", [{"messages": CHAT[0]}])
    with pytest.raises(InputError, match=r"template must be of tokens that the model knows, got ChatML"):
        read([path])


def test_a_tokenizer_that_has_more_ids_than_the_model_is_refused_where_one_occurs(folder):
    with pytest.raises(InputError, match=r"0.txt, row 1: ids must be in the model's vocabulary, \[0, 50\), got"):
        list(read_documents([str(folder)], files(), vocab_size=50))
    assert list(read_documents([str(folder)], files(), vocab_size=400))


def test_a_tokenizer_written_in_python_reads_ids_and_no_texts(tmp_path):
    slow = replace(GivenTokenizer.of(files()), backend=None, files=None, size=60)
    ids = write(tmp_path / "a.jsonl", [{"input_ids": [5, 6, 70]}, {"input_ids": [5, 6]}])
    documents = read_documents([ids], slow, ChatConfig(on_error="skip"))
    assert len(list(documents)) == 1
    assert documents.refused == {"ids_out_of_vocabulary": 1}
    with pytest.raises(InputError, match=r"got byte-level, which is written in Python, for .*b.jsonl"):
        list(read_documents([write(tmp_path / "b.jsonl", [{"text": "a"}])], slow))


def test_documents_come_before_the_rest_of_the_data_is_read(tmp_path):
    path = write(tmp_path / "a.jsonl", [*({"text": f"the cat {n}"} for n in range(2000)), {"text": 5}])
    made = iter(read_documents([path], files()))
    assert next(made).utf8 == b"the cat 0"
    with pytest.raises(InputError, match=r"line 2001: text must be a string"):
        list(made)


@pytest.mark.parametrize("kind", ["byte-level", "byte fallback, a mark in front"])
@pytest.mark.parametrize("prefix", ["bos", "none"])
def test_random_texts_as_rows_have_their_bytes_whatever_is_read_with_them(tmp_path, kind, prefix):
    draw = random.Random(2)
    texts = ["".join(draw.choices("ab \n\t\0é日🙂\u0301\r", k=draw.randint(1, 40))) for _ in range(600)]
    path = write(tmp_path / "a.jsonl", [{"text": text} for text in texts])
    documents, made = read([path], of_kind(kind), ChatConfig(on_error="skip"), prefix=prefix)
    by_line = {each.place.number: each for each in made}
    plain = PlainText(of_kind(kind).shared_backend())
    for number, text in enumerate(texts, 1):
        ids = plain.ids(text)
        if number not in by_line:
            assert prefix == "none"
            assert len(ids) == 1
            continue
        document = by_line[number]
        assert document.example.ids[len(documents.prefix.ids) :].tolist() == ids
        assert (np.diff(document.ends, prepend=0) >= 0).all()
        assert document.ends[-1] == document.bytes
        assert text.encode().endswith(document.utf8)
        assert document.utf8 == text.encode() or prefix == "none"
        assert (np.diff(document.ends, prepend=0)[~document.scored] == 0).all()
    assert documents.documents + documents.refused["nothing_to_train"] == len(texts)
