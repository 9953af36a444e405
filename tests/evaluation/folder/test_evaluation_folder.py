"""An evaluation's folder: what was done before an interruption is kept, and nothing else is taken for it."""

import json
from dataclasses import replace

import pytest

import lmhead.evaluation.folder.evaluation_folder as door
from lmhead.errors import ArgumentError, InputError
from lmhead.evaluation.folder.document_lines import read_document_lines, read_settings
from lmhead.evaluation.folder.evaluation_folder import EvaluationFolder
from lmhead.evaluation.sums.document_sums import DocumentSums

SETTINGS = {"model": "a", "stride": 4, "files": [("x", 1)]}


def sums(number):
    return DocumentSums(
        name=f"a, row {number}\u2028", source="a", digest=f"{number:x}", tokens=number, nll=number / 3, bytes=7, hits=1
    )


def test_what_was_saved_is_gone_on_from_and_what_came_after_is_cut_off(tmp_path):
    first = EvaluationFolder(tmp_path / "e", SETTINGS)
    assert first.begin() is None
    for number in range(3):
        first.add(sums(number))
    first.save({"tokens": 3}, documents=3, seconds=1.5)
    with first.documents_file.open("a") as stream:
        stream.write('{"half a li')
    second = EvaluationFolder(tmp_path / "e", SETTINGS)
    assert not second.finished
    found = second.begin()
    assert found is not None
    assert (found.documents, found.totals, found.seconds) == (3, {"tokens": 3}, 1.5)
    second.add(sums(3))
    second.save({"tokens": 4}, documents=4, seconds=2.0)
    second.finish()
    assert second.documents() == [sums(number) for number in range(4)]
    assert EvaluationFolder(tmp_path / "e", SETTINGS).finished


def test_an_interruption_before_the_first_save_begins_anew(tmp_path):
    EvaluationFolder(tmp_path, SETTINGS).begin()
    assert EvaluationFolder(tmp_path, SETTINGS).begin() is None
    assert read_document_lines(tmp_path / "documents.jsonl") == []


def test_another_evaluations_folder_is_refused_by_what_differs(tmp_path):
    EvaluationFolder(tmp_path, SETTINGS).begin()
    with pytest.raises(InputError, match="got one that differs in model, stride"):
        EvaluationFolder(tmp_path, SETTINGS | {"model": "b", "stride": 2})


def test_somebodys_own_documents_are_never_written_over(tmp_path):
    (tmp_path / "documents.jsonl").write_text('{"text": "mine"}\n')
    with pytest.raises(ArgumentError, match="must be a new file"):
        EvaluationFolder(tmp_path, SETTINGS)
    assert (tmp_path / "documents.jsonl").read_text() == '{"text": "mine"}\n'


@pytest.mark.parametrize("damage", ["state", "short"])
def test_a_damaged_state_is_told(tmp_path, damage):
    folder = EvaluationFolder(tmp_path, SETTINGS)
    folder.begin()
    folder.add(sums(1))
    folder.save({}, documents=1, seconds=1.0)
    if damage == "state":
        (tmp_path / ".state.json").write_text("{")
    else:
        folder.documents_file.write_text(folder.documents_file.read_text()[:40])
    with pytest.raises(InputError, match="damaged"):
        EvaluationFolder(tmp_path, SETTINGS).begin()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "damaged"),
        ("\xff\n", "damaged"),
        ("[]\n", "damaged"),
        ('{"evaluation": 2, "settings": {}}\n', "newer"),
        ('{"record": 1}\n', "another file"),
        ('{"evaluation": 1, "settings": {}}\n{"name": 1}\n', "line 2 is damaged"),
        ('{"evaluation": 1, "settings": {}}\nnothing\n', "line 2 is damaged"),
    ],
)
def test_files_that_are_none_are_told_in_a_line(tmp_path, text, message):
    file = tmp_path / "documents.jsonl"
    file.write_text(text, encoding="latin-1")
    with pytest.raises(InputError, match=message):
        read_document_lines(file)
    with pytest.raises(InputError, match="cannot read"):
        read_settings(tmp_path / "none")


def test_a_number_that_is_none_is_never_written(tmp_path):
    folder = EvaluationFolder(tmp_path, SETTINGS)
    folder.begin()
    with pytest.raises(ValueError, match="JSON"):
        folder.save({"nll": float("nan")}, documents=1, seconds=1.0)
    assert json.loads(folder.documents_file.read_text().splitlines()[0])["settings"]["stride"] == 4


def test_a_save_that_was_interrupted_may_be_made_again(tmp_path, monkeypatch):
    folder = EvaluationFolder(tmp_path, SETTINGS)
    folder.begin()
    folder.add(sums(0))
    replace = door.replace_file

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(door, "replace_file", interrupted)
    with pytest.raises(KeyboardInterrupt):
        folder.save({}, documents=1, seconds=1.0)
    monkeypatch.setattr(door, "replace_file", replace)
    folder.save({}, documents=1, seconds=1.0)
    folder.finish()
    assert folder.documents() == [sums(0)]


@pytest.mark.parametrize("call", [1, 2])
def test_an_evaluation_that_was_killed_while_it_began_is_not_taken_for_done(tmp_path, monkeypatch, call):
    replace, calls = door.replace_file, []

    def killed(*given: object) -> None:
        calls.append(given)
        if len(calls) == call:
            raise KeyboardInterrupt
        replace(*given)

    monkeypatch.setattr(door, "replace_file", killed)
    with pytest.raises(KeyboardInterrupt):
        EvaluationFolder(tmp_path, SETTINGS).begin()
    monkeypatch.setattr(door, "replace_file", replace)
    again = EvaluationFolder(tmp_path, SETTINGS)
    assert not again.finished
    assert again.begin() is None


def test_names_that_are_no_unicode_or_would_steer_a_terminal_are_kept(tmp_path):
    odd = replace(sums(0), name="caf\udce9.jsonl, line 1", source="\x9b2J\u202e\x1b[31m")
    folder = EvaluationFolder(tmp_path, SETTINGS | {"data": ["caf\udce9.jsonl"]})
    folder.begin()
    folder.add(odd)
    folder.save({}, documents=1, seconds=1.0)
    assert folder.documents() == [odd]
    assert not set(folder.documents_file.read_text()) & set("\x9b\u202e\x1b\udce9")
