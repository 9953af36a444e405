"""The walk counts the files that calls go through, and what a reader would have to open again."""

import sys

import pytest
from benchmarks.walk import Walk

from benchmarks import walk as module

FIRST = """
import second

class Config:
    pass

def begin():
    second.middle()
    helper()

def helper():
    second.late()
"""
SECOND = """
import third

def middle():
    third.leaf()

def late():
    pass
"""
THIRD = "def leaf():\n    pass\n"


@pytest.fixture
def walked(tmp_path, monkeypatch):
    for name, source in (("first", FIRST), ("second", SECOND), ("third", THIRD), ("records_config", "def f(): pass\n")):
        (tmp_path / f"{name}.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(module, "ROOT", tmp_path)
    walk = Walk()
    sys.setprofile(walk.step)
    try:
        import first
        import records_config

        first.begin()
        records_config.f()
    finally:
        sys.setprofile(None)
        for name in ("first", "second", "third", "records_config"):
            sys.modules.pop(name, None)
    return walk


def test_files_are_counted_in_the_order_of_their_first_function_and_records_are_left_out(walked):
    assert walked.files == ["first.py", "second.py", "third.py"]
    assert walked.functions == 5  # neither modules nor the bodies of classes


def test_a_file_that_no_caller_waits_in_is_returned_to(walked):
    assert walked.returns == ["second.py: late"]  # helper's file waits all along
