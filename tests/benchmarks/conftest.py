"""benchmarks/ is not installed: it is found beside the tests. What they measure on the way is not looked at."""

import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent.parent))

from benchmarks import harness


@pytest.fixture(scope="session", autouse=True)
def _nothing_is_known_of_measurements() -> Iterator[None]:
    """One attempt, however disturbed; and no garbage is looked for first, in all that the suite has imported."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(harness, "_ATTEMPTS", 1)
        patch.setattr(harness, "gc", SimpleNamespace(**dict.fromkeys(("collect", "freeze", "unfreeze"), lambda: None)))
        yield
