"""Pairs of blocks: the same stretches of bytes of a few long texts as two models see them."""

from collections.abc import Sequence
from pathlib import Path

from lmhead.evaluation.comparison.comparison import BlockDifference
from lmhead.evaluation.comparison.figure import Figure
from lmhead.evaluation.comparison.matched_documents import MatchedDocuments
from lmhead.evaluation.comparison.paired_documents import Pair, PairedDocuments
from lmhead.evaluation.folder.losses_file import LossesFile
from lmhead.evaluation.intervals.text_blocks import block_size, block_sums
from lmhead.evaluation.sums.document_sums import DocumentSums


def block_pairs(
    first: Sequence[DocumentSums], second: Sequence[DocumentSums], losses: tuple[Path, Path], matched: MatchedDocuments
) -> tuple[int, list[Pair]]:
    """(bytes of a block, the pairs); none where the texts are too short, or the bytes of their tokens are not known."""
    size = block_size([first[at].bytes or 0 for at, _ in matched.pairs])
    made: list[Pair] = []
    if size is None:
        return 0, made
    with LossesFile(losses[0]) as one, LossesFile(losses[1]) as other:
        for at, there in matched.pairs:
            mine, theirs = one.of(at), other.of(there)
            if mine is None or theirs is None or mine.size != theirs.size:
                return size, []
            blocks = block_sums(first[at], mine, size=size), block_sums(second[there], theirs, size=size)
            made += zip(*blocks, strict=True)
    return size, made


def block_difference(
    found: tuple[int, list[Pair]], figure: Figure, *, level: float, resamples: int, seed: int
) -> BlockDifference | None:
    """The difference over blocks; None where there are none."""
    size, pairs = found
    if not pairs:
        return None
    difference = PairedDocuments(pairs, figure, level=level, resamples=resamples, seed=seed).difference()
    return BlockDifference(bytes=size, blocks=len(pairs), difference=difference)
