"""`python -m benchmarks.op --quick`: does it run, does it leave what it says?"""

import argparse
import importlib.util
import json
import sys
from contextlib import redirect_stdout
from pathlib import Path

import pytest
from benchmarks.op import plots
from benchmarks.op.__main__ import _parts, main

ROOT = Path(__file__).parent.parent.parent
MEASURED = ("grid", "cases", "top", "memory", "growth", "sharded")
DRAWABLE = importlib.util.find_spec("matplotlib") is not None


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What a quick run of one dtype left, and printed into `stdout`."""
    folder = tmp_path_factory.mktemp("results")
    parts = ",".join((*MEASURED, "plots") if DRAWABLE else MEASURED)
    words = ["benchmarks.op", "--quick", "--dtype", "bfloat16", "--only", parts, "--json", str(folder)]
    with pytest.MonkeyPatch.context() as patch, (folder / "stdout").open("w") as stdout, redirect_stdout(stdout):
        patch.chdir(ROOT)  # what it starts for memory is found there
        patch.setattr(sys, "argv", words)
        main()
    return folder


@pytest.mark.parametrize("part", MEASURED)
def test_what_is_printed_is_saved(folder, part):
    report = json.loads((folder / f"op_{part}_bfloat16.json").read_text())
    assert f"### {report['title']}\n" in (folder / "stdout").read_text()
    assert report["rows"]
    assert all(len(row) == len(report["columns"]) for row in report["rows"])


@pytest.mark.skipif(not DRAWABLE, reason="needs matplotlib")
def test_the_same_measurements_are_drawn_the_same(folder):
    first = {path: path.read_bytes() for path in folder.glob("*.svg")}
    assert {path.name for path in first} == {"op_grid.svg", "op_growth_bfloat16.svg"}
    assert set(plots.draw(folder)) == set(first)
    for path, content in first.items():
        assert path.read_bytes() == content
        assert len(content) < 100_000


def test_plots_need_an_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(SystemExit, match=r"plots need matplotlib: pip install \"lmhead\[plots\]\""):
        plots.draw(ROOT)


def test_an_unknown_part_is_refused_by_name():
    with pytest.raises(argparse.ArgumentTypeError, match=r"must be of grid, cases, .*, got speed"):
        _parts("grid,speed")


def test_parts_run_in_their_own_order():
    assert _parts("plots,grid") == ("grid", "plots")
