"""Text blocks: a few long texts cut into stretches of bytes, which stand in for documents where there are too few.

Within a text what is near is alike, and what is far hardly so: blocks much longer than that reach may be drawn as if
they were independent (the block bootstrap: Kuensch 1989, Ann. Statist. 17:1217). What comes out is of more of the same
texts, and says nothing of others; whoever shows it says so.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np

from lmhead.evaluation.scores.byte_losses import ByteLosses
from lmhead.evaluation.sums.document_sums import DocumentSums

SIZES: Final = (8192, 4096, 2048)  # bytes of a block, the largest of which there are enough
ENOUGH: Final = 20  # blocks


def block_size(sizes: Sequence[int]) -> int | None:
    """Bytes of each block of texts of these sizes; None: they are too short.

    Example:
        >>> block_size([1_000_000]), block_size([30_000, 20_000]), block_size([30_000])
        (8192, 2048, None)
    """
    return next((size for size in SIZES if sum(each // size for each in sizes) >= ENOUGH), None)


def block_sums(document: DocumentSums, losses: ByteLosses, *, size: int) -> list[DocumentSums]:
    """The sums of each block of a document, hits not counted; the last one has what is left, up to twice as much.

    A token belongs to the block in which it ends, so that the same bytes are compared whatever the tokenizer: but for
    the token that a border cuts.
    """
    count = max(1, losses.size // size)
    block = np.minimum(np.maximum(losses.ends - 1, 0) // size, count - 1)
    nll = np.bincount(block, losses.nll, count)
    tokens = np.bincount(block, minlength=count)
    borders = np.minimum(np.arange(count + 1) * size, losses.size)
    borders[-1] = losses.size
    return [
        DocumentSums(
            name=f"{document.name}, bytes {borders[number]:,} to {borders[number + 1]:,}",
            source=document.source,
            digest=None if document.digest is None else f"{document.digest}:{size}:{number}",
            tokens=int(tokens[number]),
            nll=float(nll[number]),
            bytes=int(borders[number + 1] - borders[number]),
            hits=0,
        )
        for number in range(count)
    ]
