"""The peak of one program on one problem, in a process of its own, as a line of JSON: what benchmarks.op starts.

python -m benchmarks.op.memory_of NAME DTYPE N D V BUDGET       BUDGET in bytes, 0: the default
"""

import sys
from collections.abc import Callable

import torch

import lmhead
from benchmarks.harness import Memory, in_a_process, peak_memory, print_memory
from benchmarks.op.problem import DTYPES, Inputs, Shape, short
from benchmarks.op.programs import OURS, program


def memory_of(name: str, shape: Shape, dtype: torch.dtype, *, budget: int | None = None) -> Memory:
    """Peak bytes of forward and backward, gradients included, in a fresh interpreter."""
    sizes = map(str, (shape.N, shape.D, shape.V, budget or 0))
    return in_a_process("benchmarks.op.memory_of", name, short(dtype), *sizes)


def main() -> None:
    """The other end."""
    name, dtype, *numbers = sys.argv[1:]
    N, D, V, budget = map(int, numbers)
    inputs = Inputs(Shape(N=N, D=D, V=V), DTYPES[dtype])
    run = with_budget(inputs, budget) if name == OURS and budget else program(name, inputs)
    run()  # threads are started, libraries loaded, programs compiled
    print_memory(peak_memory(run, before_each=lmhead.release_workspace))


def with_budget(inputs: Inputs, budget: int | None) -> Callable[[], object]:
    """Forward and backward of the op within `budget` bytes."""
    hidden, weight, targets = inputs.hidden, inputs.weight, inputs.targets
    return lambda: inputs.step(lambda: lmhead.linear_cross_entropy(hidden, weight, targets, memory_budget=budget))


if __name__ == "__main__":
    main()
