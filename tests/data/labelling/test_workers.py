import os
import signal
import subprocess
import sys

import pytest
from tests.data.labelling.recipes import CONVERSATIONS, UNTRAINED, WEIGHTED, recipe, same, write_jsonl
from tests.labels.chat.chat_cases import trained

from lmhead.data.formats.sample import ChatSample, TextSample
from lmhead.data.labelling import workers as label_workers
from lmhead.data.labelling.label_files import label_files, label_samples
from lmhead.data.labelling.label_rows import refused
from lmhead.data.rows.row import Place
from lmhead.errors import ArgumentError, InputError


def chats(rows):
    for number, row in enumerate(rows, start=1):
        place = Place(source="chat.jsonl", number=number, unit="line")
        yield ChatSample(place=place, messages=row["messages"], tools=row.get("tools"))


def test_two_processes_give_what_one_gives():
    rows = [*CONVERSATIONS, WEIGHTED, UNTRAINED] * 12  # more than two chunks
    broken = refused(Place(source="chat.jsonl", number=999), InputError("broken before"))
    said = []
    heard = lambda _doing, done, _total, _unit: said.append(done)  # noqa: E731
    many = list(label_samples([broken, *chats(rows)], recipe(), workers=2, progress=heard))
    one = list(label_samples([broken, *chats(rows)], recipe()))
    assert len(many) == len(one) == len(rows) + 1
    assert all(same(a, b) for a, b in zip(many, one, strict=True))
    assert said[-1] == len(many)


@pytest.mark.usefixtures("quick_processes")
def test_files_too(tmp_path):
    file = write_jsonl(tmp_path / "chat.jsonl", [*CONVERSATIONS, WEIGHTED, UNTRAINED] * 12)
    many, one = (label_files([file], recipe(), workers=workers) for workers in (2, 1))
    assert all(same(a, b) for a, b in zip(many, one, strict=True))
    assert (many.formats, many.fingerprint) == (one.formats, one.fingerprint)


@pytest.mark.usefixtures("quick_processes")
def test_a_mistake_in_the_recipe_is_raised_as_it_is(tmp_path):
    template = tmp_path / "broken.jinja"
    template.write_text("{% for %}")
    with pytest.raises(ArgumentError, match="chat_template must be Jinja"):
        list(label_samples(chats(CONVERSATIONS), recipe(template=str(template)), workers=2))


@pytest.mark.usefixtures("quick_processes")
def test_a_killed_process_is_told_with_the_place(monkeypatch):
    real = label_workers._chunks

    def then_kill(items):
        for number, chunk in enumerate(real(items)):
            if number == 1:
                for child in label_workers.multiprocessing.active_children():
                    os.kill(child.pid, signal.SIGKILL)
            yield chunk

    monkeypatch.setattr(label_workers, "_chunks", then_kill)
    with pytest.raises(InputError, match=r"one that ended, at chat\.jsonl, line 1 to chat\.jsonl, line 64 or later"):
        list(label_samples(chats(CONVERSATIONS * 13), recipe(), workers=2))


def test_a_chunk_holds_few_rows_and_few_characters():
    def texts(count, length):
        for number in range(1, count + 1):
            yield TextSample(place=Place(source="x", number=number), text="a" * length)

    assert [len(chunk) for chunk in label_workers._chunks(texts(130, 1))] == [64, 64, 2]
    assert [len(chunk) for chunk in label_workers._chunks(texts(5, 500_000))] == [2, 2, 1]
    assert [len(chunk) for chunk in label_workers._chunks(chats(CONVERSATIONS))] == [len(CONVERSATIONS)]


@pytest.mark.usefixtures("quick_processes")
def test_who_stops_listening_leaves_no_process():
    rows = label_samples(chats(CONVERSATIONS * 13), recipe(), workers=2)
    next(rows)
    assert label_workers.multiprocessing.active_children()
    rows.close()
    assert not label_workers.multiprocessing.active_children()


PROGRAM = """
import sys
from itertools import count
from lmhead.data.labelling.chat_config import ChatConfig
from lmhead.data.labelling.label_files import label_samples
from lmhead.data.labelling.recipe import Recipe
from lmhead.data.formats.sample import TextSample
from lmhead.data.rows.row import Place
from lmhead.data.tokenizer.tokenizer_files import read_tokenizer
from lmhead.training.stopping import stops_at_once

if __name__ == "__main__":
    endless = (TextSample(place=Place(source="x", number=n), text="some words") for n in count(1))
    recipe = Recipe.of(read_tokenizer(sys.argv[1]), ChatConfig())
    try:
        with stops_at_once():
            for row in label_samples(endless, recipe, workers=2):
                if row.place.number == 1:
                    print("begun", flush=True)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
"""


@pytest.mark.usefixtures("heeded_signals")
@pytest.mark.skipif(sys.platform == "win32", reason="sends signals to a process group")
@pytest.mark.parametrize("number", ["SIGINT", "SIGHUP"])  # as a terminal does: to parent and workers
def test_an_interrupt_ends_all_without_a_traceback(tmp_path, number):
    (tmp_path / "tokenizer.json").write_text(trained(), encoding="utf-8")
    script = tmp_path / "script.py"
    script.write_text(PROGRAM)
    command = [sys.executable, str(script), str(tmp_path)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            assert process.stdout.readline() == "begun\n"
            os.killpg(process.pid, getattr(signal, number))
            out, err = process.communicate(timeout=600)  # until nobody holds a pipe: the workers have ended
        finally:
            process.kill()
    assert (out, err, process.returncode) == ("interrupted\n", "", 0)


@pytest.mark.skipif(sys.platform == "win32", reason="kills with SIGKILL")
def test_workers_end_with_a_parent_that_is_killed(tmp_path):
    (tmp_path / "tokenizer.json").write_text(trained(), encoding="utf-8")
    script = tmp_path / "script.py"
    script.write_text(PROGRAM)
    command = [sys.executable, str(script), str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stdout.readline() == "begun\n"
        process.kill()
        try:
            process.communicate(timeout=60)  # until nobody holds the pipe: the workers have ended
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise
