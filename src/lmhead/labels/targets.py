"""Targets: what each position has to predict, whether it is scored, and why not. Ids are shifted here and nowhere else.

    position       0    1    2    3    4
    labels         A    B    C    D    E      the token AT t
    targets        B    C    D    E    -      the token to predict FROM t, `at(1)`
    two ahead      C    D    E    -    -      `at(2)`, what the first extra depth of multi-token prediction learns

Not here: how text becomes ids and roles (chat/), how documents become rows (packing/).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import IntEnum

import torch
from torch import Tensor

from lmhead.errors import IGNORE_INDEX, ArgumentError, ArgumentTypeError, require, require_kind
from lmhead.ops.checks import check_choices, check_tensor
from lmhead.ops.tensor_values import may_be_read


class Reason(IntEnum):
    """Why a position is not scored; SCORED where it is. From 16 up: whose text the token to predict is."""

    SCORED = 0
    IGNORED = 1  # the token to predict is ignore_index
    END_OF_ROW = 2  # nothing follows
    DOCUMENT_BOUNDARY = 3  # what follows belongs to another document
    PADDING = 4  # the position, or what it would predict, is padding
    ZERO_WEIGHT = 5  # the token to predict weighs 0
    OVERLAP = 6  # the window before scores it

    SYSTEM = 16
    USER = 17
    TOOL = 18  # what a tool answered
    TOOL_SCHEMA = 19  # what tools there are
    OTHER_ROLE = 20
    SCAFFOLD = 21  # the chat template's own text: headers, separators, what inference puts there
    EARLIER_TURN = 22  # an assistant's turn before the last, where only the last is trained
    EXCLUDED = 23  # an assistant's turn with `train: false`
    REASONING = 24  # an assistant's reasoning, where reasoning is not trained
    TRUNCATED = 25  # cut off: the rest of a turn whose beginning is gone, or what would follow a piece of a document
    PROMPT = 26  # the prompt of a prompt and a completion


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Targets:
    """Rows of ids already shifted, with weight, reason and document of each position. Made by `from_labels`.

    Tensors have one shape [..., T] and live on one device; rows are the last dimension.
    """

    ids: Tensor  # [..., T] int64: the token to predict from each position, ignore_index where it is not scored
    weight: Tensor | None = None  # [..., T] float, 0 where not scored; None: 1 where scored
    reason: Tensor  # [..., T] uint8, values of Reason
    document: Tensor | None = None  # [..., T] int, of the position itself; negative is padding; None: a row is one
    ignore_index: int = IGNORE_INDEX
    offset: int = 1  # how many tokens ahead the predicted token lies
    whole: "Targets | None" = None  # of the whole rows, where these are some of their positions
    places: Tensor | None = None  # [T] int64: where these positions stand in the whole rows; behind them is padding

    @staticmethod
    def from_labels(
        labels: Tensor,  # [..., T] integer
        *,
        document: Tensor | None = None,  # [..., T] integer
        attention_mask: Tensor | None = None,  # [..., T] bool or 0/1
        weight: Tensor | None = None,  # [..., T] float
        reason: Tensor | None = None,  # [..., T] uint8, values of Reason
        ignore_index: int = IGNORE_INDEX,
    ) -> "Targets":
        """Targets [..., T] of the next token, from labels aligned with the inputs: `labels[t]` is the token AT t.

        Without options equal to

            ids = torch.cat([labels[..., 1:], torch.full_like(labels[..., :1], ignore_index)], -1)

        Args:
            document: which document each position belongs to; negative is padding. Nothing is scored across a change.
            attention_mask: 1 where there is a token, 0 for padding. Padding is what this or `document` says, never
                an id: where padding and end-of-sequence share one, the end of a text is still learned.
            weight: of predicting `labels[t]`, so it is shifted with the labels.
            reason: why `labels[t]` is not learnt, SCORED where it may be; shifted with the labels. It says more than
                IGNORED where a label is `ignore_index`, and keeps a label that is an id from being scored.

        Raises:
            ArgumentError: a shape or a dtype breaks its rule, or the mask numbers documents (give `document`).
            ArgumentTypeError: an argument is of the wrong kind.

        Example:
            >>> Targets.from_labels(torch.tensor([5, 6, 7, 8]), document=torch.tensor([0, 0, 1, 1])).ids
            tensor([   6, -100,    8, -100])
        """
        labels_themselves = _classified("labels", labels, document, attention_mask, weight, ignore_index, 0, reason)
        return labels_themselves._one_further()

    @staticmethod
    def from_targets(
        targets: Tensor,  # [..., T] integer
        *,
        document: Tensor | None = None,  # [..., T] integer
        attention_mask: Tensor | None = None,  # [..., T] bool or 0/1
        weight: Tensor | None = None,  # [..., T] float
        ignore_index: int = IGNORE_INDEX,
    ) -> "Targets":
        """Targets [..., T] from ids that are shifted already: `targets[t]` is the token to predict FROM t.

        `weight` is aligned with the targets; `document` and `attention_mask` are, as always, of the positions.
        Where the next position belongs to another document or is padding, nothing is scored.

        Raises:
            ArgumentError: a shape or a dtype breaks its rule.
            ArgumentTypeError: an argument is of the wrong kind.

        Example:
            >>> Targets.from_targets(torch.tensor([6, 7, -100])).count
            2
        """
        made = _classified("targets", targets, document, attention_mask, weight, ignore_index, 1)
        return made._closed(made.reason)

    def at(self, offset: int) -> "Targets":
        """Targets [..., T] for predicting `offset` tokens ahead: 1 is the next token, MTP's depth k predicts k + 1.

        The same rows: positions with nothing that far ahead are END_OF_ROW, and no document is left on the way.

        Raises:
            ArgumentError: `offset` lies before the one that these Targets have.
            ArgumentTypeError: `offset` is no integer.

        Example:
            >>> Targets.from_labels(torch.tensor([5, 6, 7, 8])).at(2).ids
            tensor([   7,    8, -100, -100])
        """
        require_kind("offset", offset, int)
        require(offset >= self.offset, "offset", f"be at least {self.offset}, that of these Targets", offset)
        if self.whole is not None and self.places is not None:  # what follows these positions stands elsewhere
            return self.whole.at(offset).at_places(self.places)
        further = self
        for _ in range(offset - self.offset):
            further = further._one_further()
        return further

    def at_places(self, places: Tensor) -> "Targets":
        """These Targets at some positions of each row [..., S], of every depth: `at` knows the whole rows.

        Args:
            places: [S] int64, not negative; a place behind the row is padding.

        Raises:
            ArgumentError: `places` have another shape, or these are a part of rows already.

        Example:
            >>> half = Targets.from_labels(torch.tensor([5, 6, 7, 8])).at_places(torch.tensor([0, 1]))
            >>> half.ids, half.at(2).ids
            (tensor([6, 7]), tensor([7, 8]))
        """
        check_tensor("places", places, integral=True)
        require(places.dim() == 1, "places", "be [S]", tuple(places.shape))
        require(self.whole is None, "targets", "be those of whole rows", "a part of them")
        places = places.to(self.ids.device)
        part = self._each(
            lambda column, fill: at_places(column, places, fill), reason=int(Reason.PADDING), ids=self.ignore_index
        )
        return replace(part, whole=self, places=places)

    def weighted(self, weight: Tensor) -> "Targets":
        """The same Targets with each position's weight multiplied by `weight` [..., T], which is aligned with `ids`.

        Raises:
            ArgumentError: `weight` has another shape.
            ArgumentTypeError: `weight` is no Tensor.
        """
        require(self.whole is None, "targets", "be weighted as whole rows", "a part of them", "weigh, then cut")
        check_like_ids("token_weight", weight, self.ids.shape)
        total = weight if self.weight is None else self.weight * weight.to(self.weight)
        zero = (total == 0) & self.scored
        reason = self.reason.masked_fill(zero, Reason.ZERO_WEIGHT)
        return replace(self, weight=_as_weight(total), reason=reason)._closed(reason)

    def up_to(self, length: int) -> "Targets":
        """The first `length` positions of each row [..., length].

        Example:
            >>> Targets.from_labels(torch.tensor([5, 6, 7])).up_to(2).ids  # the last token is only predicted
            tensor([6, 7])
        """
        cut = self._each(lambda column, _: column[..., :length])
        return cut if self.places is None else replace(cut, places=self.places[:length])

    def rows(self, which: slice) -> "Targets":
        """Those of some rows [.., T]: a slice of the first dimension."""
        return self._each(lambda column, _: column[which], of_rows=lambda whole: whole.rows(which))

    def unscored(self) -> "Targets":
        """The same positions, none of them scored: IGNORED where they were."""
        reason = self.reason.masked_fill(self.scored, int(Reason.IGNORED))
        return replace(
            self,
            ids=torch.full_like(self.ids, self.ignore_index),
            weight=None if self.weight is None else torch.zeros_like(self.weight),
            reason=reason,
            whole=None if self.whole is None else self.whole.unscored(),
        )

    def to(self, device: torch.device | str) -> "Targets":
        """The same Targets on `device`."""
        if self.ids.device == torch.device(device):
            return self
        moved = self._each(lambda column, _: column.to(device), of_rows=lambda whole: whole.to(device))
        return moved if self.places is None else replace(moved, places=self.places.to(device))

    def _each(
        self,
        change: Callable[[Tensor, int], Tensor],
        *,
        ids: int = 0,
        reason: int = 0,
        of_rows: Callable[["Targets"], "Targets"] = lambda whole: whole,
    ) -> "Targets":
        """With every column changed alike: change(column, what it holds where there is nothing)."""
        return replace(
            self,
            ids=change(self.ids, ids),
            reason=change(self.reason, reason),
            weight=None if self.weight is None else change(self.weight, 0),
            document=None if self.document is None else change(self.document, -1),
            whole=None if self.whole is None else of_rows(self.whole),
        )

    @property
    def shape(self) -> torch.Size:
        """[..., T]."""
        return self.ids.shape

    @property
    def scored(self) -> Tensor:
        """bool [..., T]: the position contributes to the loss."""
        return self.reason == int(Reason.SCORED)

    @property
    def labels(self) -> Tensor:
        """int64 [..., T]: the token AT t where the position before it is scored, elsewhere ignore_index.

        What the last position of a row predicts stands behind the row, and has no label.

        Raises:
            ArgumentError: these are targets of several tokens ahead.

        Example:
            >>> Targets.from_labels(torch.tensor([5, 6, 7]), document=torch.tensor([0, 0, 1])).labels
            tensor([-100,    6, -100])
        """
        require(self.offset == 1, "targets", "be those of the next token, at(1)", f"at({self.offset})")
        if self.whole is not None and self.places is not None:
            return at_places(self.whole.labels, self.places, self.ignore_index)
        labels = torch.full_like(self.ids, self.ignore_index)
        labels[..., 1:] = self.ids[..., :-1]
        return labels

    @property
    def count(self) -> int:
        """Number of scored positions."""
        return int(self.scored.sum())

    def tally(self) -> dict[Reason, int]:
        """Number of positions for each reason that occurs; scored ones first."""
        counts = torch.bincount(self.reason.reshape(-1).long()).tolist()
        return {Reason(value): count for value, count in enumerate(counts) if count}

    def _one_further(self) -> "Targets":
        """What position t + 1 has to predict, position t has to predict now."""
        reason = _from_next(self.reason, int(Reason.END_OF_ROW))
        weight = None if self.weight is None else _from_next(self.weight, 0)
        further = replace(
            self, ids=_from_next(self.ids, self.ignore_index), weight=weight, reason=reason, offset=self.offset + 1
        )
        return further._closed(reason)

    def _closed(self, reason: Tensor) -> "Targets":
        """Nothing is scored across the border of a document or in padding; what is not scored has no id and no weight.

        Together with `_one_further` this holds for any offset: the steps before have closed the borders further on.
        """
        if self.document is not None:
            following = self.document.clone()
            following[..., :-1] = self.document[..., 1:]
            final = (reason == int(Reason.END_OF_ROW)) | (reason == int(Reason.PADDING))
            reason = reason.masked_fill((following != self.document) & ~final, int(Reason.DOCUMENT_BOUNDARY))
            reason = reason.masked_fill((self.document < 0) | ((following < 0) & ~final), int(Reason.PADDING))
        silent = reason != int(Reason.SCORED)
        return replace(
            self,
            ids=self.ids.masked_fill(silent, self.ignore_index),
            weight=None if self.weight is None else self.weight.masked_fill(silent, 0),
            reason=reason,
        )


def shift_labels(
    labels: Tensor,  # [..., T]
    *,
    ignore_index: int = IGNORE_INDEX,
) -> Tensor:
    """Targets [..., T] as a plain tensor: the token to predict FROM each position, from labels [..., T].

    Raises:
        ArgumentError: they are no integers.
        ArgumentTypeError: they are no Tensor.

    Example:
        >>> shift_labels(torch.tensor([[5, 6, 7]]))
        tensor([[   6,    7, -100]])
    """
    return Targets.from_labels(labels, ignore_index=ignore_index).ids


def at_places(rows: Tensor, places: Tensor, fill: int) -> Tensor:
    """The columns [..., S] of rows [..., T] at `places` [S], `fill` at those behind the row."""
    T = rows.shape[-1]
    if T == 0:
        return rows.new_full((*rows.shape[:-1], len(places)), fill)
    return rows[..., places.clamp(max=T - 1)].masked_fill(places >= T, fill)


def _from_next(rows: Tensor, fill: int) -> Tensor:
    """Each position holds what its successor held; the last one holds `fill`. The one shift of this library."""
    shifted = torch.full_like(rows, fill)
    shifted[..., :-1] = rows[..., 1:]
    return shifted


def _classified(
    name: str,
    ids: Tensor,
    document: Tensor | None,
    attention_mask: Tensor | None,
    weight: Tensor | None,
    ignore_index: int,
    offset: int,
    why: Tensor | None = None,
) -> Targets:
    """Targets of ids that predict `offset` ahead, with the reasons that an id and its weight give by themselves."""
    if not isinstance(ids, Tensor):
        raise ArgumentTypeError(f"{name} must be a Tensor, got {type(ids).__name__}")
    check_choices(ignore_index, None)
    rows = offset == 0 or document is not None or attention_mask is not None
    require(not rows or ids.dim() >= 1, name, "be rows [..., T]", f"shape {tuple(ids.shape)}")
    _check_integers(name, ids)
    ids = ids.long()
    if document is not None:
        check_like_ids("document", document, ids.shape)
        _check_integers("document", document)
        document = document.to(ids.device).long()
    if attention_mask is not None:
        document = _without_padding(ids, document, attention_mask)
    reason = torch.zeros_like(ids, dtype=torch.uint8)
    if weight is not None:
        check_like_ids("weight", weight, ids.shape)
        weight = _as_weight(weight.to(ids.device))
        reason = reason.masked_fill(weight == 0, Reason.ZERO_WEIGHT)
    reason = reason.masked_fill(ids == ignore_index, Reason.IGNORED)
    if why is not None:
        check_like_ids("reason", why, ids.shape)
        _check_integers("reason", why)
        reason = torch.where(why == int(Reason.SCORED), reason, why.to(reason))
    return Targets(ids=ids, weight=weight, reason=reason, document=document, ignore_index=ignore_index, offset=offset)


def _without_padding(ids: Tensor, document: Tensor | None, attention_mask: Tensor) -> Tensor:
    """Documents [..., T] that are -1 where the mask says padding."""
    check_like_ids("attention_mask", attention_mask, ids.shape)
    mask = attention_mask.to(ids.device)
    if may_be_read(mask) and bool((mask > 1).any()):
        raise ArgumentError(
            f"attention_mask must be 0 or 1, got {mask.max().item()}: "
            "where it numbers the documents of a packed row, give it as document=attention_mask - 1"
        )
    documents = torch.zeros_like(ids) if document is None else document
    return documents.masked_fill(mask == 0, -1)


def _as_weight(weight: Tensor) -> Tensor:
    return weight if weight.is_floating_point() else weight.float()


def check_like_ids(name: str, tensor: Tensor, shape: torch.Size) -> None:
    """Refuse a `tensor` that has not the shape of the ids that it is aligned with."""
    if not isinstance(tensor, Tensor):
        raise ArgumentTypeError(f"{name} must be a Tensor, got {type(tensor).__name__}")
    require(tensor.shape == shape, name, f"have the ids' shape {tuple(shape)}", tuple(tensor.shape))


def _check_integers(name: str, tensor: Tensor) -> None:
    integral = not (tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool)
    require(integral, name, "be integers", tensor.dtype)
