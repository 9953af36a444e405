import errno
import os
import shutil
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from tests.data.labelling.recipes import BROKEN, CONVERSATIONS, UNTRAINED, WEIGHTED, recipe, same, write_jsonl

from lmhead.data.labelling import cache as label_cache
from lmhead.data.labelling import cache_folder
from lmhead.data.labelling.columns import COLUMNS, ColumnsBuilder, LabelColumns
from lmhead.data.labelling.label_files import label_files
from lmhead.errors import InputError

ROWS = [*CONVERSATIONS, WEIGHTED, UNTRAINED, BROKEN]


@pytest.fixture
def file(tmp_path):
    return write_jsonl(tmp_path / "chat.jsonl", ROWS)


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


def folders(cache):
    return sorted(path.name for path in cache.iterdir())


def test_what_is_found_is_what_was_made(file, cache):
    plain = label_files([file], recipe())
    made = label_files([file], recipe(), cache=cache)
    found = label_files([file], recipe(), cache=cache)
    assert (made.from_cache, found.from_cache) == (False, True)
    assert plain.fingerprint == made.fingerprint == found.fingerprint
    assert plain.formats == made.formats == found.formats
    assert plain.passed_over == found.passed_over
    for rows in zip(plain, made, found, strict=True):
        assert same(rows[0], rows[1])
        assert same(rows[0], rows[2])
    assert isinstance(found.columns.arrays["ids"], np.memmap)
    assert folders(cache) == [made.fingerprint]


def test_rows_without_an_example_can_be_cached(tmp_path, cache):
    file = write_jsonl(tmp_path / "chat.jsonl", [UNTRAINED])
    label_files([file], recipe(), cache=cache)
    found = label_files([file], recipe(), cache=cache)
    assert found.from_cache
    assert found[0].refusal.kind == "nothing_to_train"
    assert len(found.examples()) == 0


def test_every_ingredient_has_a_folder_of_its_own(tmp_path, file, cache):
    other = write_jsonl(tmp_path / "other.jsonl", ROWS)  # the same content
    for paths, options in [
        ([file], {}),
        ([other], {}),
        ([file, other], {}),
        ([other, file], {}),
        ([file], {"train_on": "last"}),
        ([file], {"max_length": 400}),
        ([file], {"format": "messages"}),
    ]:
        assert not label_files(paths, recipe(**options), cache=cache).from_cache
    write_jsonl(Path(file), ROWS[:-1])
    assert not label_files([file], recipe(), cache=cache).from_cache
    assert len(folders(cache)) == 8


def test_bytes_that_are_not_utf8_are_cached_apart_from_their_refusal(tmp_path, cache):
    file = tmp_path / "chat.jsonl"
    file.write_bytes(b'{"prompt": "caf\xe9", "completion": "yes"}\n')
    refused = label_files([str(file)], recipe(), cache=cache)
    replaced = label_files([str(file)], recipe(), errors="replace", cache=cache)
    assert (refused[0].example, replaced[0].refusal, replaced.from_cache) == (None, None, False)
    assert label_files([str(file)], recipe(), errors="replace", cache=cache).from_cache


def test_a_folders_new_file_is_seen(tmp_path, cache):
    data = tmp_path / "data"
    data.mkdir()
    write_jsonl(data / "a.jsonl", ROWS[:1])
    assert len(label_files([str(data)], recipe(), cache=cache)) == 1
    write_jsonl(data / "b.jsonl", ROWS[:2])
    assert len(label_files([str(data)], recipe(), cache=cache)) == 3
    assert len(label_files([str(data)], recipe(), cache=cache, pattern="b*")) == 2


def test_any_damage_to_the_description_is_seen(file, cache):
    made = label_files([file], recipe(), cache=cache)
    place = cache / made.fingerprint / "meta.json"
    place.write_text(place.read_text().replace('"messages": 1', '"messages": 2'))
    assert not label_files([file], recipe(), cache=cache).from_cache


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    """(a file, its rows, the cache that holds them): made once, and not to be changed."""
    folder = tmp_path_factory.mktemp("labelled")
    file = write_jsonl(folder / "chat.jsonl", ROWS)
    return file, label_files([file], recipe(), cache=folder / "cache"), folder / "cache"


