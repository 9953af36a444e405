"""What the command line's tests share."""

from types import SimpleNamespace

import pytest

from lmhead.data.sets.standard_library import standard_library


@pytest.fixture(scope="session")
def library() -> SimpleNamespace:
    """Python's standard library, looked through once."""
    files = list(standard_library().every_file() or ())
    return SimpleNamespace(every_file=lambda: files)


@pytest.fixture(autouse=True)
def _looked_through_once(library: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every estimate counts the memory of the data, and the default ones are thousands of files."""
    monkeypatch.setattr("lmhead.data.sets.data_memory.standard_library", lambda: library)
