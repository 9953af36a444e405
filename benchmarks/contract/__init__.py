"""The autograd contract of a linear cross entropy: one set of cases, held against this library's back-ends by the test
suite and against everybody else's by `python -m benchmarks.contract`.
"""
