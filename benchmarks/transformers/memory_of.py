"""The peak of one program's step, in a process of its own, as a line of JSON: what benchmarks.transformers starts.

python -m benchmarks.transformers.memory_of NAME DTYPE FAMILY D LAYERS V ROWS LENGTH
"""

import sys

import torch

import lmhead
from benchmarks.harness import Memory, in_a_process, peak_memory, print_memory
from benchmarks.op.problem import DTYPES, short
from benchmarks.transformers.models import Size, batch, build
from benchmarks.transformers.programs import step_of


def memory_of(name: str, size: Size, dtype: torch.dtype) -> Memory:
    """Peak bytes of forward and backward, gradients included, in a fresh interpreter."""
    numbers = map(str, (size.D, size.layers, size.V, size.rows, size.length))
    return in_a_process("benchmarks.transformers.memory_of", name, short(dtype), size.family, *numbers)


def main() -> None:
    """The other end."""
    name, dtype, family, *numbers = sys.argv[1:]
    D, layers, V, rows, length = map(int, numbers)
    size = Size(family=family, D=D, layers=layers, V=V, rows=rows, length=length)
    step, drawn = step_of(name, build(size, DTYPES[dtype])), batch(size)
    step(batch(size.short()))  # threads are started, libraries loaded, programs compiled
    print_memory(peak_memory(lambda: step(drawn), before_each=lmhead.release_workspace))


if __name__ == "__main__":
    main()
