"""PackedBatch: rows of documents, and what each position has to predict: what trains a model, and what scores one."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lmhead.errors import ArgumentTypeError, require
from lmhead.labels.packing.attention_mask import (
    MaskMod,
    block_mask,
    cumulative_lengths,
    mask_mod,
    restarting_positions,
    sdpa_mask,
)
from lmhead.labels.packing.overflow import Piece
from lmhead.labels.targets import Reason, Targets

if TYPE_CHECKING:
    from torch.nn.attention.flex_attention import BlockMask


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PackedBatch:
    """R rows of T tokens, with the targets, and whether the documents in a row see one another.

        loss = model.loss(batch.ids, batch.targets, document=batch.document)      # lmhead.GPT isolates by document
        logits = model(**batch.for_transformers()).logits                         # a transformers model, by its mask

    Isolation needs all of it: positions that restart, a mask or a kernel that knows the documents, no first token of a
    document predicted from another (`targets` see to that), and padding as a segment of its own. Whether a model keeps
    documents apart, `lmhead.check_isolation(model, batch)` finds out.
    """

    ids: Tensor  # [R, T] int64
    targets: Targets  # [R, T]: the id to predict FROM t, its weight or why it is not scored, the document of t
    sources: tuple[tuple[int, ...], ...]  # of each row's documents: which of the given examples they come from
    isolated: bool = True  # attention stays within a document; else it crosses them, and a row is read as one text
    before: tuple[int, ...] | None = None  # of each row: tokens of its first document that stand before it; None: 0

    @staticmethod
    def of(rows: Sequence[Sequence[Piece]], *, length: int, pad_id: int = 0) -> "PackedBatch":
        """A batch of rows that are each a list of pieces, padded with `pad_id` to `length`.

        Raises:
            ArgumentError: a row's pieces have more than `length` tokens, or there is no row.
            ArgumentTypeError: the rows are no lists of pieces.
        """
        pieces = [piece for row in rows for piece in row] if _nested(rows) else [None]
        if not all(isinstance(piece, Piece) for piece in pieces):
            raise ArgumentTypeError(
                "rows must be lists of pieces, got something else: lmhead.pack makes them of Examples"
            )
        require(len(rows) > 0, "rows", "be at least one", 0)
        longest = max(sum(len(piece) for piece in row) for row in rows)
        require(longest <= length, "rows", f"have at most {length} tokens", longest)
        numbers = [np.repeat(np.arange(len(row)), [len(piece) for piece in row]) for row in rows]
        document = _padded(numbers, length, -1, np.int64)
        ids = _padded([_column(row, "ids") for row in rows], length, pad_id, np.int64)
        reason = _padded([_column(row, "reason") for row in rows], length, int(Reason.PADDING), np.uint8)
        weight = None
        if any(piece.example.weight is not None for row in rows for piece in row):
            weight = _padded([_column(row, "weight") for row in rows], length, 0.0, np.float32)
        targets = Targets.from_labels(ids, document=document, weight=weight, reason=reason)
        return PackedBatch(
            ids=ids,
            targets=replace(targets, reason=_with_cuts(targets.reason, rows)),
            sources=tuple(tuple(piece.index for piece in row) for row in rows),
        )

    @property
    def document(self) -> Tensor:
        """int64 [R, T]: the number of each position's document, -1 for padding."""
        assert self.targets.document is not None
        return self.targets.document

    @property
    def attention_document(self) -> Tensor | None:
        """int64 [R, T]: what attention stays within, as lmhead.GPT takes it; None where it crosses documents."""
        return self.document if self.isolated else None

    @property
    def labels(self) -> Tensor:
        """int64 [R, T]: the id AT t where it is learnt, -100 elsewhere and at the start of each document."""
        return self.targets.labels

    @property
    def positions(self) -> Tensor:
        """int64 [R, T], from 0 in each document and in the padding; where attention crosses them, in each row."""
        return restarting_positions(self._segment)

    @property
    def document_positions(self) -> Tensor:
        """int64 [R, T]: which token of its document each is, from 0, whatever of it stands in rows before this one."""
        positions = restarting_positions(self.document)
        if self.before is None:
            return positions
        first = (self.document == self.document[:, :1]) & (self.document >= 0)
        return positions + torch.tensor(self.before, device=positions.device)[:, None].where(first, 0)

    @property
    def source(self) -> Tensor:
        """int64 [R, T]: which of the given examples each position comes from, -1 for padding."""
        number = torch.zeros_like(self.document)
        number[:, 1:] = (self.document[:, 1:] != self.document[:, :-1]).cumsum(1)
        most = max(map(len, self.sources), default=0) + 1
        listed = torch.tensor([[*row, *[-1] * (most - len(row))] for row in self.sources], device=number.device)
        return listed.gather(1, number.clamp(max=most - 1)).masked_fill(self.document < 0, -1)

    def row(self, number: int) -> "PackedBatch":
        """One row of it without the padding at its end, as a batch [1, T]."""
        at = slice(number, number + 1)
        length = int((self.document[number] >= 0).nonzero().max()) + 1
        targets = self.targets.rows(at).up_to(length)
        reason = targets.reason.masked_fill(targets.reason == int(Reason.PADDING), int(Reason.END_OF_ROW))
        return replace(
            self,
            ids=self.ids[at, :length],
            targets=replace(targets, reason=reason),
            sources=self.sources[at],
            before=None if self.before is None else self.before[at],
        )

    def unscored(self) -> "PackedBatch":
        """The same rows, of which nothing is learnt: for a rank that has none of its own, and must take part."""
        return replace(self, targets=self.targets.unscored())

    @property
    def cu_seqlens(self) -> Tensor:
        """int32 [S + 1]: where each document begins, rows end to end, padding as a segment of its own, and R * T."""
        return cumulative_lengths(self._segment)

    @property
    def max_seqlen(self) -> int:
        """Tokens of the longest segment, padding included: kernels allocate by it."""
        return int(self.cu_seqlens.diff().max())

    def attention_mask(self, *, dtype: torch.dtype | None = None) -> Tensor:
        """[R, 1, T, T] for scaled_dot_product_attention: True where a query may look; with a dtype 0 there, or -inf."""
        return sdpa_mask(self._segment, dtype=dtype)

    def mask_mod(self) -> MaskMod:
        """The same as FlexAttention's function (row, head, query, key) -> bool."""
        return mask_mod(self._segment)

    def block_mask(self, *, block_size: int = 128) -> "BlockMask":
        """The same as FlexAttention's BlockMask, which skips blocks that nothing looks into."""
        return block_mask(self._segment, block_size=block_size)

    def for_transformers(self, *, dtype: torch.dtype | None = None) -> dict[str, Tensor]:
        """Keywords of a transformers model: input_ids, labels, position_ids [R, T] and attention_mask [R, 1, T, T].

        Right for `attn_implementation="sdpa"`; for "eager" give the model's dtype, since eager attention adds the mask.
        Layers with a sliding window lose it, since a 4-D mask takes the place of theirs: where documents are longer
        than the window, give position_ids and use_cache=False alone (docs/data/packing.md).
        """
        return {
            "input_ids": self.ids,
            "labels": self.labels,
            "position_ids": self.positions,
            "attention_mask": self.attention_mask(dtype=dtype),
        }

    def to(self, device: torch.device | str) -> "PackedBatch":
        """The same batch on `device`."""
        return replace(
            self,
            ids=self.ids.to(device),
            targets=self.targets.to(device),
        )

    @property
    def _segment(self) -> Tensor:
        """int64 [R, T]: within one number, a position sees all that stands before it."""
        return self.document if self.isolated else torch.zeros_like(self.document)


