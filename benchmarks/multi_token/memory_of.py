"""The peak of one way to the loss, in a process of its own, as a line of JSON: what benchmarks.multi_token starts.

python -m benchmarks.multi_token.memory_of NAME DEPTH B T D V BUDGET       BUDGET in bytes, 0: the default
"""

import sys

import lmhead
from benchmarks.harness import Memory, in_a_process, peak_memory, print_memory
from benchmarks.multi_token.problem import Inputs, Shape, program


def memory_of(name: str, shape: Shape, depth: int, *, budget: int | None = None) -> Memory:
    """Peak bytes of forward and backward, gradients included, in a fresh interpreter."""
    numbers = map(str, (depth, shape.B, shape.T, shape.D, shape.V, budget or 0))
    return in_a_process("benchmarks.multi_token.memory_of", name, *numbers)


def main() -> None:
    """The other end."""
    name, *numbers = sys.argv[1:]
    depth, B, T, D, V, budget = map(int, numbers)
    inputs = Inputs(Shape(B=B, T=T, D=D, V=V), depth)
    run = program(name, inputs, budget or None)
    run()  # threads are started, libraries loaded

    def anew() -> None:
        inputs.drop_gradients()
        lmhead.release_workspace()

    print_memory(peak_memory(run, before_each=anew))


if __name__ == "__main__":
    main()
