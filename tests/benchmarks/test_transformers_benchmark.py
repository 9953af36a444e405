"""benchmarks/transformers: that its parts run and leave what they say, and losses of a few steps, which are facts."""

import argparse
import json
import sys

import pytest

pytest.importorskip("transformers")

from benchmarks.transformers import curves, proof, steps
from benchmarks.transformers.__main__ import _parts, main
from benchmarks.transformers.models import Size
from benchmarks.transformers.programs import OURS, STOCK

TINY = Size(family="llama", D=64, layers=1, V=32000, rows=2, length=16)


@pytest.mark.parametrize("name", ["Gemma 2", "Mixtral, its router's loss"])
def test_ten_steps_of_a_patched_model_have_stocks_losses(name):
    size, options = curves.MODELS[name]
    stock, patched = curves.stock_and_patched(size, options, 10)
    assert stock[-1] < stock[0]
    assert patched == pytest.approx(stock, rel=2e-5)  # float32 sums in other orders, through AdamW


def test_the_parts_leave_what_they_print(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(steps, "SIZES", (TINY,))
    monkeypatch.setattr(steps, "WHO", (STOCK, OURS))
    monkeypatch.setattr(proof, "_USUAL", (TINY,))
    monkeypatch.setattr(
        sys, "argv", ["benchmarks.transformers", "--quick", "--only", "proof,steps", "--json", str(tmp_path)]
    )
    main()
    printed = capsys.readouterr().out
    for name in ("transformers_steps", "transformers_proof"):
        report = json.loads((tmp_path / f"{name}.json").read_text())
        assert f"### {report['title']}\n" in printed
        assert all(len(row) == len(report["columns"]) for row in report["rows"])


def test_an_unknown_part_is_refused_by_name():
    with pytest.raises(argparse.ArgumentTypeError, match=r"must be of steps, memory, proof, curves, got speed"):
        _parts("proof,speed")