def _nested(rows: object) -> bool:
    return isinstance(rows, Sequence) and all(isinstance(row, Sequence) and not isinstance(row, str) for row in rows)


def _column(row: Sequence[Piece], name: str) -> npt.NDArray[np.generic]:
    """One array of a row's examples, end to end; a weight that an example has not is 1."""
    parts = [(getattr(piece.example, name), piece) for piece in row]
    return np.concatenate(
        [
            np.ones(len(piece), np.float32) if array is None else array[piece.start : piece.stop]
            for array, piece in parts
        ]
        or [np.empty(0)]
    )


def _padded(rows: Sequence[npt.NDArray[np.generic]], length: int, fill: float, dtype: npt.DTypeLike) -> Tensor:
    full = np.full((len(rows), length), fill, dtype=dtype)
    for number, row in enumerate(rows):
        full[number, : len(row)] = row
    return torch.from_numpy(full)


def _with_cuts(reason: Tensor, rows: Sequence[Sequence[Piece]]) -> Tensor:
    """Reasons [R, T] that are TRUNCATED at the end of each piece whose example goes on."""
    reason = reason.clone()
    for number, row in enumerate(rows):
        stop = 0
        for piece in row:
            stop += len(piece)
            if piece.cut_off:
                reason[number, stop - 1] = int(Reason.TRUNCATED)
    return reason
