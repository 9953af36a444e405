"""benchmarks/gpu.py: that it runs, on a tiny shape in Triton's interpreter, and says so where there is no GPU."""

import importlib.util
import json
import sys

import numpy as np
import pytest
import torch
from benchmarks.gpu import OURS, PEERS, SHAPES, SHARES, main
from tests.ops.interpreter import set_up_the_interpreter

from lmhead.ops.triton.forms import interpreted


@pytest.mark.skipif(not interpreted() or importlib.util.find_spec("triton") is None, reason="nothing is interpreted")
def test_a_check_runs_every_form_on_every_share(tmp_path, monkeypatch, capsys):
    set_up_the_interpreter()
    monkeypatch.setattr(sys, "argv", ["benchmarks.gpu", "--check", "--json", str(tmp_path)])
    with np.errstate(all="ignore"):  # of rows that are ignored
        assert main() == 0
    report = json.loads((tmp_path / "op_gpu.json").read_text())
    cases = report["measured"]["cases"]
    assert len(cases) == 2 * len(SHARES)
    for case in cases.values():
        assert {*OURS, "plain logits, upcast"} <= case["seconds"].keys()
        assert not OURS.keys() & case["refusals"].keys()
        assert case["refusals"].keys() <= set(PEERS)
    assert report["goals"] == []  # the interpreter's times say nothing
    assert "| tiny, 10%, forward and backward | lmhead |" in capsys.readouterr().out


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["benchmarks.gpu"])
    assert main() == 2
    printed = capsys.readouterr()
    assert "no CUDA device: nothing is measured" in printed.err
    assert printed.out == ""


def test_the_shapes_are_those_of_the_goals():
    assert {name: (shape.N, shape.D, shape.V) for name, shape in SHAPES.items()} == {
        "gemma-2-2b": (8192, 2304, 256_000),
        "llama-3-8b": (8192, 4096, 128_256),
        "llama-3-8b-short": (2048, 4096, 128_256),
        "qwen-2.5-0.5b": (16384, 896, 151_936),
        "deepseek-v3": (4096, 7168, 129_280),
    }
