"""Context parallel: one rank's tokens of whole rows, with what each has to predict, its position and its document.

    whole row    place     0  1  2  3 | 4  5  6  -      two ranks; the last place is padding
                 ids       A  B  C  D | E  F  G  -
                 targets   B  C  D  E | F  G  -  -      shifted before the cut: D predicts E, which another rank reads

Shifted behind the cut, the last token of every part has nothing to predict, and a depth k of multi-token prediction
loses k + 1 of them, without any error. So labels, positions and documents are made of whole rows, and cut.

Not here: attention over what other ranks read (lmhead.models.context_parallel).
"""

from dataclasses import dataclass
from typing import Literal, final

import torch
from torch import Tensor

from lmhead.errors import require, require_choice, require_kind
from lmhead.labels.packing.attention_mask import restarting_positions
from lmhead.labels.targets import Targets, at_places, check_like_ids
from lmhead.ops.checks import check_tensor, require_sizes

Order = Literal["contiguous", "head_tail"]
ORDERS: tuple[Order, ...] = ("contiguous", "head_tail")


@final
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ContextShard:
    """The S of T tokens of each row that one of several ranks reads, all of which have the whole rows.

        part = ContextShard.of(ids, targets, rank=rank, size=size, document=document)
        hidden = model(part.ids, position_ids=part.positions)      # attends over all ranks' keys and values
        loss = head.loss(hidden, targets=part.targets, divisor=scored_weight(targets))   # the ranks' losses add up

    Every rank has equally many places; behind a row's end they are padding: never scored, and seen by no token.
    """

    ids: Tensor  # [B, S] int64
    targets: Targets  # [B, S]: of every depth, `at(k)` knows the whole rows
    positions: Tensor  # [1, S] or, with documents, [B, S] int64: of each token in its document
    document: Tensor | None  # [B, S] int64, negative is padding; None: a row is one
    places: Tensor  # [S] int64: of each token in its row; T and more is padding
    places_of_all: Tensor  # [size * S] int64: of every rank's tokens, the ranks one after the other
    row_ids: Tensor  # [B, T] int64: the whole rows
    row_document: Tensor | None  # [B, T]

    @staticmethod
    def of(
        ids: Tensor,  # [B, T] integer
        targets: Targets,  # [B, T]
        *,
        rank: int,
        size: int,
        document: Tensor | None = None,  # [B, T] integer
        order: Order = "contiguous",
        depth: int = 0,
        pad_id: int = 0,
    ) -> "ContextShard":
        """The part of `rank`, of `size` ranks that call this with the same rows. No rank waits for another.

        Args:
            document: what attention stays within, and positions restart in; None: the row. Targets have their own.
            order: "contiguous", or "head_tail": the rows are cut into 2 * size pieces and a rank has one of the first
                half and its mirror image of the second, so that causal attention is equally much work on all ranks
                (as torch's `context_parallel` balances its load).
            depth: of multi-token prediction; a piece has more tokens than that, so that what a token's depths predict
                stands in its own piece or in the next.
            pad_id: read behind a row's end.

        Raises:
            ArgumentError: a shape, or a number, breaks its rule.
            ArgumentTypeError: an argument is of the wrong kind.

        Example:
            >>> labels = torch.tensor([[1, 2, 3, 4, 5]])
            >>> part = ContextShard.of(labels, Targets.from_labels(labels), rank=0, size=2)
            >>> part.ids.tolist(), part.targets.ids.tolist(), part.targets.at(2).ids.tolist()
            ([[1, 2, 3]], [[2, 3, 4]], [[3, 4, 5]])
        """
        check_tensor("ids", ids, integral=True)
        require(ids.dim() == 2, "ids", "be [B, T]", tuple(ids.shape))
        require_kind("targets", targets, Targets, "make it with Targets.from_labels or Targets.from_targets")
        require(targets.shape == ids.shape, "targets", f"be {list(ids.shape)}, as ids", list(targets.shape))
        require_sizes(size=size)
        require_sizes(rank=rank, depth=depth, least=0)
        require(rank < size, "rank", f"be less than size = {size}", rank)
        require_choice("order", order, ORDERS)
        if document is not None:
            check_like_ids("document", document, ids.shape)
        T = ids.shape[1]
        of_all = _places_of_all(T, size, order, least=1 + depth, device=ids.device)
        places = of_all.view(size, -1)[rank]
        if document is None:
            positions = places.clamp(max=max(T - 1, 0))[None]
        else:
            positions = at_places(restarting_positions(document), places, 0)
        return ContextShard(
            ids=at_places(ids, places, pad_id),
            targets=targets.to(ids.device).at_places(places),
            positions=positions,
            document=None if document is None else at_places(document, places, -1),
            places=places,
            places_of_all=of_all,
            row_ids=ids,
            row_document=document,
        )

    def ids_ahead(self, k: int) -> Tensor:
        """int64 [B, S]: the id that stands k places behind each token's in its row, whoever reads it; 0 behind the row.

        What modules of multi-token prediction read beside a token's hidden state.

        Raises:
            ArgumentError: `k` is negative.
        """
        require_sizes(k=k, least=0)
        return at_places(self.row_ids, self.places + k, 0)

    def sdpa_mask(self) -> Tensor:
        """bool [B or 1, 1, S, size * S], True where this rank's query may look at a key of all ranks' in rank order.

        Causal within a document, as `lmhead.labels.packing.attention_mask.sdpa_mask` of whole rows.
        """
        mask = self.places_of_all <= self.places[:, None]
        if self.document is None or self.row_document is None:
            return mask[None, None]
        of_all = at_places(self.row_document, self.places_of_all, -1)
        return (mask & (self.document[:, :, None] == of_all[:, None, :])).unsqueeze(1)

    def in_row_order(
        self,
        gathered: Tensor,  # [B, size * S, ..]
        dim: int = 1,
    ) -> Tensor:
        """Whole rows [B, T, ..] from all ranks' parts [B, size * S, ..], one after the other along `dim`."""
        order = self.places_of_all.argsort()[: self.row_ids.shape[1]]
        return gathered.index_select(dim, order.to(gathered.device))


def _places_of_all(T: int, size: int, order: Order, *, least: int, device: torch.device) -> Tensor:
    """[size * S] int64: the places of rank 0's tokens, then rank 1's, ..."""
    pieces = size if order == "contiguous" else 2 * size
    length = max(-(-T // pieces), least)
    places = torch.arange(pieces * length, device=device).view(pieces, length)
    if order == "contiguous":
        return places.flatten()
    return torch.stack([places[:size], places[size:].flip(0)], 1).flatten()
