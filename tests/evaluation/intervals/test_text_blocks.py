"""Blocks of a long text: each byte in one of them, each token where it ends, sums those of the whole."""

import numpy as np
import pytest

from lmhead.evaluation.intervals.text_blocks import block_size, block_sums
from lmhead.evaluation.scores.byte_losses import ByteLosses
from lmhead.evaluation.sums.document_sums import DocumentSums


def drawn(seed, tokens=3000):
    draw = np.random.default_rng(seed)
    ends = np.cumsum(draw.integers(0, 9, tokens))
    losses = ByteLosses(ends=ends, nll=draw.exponential(2.0, tokens), kinds=np.zeros(tokens, np.uint8))
    sums = DocumentSums(
        name="a", source="s", digest="d", tokens=tokens, nll=float(losses.nll.sum()), bytes=int(ends[-1]), hits=7
    )
    return sums, losses


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("size", [1, 100, 2048, 10**6])
def test_blocks_are_the_document(seed, size):
    sums, losses = drawn(seed)
    blocks = block_sums(sums, losses, size=size)
    assert len(blocks) == max(1, sums.bytes // size)
    assert sum(each.tokens for each in blocks) == sums.tokens
    assert sum(each.bytes for each in blocks) == sums.bytes
    assert sum(each.nll for each in blocks) == pytest.approx(sums.nll, rel=1e-12)
    start = 0
    for number, each in enumerate(blocks):
        stop = start + each.bytes
        last = number == len(blocks) - 1
        inside = (losses.ends > start) & (losses.ends <= stop) | ((losses.ends == 0) & (number == 0))
        assert each.nll == pytest.approx(losses.nll[inside].sum(), rel=1e-12)
        assert each.bytes == size or last
        start = stop


def test_blocks_are_the_largest_of_which_there_are_enough():
    assert block_size([8192 * 20]) == 8192
    assert block_size([8192 * 20 - 1]) == 4096
    assert block_size([2048 * 10, 2048 * 10 + 5]) == 2048
    assert block_size([2048 * 10, 2048 * 10 - 1]) is None
    assert block_size([]) is None
