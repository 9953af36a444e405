"""HeldRows: which rows of a vocabulary-parallel head a problem's `weight` is, as plain values for a custom op."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldRows:
    """Rows start, start + 1, .. of a head of `vocab_size`; the ranks of `group` hold all, in their order."""

    start: int = 0  # the token whose row is `weight`'s first
    vocab_size: int = 0  # V of all ranks together; 0: the weight is the whole head
    group: str = ""  # the process group's name
    partial_hidden_gradient: bool = False  # what hidden states get is this rank's part of a sum


ALL_ROWS = HeldRows()  # nothing is cut
