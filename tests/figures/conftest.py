"""What the tests of figures share: a figure's words, and its colours."""

from typing import Any

import pytest
from matplotlib.colors import to_hex


@pytest.fixture
def words():
    """words(figure): every text of it, in the order of drawing."""

    def read(figure: Any) -> list[str]:
        from matplotlib.text import Text

        return [text.get_text() for text in figure.findobj(Text) if text.get_text()]

    return read


@pytest.fixture
def filled():
    """filled(figure, color): how many boxes and bars are of that colour."""

    def count(figure: Any, color: str) -> int:
        return sum(to_hex(patch.get_facecolor()) == color for axes in figure.axes for patch in axes.patches)

    return count
