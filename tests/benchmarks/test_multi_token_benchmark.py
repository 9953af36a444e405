"""benchmarks/multi_token: that the ways it compares are one loss, and that its parts run and say what they measured."""

import argparse
import sys

import pytest
import torch
from benchmarks.harness import Memory
from benchmarks.multi_token import loss
from benchmarks.multi_token.__main__ import _parts, main
from benchmarks.multi_token.problem import CLASSIC, FUSED, PLAIN, Inputs, Shape, program


@pytest.mark.parametrize("depth", [1, 3])
def test_the_three_ways_have_one_gradient(depth):
    gradients = []
    for name in (FUSED, PLAIN, CLASSIC):
        inputs = Inputs(Shape(B=2, T=9, D=8, V=21), depth)
        program(name, inputs)()
        gradients.append([inputs.weight.grad, *(hidden.grad for hidden in inputs.hiddens)])
    for got in gradients[1:]:
        torch.testing.assert_close(got, gradients[0])


def test_the_parts_print_what_they_measured(monkeypatch, capsys):
    monkeypatch.setattr(loss, "memory_of", lambda *_, **__: Memory(allocator=2**24, process=2**24))
    monkeypatch.setattr(sys, "argv", ["benchmarks.multi_token", "--quick"])
    main()
    printed = capsys.readouterr().out
    assert printed.count("### ") == 4
    assert "the head's part by its rows" in printed
    assert "| D 1: extra MiB with a budget of 32 | at most 64 |" in printed


def test_an_unknown_part_is_refused_by_name():
    with pytest.raises(argparse.ArgumentTypeError, match="must be of depths, head, memory, steps, got speed"):
        _parts("head,speed")
