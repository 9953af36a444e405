"""Timed comparisons with peers: `python -m benchmarks.NAME`. Nothing here runs in the test suite."""
