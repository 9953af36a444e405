import json
from collections import Counter
from itertools import count, islice

import pytest
from tests.data.labelling.recipes import BROKEN, CONVERSATIONS, UNTRAINED, WEIGHTED, recipe, same, write_jsonl
from tests.labels.chat.chat_cases import assistant, system, user

from lmhead.data.formats.sample import ChatSample, TextSample
from lmhead.data.formats.unread import Unread
from lmhead.data.labelling import label_files as labelling
from lmhead.data.labelling.label_files import label_files, label_samples
from lmhead.data.rows.reading import Reading
from lmhead.data.rows.row import Place
from lmhead.errors import ArgumentError, InputError

ROWS = [*CONVERSATIONS, WEIGHTED, UNTRAINED]


def samples(rows=ROWS):
    for number, row in enumerate(rows, start=1):
        yield ChatSample(
            place=Place(source="chat.jsonl", number=number, unit="line"),
            messages=row["messages"],
            tools=row.get("tools"),
        )


def test_samples_are_labelled_as_the_labeler_labels_them():
    label = recipe().labeler()
    rows = list(label_samples(samples(ROWS[:-1]), recipe()))
    for row, sample in zip(rows, samples(ROWS[:-1]), strict=True):
        assert row.place == sample.place
        assert row.refusal is None
        assert row.example.ids.tolist() == label(sample).ids.tolist()
        assert row.example.trained.tolist() == label(sample).trained.tolist()


def test_a_refusal_is_data():
    *_, last = label_samples(samples(), recipe())
    assert last.example is None
    assert last.refusal.kind == "nothing_to_train"
    assert last.refusal.message.startswith(f"chat.jsonl, line {len(ROWS)}: messages must hold something to learn")


def test_a_mistake_of_a_caller_is_no_refusal():
    with pytest.raises(AttributeError):
        list(label_samples([object()], recipe()))
    with pytest.raises(ArgumentError, match="workers must be >= 1"):
        label_samples([], recipe(), workers=0)


def test_samples_are_taken_as_they_are_needed():
    endless = (TextSample(place=Place(source="x", number=n), text="some words") for n in count(1))
    rows = list(islice(label_samples(endless, recipe()), 5))
    assert [row.place.number for row in rows] == [1, 2, 3, 4, 5]


def test_progress_counts_the_rows():
    said = []
    rows = [TextSample(place=Place(source="x", number=n), text="some words") for n in range(1, 131)]
    assert (
        len(list(label_samples(rows, recipe(), progress=lambda _doing, done, _total, _unit: said.append(done)))) == 130
    )
    assert said == [64, 128, 130]


def test_files_are_labelled_in_order_with_their_broken_rows(tmp_path):
    one = write_jsonl(tmp_path / "one.jsonl", [*ROWS[:2], BROKEN, *ROWS[2:], BROKEN])
    two = write_jsonl(tmp_path / "two.jsonl", [{"text": "some plain words"}])
    said = []
    data = label_files([one, two], recipe(), progress=lambda _doing, done, _total, _unit: said.append(done))
    assert len(data) == len(ROWS) + 3
    assert [(row.place.source, row.place.number) for row in data] == [
        *((one, number) for number in range(1, len(ROWS) + 3)),
        (two, 1),
    ]
    assert [row.refusal.kind for row in data if row.refusal] == ["format", "nothing_to_train", "format"]
    assert data.refused() == [2, len(ROWS), len(ROWS) + 1]
    assert data[2].refusal.message.startswith(f"{one}, line 3")
    assert data.formats == {"messages": len(ROWS), "text": 1}
    assert said[-1] == len(data)
    assert not data.from_cache


def test_what_files_give_is_what_samples_give(tmp_path):
    file = write_jsonl(tmp_path / "chat.jsonl", ROWS)
    data = label_files([file], recipe())
    for row, one in zip(data, label_samples(samples(), recipe()), strict=True):
        assert row.place.number == one.place.number
        if one.example is not None:
            assert same(row, type(one)(place=row.place, example=one.example))


