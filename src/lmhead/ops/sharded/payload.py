"""Communication volume of a vocabulary-parallel head: the bytes that a rank gives to the collectives of one call.

    all-reduce    MAX [N] and SUM [c, n] of the join, in the loss's dtype      sharded/join.py
                  the hidden states' gradient [N, D], in theirs                sharded/hidden_gradient.py
    all-gather    where top tokens are wanted [2, n, k]                        top_tokens.py
                  where ranks have rows of their own, those of each            sharded/own_rows.py

What the network carries is told by `sent`; what gathering the weight instead would carry, by `weight_gathered`. No
torch here: `lmhead estimate` plans with it for machines that nobody has.
"""

from dataclasses import dataclass
from typing import Literal

_HASHED, _HELD = 2, 1  # numbers beside the MAX and the SUM: whether the ranks do the same thing


@dataclass(frozen=True, slots=True, kw_only=True)
class Payload:
    """Of one rank."""

    collectives: int  # calls
    reduced: int  # bytes of the tensors that are all-reduced
    gathered: int = 0  # bytes of a rank's part of those that are all-gathered, or reduce-scattered

    def sent(self, ranks: int) -> float:
        """Bytes that a rank sends, and receives, in a ring of so many.

        Source: Thakur et al., "Optimization of Collective Communication Operations in MPICH" (2005).
        """
        return 2 * (ranks - 1) / ranks * self.reduced + (ranks - 1) * self.gathered

    def __add__(self, other: "Payload") -> "Payload":
        return Payload(
            collectives=self.collectives + other.collectives,
            reduced=self.reduced + other.reduced,
            gathered=self.gathered + other.gathered,
        )


def of_cross_entropy(
    rows: int,
    width: int,
    *,
    itemsize: int,
    scored: int | None = None,
    smoothing: bool = False,
    statistics: bool = False,
    ranks: bool = False,
    top_k: int = 0,
    adapter_rank: int = 0,
    trained: bool = True,
    partial_hidden_gradient: bool = False,
) -> Payload:
    """One call of `linear_cross_entropy(shard=...)` and its backward, with a reduction to one number; "chunked".

    Args:
        rows: N, of all hidden states that the call is given.
        width: D.
        itemsize: bytes of a number of the hidden states, 2, 4 or 8; the joins are of 4, or 8.
        scored: n of the rows that are not ignored; None: all.
        statistics: `return_stats=True`.
        trained: the hidden states get a gradient.

    Example:
        >>> call = of_cross_entropy(2048, 512, itemsize=4, statistics=True)
        >>> call.collectives, call.reduced, round(call.sent(4))  # 8 KiB, 32 KiB, 4 MiB; and 3 numbers
        (3, 4235276, 6352914)
    """
    n, wide = rows if scored is None else scored, max(4, itemsize)
    columns = 2 + int(smoothing) + 2 * int(statistics)  # of statistics the entropy's moment, and who beats the target
    call = Payload(collectives=1, reduced=(rows + _HASHED) * wide)
    if n:
        call += Payload(collectives=1, reduced=(columns * n + _HELD) * wide)
    if n and ranks:
        call += Payload(collectives=1, reduced=n * wide)
    if n and top_k:
        call += Payload(collectives=1, reduced=0, gathered=2 * n * top_k * 8)
    return call + _of_states(rows, width, itemsize, adapter_rank, trained=trained, partial=partial_hidden_gradient)


def of_divergence(
    rows: int,
    width: int,
    *,
    itemsize: int,
    kind: Literal["forward_kl", "reverse_kl", "jensen_shannon", "total_variation"] = "forward_kl",
    scored: int | None = None,
    chunks: int = 1,
    adapter_rank: int = 0,
    trained: bool = True,
    partial_hidden_gradient: bool = False,
) -> Payload:
    """One call of `linear_divergence(shard=...)` and its backward, with a reduction to one number.

    Args:
        chunks: of rows, as many as the memory budget makes; each costs two collectives, or three.

    Example:
        >>> of_divergence(2048, 512, itemsize=4, chunks=2).collectives
        7
    """
    n, wide = rows if scored is None else scored, max(4, itemsize)
    call = Payload(collectives=1, reduced=3 * 8)  # how many chunks, of how many rows
    if n:
        call += Payload(collectives=2 * chunks, reduced=(2 * n + 5 * n + _HELD * chunks) * wide)
    if kind == "forward_kl":
        call += Payload(collectives=1, reduced=rows * wide)
    elif n:
        call += Payload(collectives=chunks, reduced=3 * n * wide)
    return call + _of_states(rows, width, itemsize, adapter_rank, trained=trained, partial=partial_hidden_gradient)


def of_own_rows(
    longest: int,
    width: int,
    *,
    itemsize: int,
    teacher_width: int = 0,
    adapter_rank: int = 0,
    trained: bool = True,
) -> Payload:
    """What `own_rows=True` has beside a call of all ranks' rows, each padded to the longest's: gathers, their way back.

    (The call itself is one of ranks * longest rows with a `partial_hidden_gradient`.)

    Args:
        longest: rows of the rank that has most.
        teacher_width: D' of a divergence's teacher, whose hidden states get no gradient.

    Example:
        >>> of_own_rows(2048, 512, itemsize=2).gathered / 2**20  # MiB: the hidden states, and their gradient
        4.0234375
    """
    widths = [width, width] if trained else [width]
    widths += [adapter_rank, adapter_rank] if adapter_rank else []
    widths += [teacher_width] if teacher_width else []
    numbers = longest * (8 + max(4, itemsize))  # targets and coefficients
    return Payload(collectives=3 + len(widths), reduced=8, gathered=longest * sum(widths) * itemsize + numbers)


def weight_gathered(vocab_size: int, width: int, *, itemsize: int, ranks: int) -> float:
    """Bytes that a rank sends where the weight is gathered and its gradient reduce-scattered instead.

    Example:
        >>> weight_gathered(32768, 512, itemsize=4, ranks=2) / 2**20  # MiB
        64.0
    """
    return 2 * (ranks - 1) / ranks * vocab_size * width * itemsize


def _of_states(rows: int, width: int, itemsize: int, adapter_rank: int, *, trained: bool, partial: bool) -> Payload:
    """The gradients of the hidden states and of an adapter's first product."""
    widths = [width] if trained and not partial else []
    widths += [adapter_rank] if adapter_rank else []
    return Payload(collectives=len(widths), reduced=rows * sum(widths) * itemsize)
