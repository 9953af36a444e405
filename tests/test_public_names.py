"""The public names, pinned: adding one is a decision, losing one breaks somebody's program."""

import lmhead

NAMES = [
    "IGNORE_INDEX",
    "TokenStatistics",
    "__version__",
    "linear_cross_entropy",
    "release_workspace",
]


def test_all_is_sorted_and_pinned():
    assert sorted(lmhead.__all__) == lmhead.__all__
    assert lmhead.__all__ == NAMES


def test_every_name_is_there():
    assert all(getattr(lmhead, name) is not None for name in lmhead.__all__)
