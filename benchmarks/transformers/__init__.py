"""A patched transformers model beside stock and beside its peers: `python -m benchmarks.transformers`.

models       models by family and size, and their batches
programs     a training step as stock, as patched, and by the peers' own patches
steps        time and memory of a step
memory_of    peak memory of a step, in a process of its own
proof        seconds of lmhead.patch, and what takes them
curves       losses of 200 steps, patched against stock
"""