@pytest.mark.parametrize("name", [*COLUMNS, "meta"])
@pytest.mark.parametrize("damage", ["cut", "flipped", "flipped at its end", "missing"])
def test_what_was_damaged_is_made_anew(labelled, cache, name, damage):
    file, made, whole = labelled
    shutil.copytree(whole, cache)
    place = cache / made.fingerprint / ("meta.json" if name == "meta" else f"{name}.npy")
    content = place.read_bytes()
    if damage == "cut":
        place.write_bytes(content[:-1])
    elif damage == "flipped":
        place.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    elif damage == "flipped at its end":
        place.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    else:
        place.unlink()
    again = label_files([file], recipe(), cache=cache)
    assert not again.from_cache
    assert len(again.notes) == 1
    assert "is damaged" in again.notes[0]
    assert again.notes[0].endswith("labelled anew")
    assert all(same(a, b) for a, b in zip(again, made, strict=True))
    assert label_files([file], recipe(), cache=cache).from_cache
    assert folders(cache) == [made.fingerprint]


def test_a_full_disk_leaves_nothing_behind(file, cache, monkeypatch):
    def full(*_arguments, **_options):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(cache_folder.np, "save", full)
    with pytest.raises(InputError, match="No space left on device; free some space, or name another folder"):
        label_files([file], recipe(), cache=cache)
    assert folders(cache) == []


def test_a_file_in_the_place_of_the_folder_is_refused(file, tmp_path):
    with pytest.raises(InputError, match="cache must be a folder that can be written"):
        label_files([file], recipe(), cache=Path(file))


def test_drafts_of_the_dead_are_swept(file, cache):
    cache.mkdir()
    old, young = cache / ".draft-old", cache / ".draft-young"
    old.mkdir()
    young.mkdir()
    os.utime(old, (time.time() - 10**6,) * 2)
    made = label_files([file], recipe(), cache=cache)
    assert folders(cache) == [".draft-young", made.fingerprint]


def test_a_missing_file_is_refused(tmp_path, cache):
    with pytest.raises(InputError, match="no such file"):
        label_files([str(tmp_path / "missing.jsonl")], recipe(), cache=cache)


def into_the_cache(file, cache, start):
    while time.time() < start:
        time.sleep(0.001)
    rows = label_files([file], recipe(), cache=cache)
    return [row.place.number for row in rows]


def test_two_processes_may_write_at_once(file, cache, quick_processes):
    with ProcessPoolExecutor(2, mp_context=quick_processes) as pool:
        start = time.time() + 3  # when both are there
        found = [task.result() for task in [pool.submit(into_the_cache, file, cache, start) for _ in range(2)]]
    assert found[0] == found[1] == list(range(1, len(ROWS) + 1))
    assert len(folders(cache)) == 1
    assert label_files([file], recipe(), cache=cache).from_cache


def test_who_comes_second_replaces_what_is_there(file, cache):
    made = label_files([file], recipe(), cache=cache)
    label_cache.publish(cache, made)
    assert label_files([file], recipe(), cache=cache).from_cache
    assert folders(cache) == [made.fingerprint]
    assert same(made[0], label_files([file], recipe())[0])


def test_columns_join_as_if_they_were_made_at_once(file):
    rows = list(label_files([file], recipe()))
    builder = ColumnsBuilder()
    builder.add(rows[0])
    builder.extend(LabelColumns.of(rows[1:4]))
    builder.extend(LabelColumns.of([]))
    for row in rows[4:]:
        builder.add(row)
    joined = builder.columns()
    assert joined.fault() is None
    assert len(joined) == len(rows)
    assert all(same(joined.row(index), row) for index, row in enumerate(rows))
    assert joined.row(len(CONVERSATIONS)).example.weight is not None
    assert [joined.is_refused(index) for index in range(len(rows))] == [row.refusal is not None for row in rows]


def test_no_rows_are_columns_too():
    columns = ColumnsBuilder().columns()
    assert (len(columns), columns.fault()) == (0, None)


def test_arrays_that_contradict_each_other_are_told(file):
    columns = label_files([file], recipe()).columns
    for name in COLUMNS:
        wrong = LabelColumns(arrays=columns.arrays | {name: columns.arrays[name][:-1]}, names=columns.names)
        assert (wrong.fault() is not None) == (len(columns.arrays[name]) > 0)
