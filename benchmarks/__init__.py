"""Timed comparisons with peers: `python -m benchmarks.NAME`. The test suite asks only whether they run."""
