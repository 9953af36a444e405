"""The reading benchmark's own arithmetic: its texts have the size that they are counted with, and are what they say."""

from pathlib import Path

import pytest
from tests.data.given import corpus_of

from benchmarks import reading


@pytest.mark.parametrize("script", reading.SCRIPTS)
@pytest.mark.parametrize("shape", reading.SHAPES)
def test_texts_of_a_size_are_written_and_read(tmp_path: Path, script: str, shape: str) -> None:
    corpus = corpus_of(reading.write(tmp_path, script, shape, 60_000))
    size = corpus.train.bytes + corpus.held_out.bytes
    assert 59_000 <= size <= 121_000  # a whole piece at least
    texts = [document.text for document in corpus.train]
    assert all(text.isascii() for text in texts) == (script == "ascii")
    assert (len(texts) > 1) == (shape != "one file")


def test_texts_are_the_same_in_each_run() -> None:
    first, second = (list(reading.texts("mixed", 30_000, 10_000)) for _ in range(2))
    assert first == second
    assert len(set(first)) == len(first) >= 3