def test_labelled_data_is_a_sequence(tmp_path):
    data = label_files([write_jsonl(tmp_path / "chat.jsonl", ROWS)], recipe())
    assert same(data[-1], data[len(data) - 1])
    assert [row.place.number for row in data[1:4]] == [2, 3, 4]
    with pytest.raises(IndexError):
        data[len(data)]
    examples = data.examples()
    assert len(examples) == len(data) - 1
    assert examples.lengths.tolist() == [len(example) for example in examples]
    assert examples[0].ids.tolist() == data[0].example.ids.tolist()
    assert data.lengths().tolist()[-1] == 0
    assert len(examples[-2:]) == 2
    with pytest.raises(IndexError):
        examples[len(examples)]


def test_an_examples_arrays_are_its_own(tmp_path):
    data = label_files([write_jsonl(tmp_path / "chat.jsonl", ROWS)], recipe(), cache=tmp_path / "cache")
    example = data[0].example
    example.ids[:] = 0
    assert data[0].example.ids.any()
    assert data[len(CONVERSATIONS)].example.targets().weight is not None


def test_the_fingerprint_tells_data_and_recipes_apart(tmp_path):
    file = write_jsonl(tmp_path / "chat.jsonl", ROWS)
    first = label_files([file], recipe()).fingerprint
    assert label_files([file], recipe()).fingerprint == first
    assert label_files([file], recipe(train_on="last")).fingerprint != first
    write_jsonl(tmp_path / "chat.jsonl", ROWS[1:])
    assert label_files([file], recipe()).fingerprint != first


def test_a_file_that_changes_meanwhile_is_refused(tmp_path):
    file = tmp_path / "chat.jsonl"
    write_jsonl(file, ROWS)

    def change(_doing, _done, _total, _unit):
        file.write_text(json.dumps(ROWS[0]) + "\n")

    with pytest.raises(InputError, match="must not change while it is labelled"):
        label_files([str(file)], recipe(), progress=change)


def test_the_hub_is_not_cached(tmp_path, monkeypatch):
    class Samples(list):
        def __init__(self, *items):
            super().__init__(*items)
            self.formats, self.passed_over, self.reading = Counter(messages=2), Counter(), Reading()
            self.unread = Unread()

    monkeypatch.setattr(labelling, "Samples", lambda *_args, **_options: Samples(samples(ROWS[:2])))
    data = label_files(["hf:somebody/chat"], recipe(), cache=tmp_path / "cache")
    assert len(data) == 2
    assert data.notes == ("what comes from the Hub is not cached: download it to a file to have it cached",)
    assert not (tmp_path / "cache").exists()
    again = label_files(["hf:somebody/chat"], recipe())
    assert again.fingerprint == data.fingerprint
    assert label_files(["hf:somebody/chat"], recipe(train_on="last")).fingerprint != data.fingerprint


def test_few_bytes_are_not_worth_a_process(tmp_path):
    small, large = tmp_path / "small", tmp_path / "large"
    small.write_bytes(b"x")
    with large.open("wb") as stream:
        stream.truncate(2**30)
    assert labelling.workers_worth([small]) == 1
    assert labelling.workers_worth([small, large]) == len(labelling.os.sched_getaffinity(0))


def test_blocks_that_meet_roles_and_files_in_another_order_are_joined_by_name(tmp_path):
    start = [{"messages": [user("Ask"), assistant("Say")]}] * 64  # a block
    one = write_jsonl(tmp_path / "one.jsonl", [*start, {"messages": [system("Be"), user("Ask"), assistant("Say")]}])
    two = write_jsonl(tmp_path / "two.jsonl", [{"messages": [assistant("Say"), user("Ask"), assistant("Say")]}])
    rows = list(label_files([one, two], recipe()))
    assert [[span.role for span in row.example.spans] for row in (rows[0], rows[64], rows[65])] == [
        ["user", "assistant"],
        ["system", "user", "assistant"],
        ["assistant", "user", "assistant"],
    ]
    assert [row.place.source for row in rows] == [one] * 65 + [two]


def test_a_path_that_is_in_no_list_is_refused():
    with pytest.raises(InputError, match=r"paths must be a list of paths, got the string 'chat\.jsonl'"):
        label_files("chat.jsonl", recipe())
