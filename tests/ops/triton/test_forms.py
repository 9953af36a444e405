"""What the Triton back-end takes and refuses, who gets it, and that nobody else needs Triton."""

import dataclasses
import subprocess
import sys

import pytest
import torch

from lmhead import ArgumentError, linear_cross_entropy
from lmhead.ops.backends import BACKENDS, choose
from lmhead.ops.problem import Problem
from lmhead.ops.triton import forms


def problem(*, K=1, dtype=torch.float32, device="cpu", top_k=0):
    hidden, weight = (torch.zeros(rows, 3, dtype=dtype, device=device) for rows in (4, 5))
    targets = torch.zeros(4, K, dtype=torch.int64, device=device)
    tensors = {"hidden": hidden, "weight": weight, "targets": targets}
    return Problem(**tensors, compute_dtype=dtype, memory_budget=2**20, outputs={"top_ids": top_k})


@pytest.fixture
def _interpreter(monkeypatch):
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    monkeypatch.setattr(forms, "_INSTALLED", True)


@pytest.mark.usefixtures("_interpreter")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("K", [1, 2, 32])
@pytest.mark.parametrize("form", forms.FORMS)
def test_every_form_takes_what_the_kernels_can(form, dtype, K):
    assert BACKENDS[form].refusal(problem(K=K, dtype=dtype), asked_for=True) is None


@pytest.mark.usefixtures("_interpreter")
def test_refusals_say_why():
    assert "float64" in forms.refusal(problem(dtype=torch.float64))
    assert "33 targets for a row, more than 32" in forms.refusal(problem(K=33))
    assert "33 top tokens of a row, more than 32" in forms.refusal(problem(top_k=33))
    assert "no compiler for the device meta" in forms.refusal(problem(device="meta"))


def test_without_triton_it_says_so(monkeypatch):
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    monkeypatch.setattr(forms, "_INSTALLED", False)
    assert forms.refusal(problem()) == "triton is not installed"


def test_a_cpu_has_the_interpreter_only(monkeypatch):
    monkeypatch.setattr(forms, "_INSTALLED", True)
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    with pytest.raises(ArgumentError, match="which triton refuses, got Triton has no compiler for the device cpu"):
        linear_cross_entropy(torch.zeros(4, 3), torch.zeros(5, 3), torch.zeros(4).long(), backend="triton")


@pytest.mark.usefixtures("_interpreter")
def test_nobody_gets_the_interpreter_unasked():
    assert choose(problem(), None) == "chunked"
    assert choose(problem(), "triton") == "triton"


def test_a_gpu_gets_it_first(monkeypatch):
    """Told by the tables alone: the device is only named."""
    monkeypatch.setattr(forms, "_INSTALLED", True)
    named = dataclasses.replace(problem(), hidden=_OnCuda())
    assert forms.refusal(named) is None
    assert forms.only_by_name(named) is None
    assert next(iter(BACKENDS)) == "triton"


class _OnCuda:
    device = torch.device("cuda")


def test_importing_the_library_imports_no_triton():
    check = "import sys, lmhead.ops.triton; from lmhead import linear_cross_entropy; assert 'triton' not in sys.modules"
    subprocess.run([sys.executable, "-c", check], check=True)
