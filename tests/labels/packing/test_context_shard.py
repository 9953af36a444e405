"""Context-parallel labels: the parts of whole rows score what the whole rows score, at every depth, wherever cut."""

import pytest
import torch
from torch import Tensor

from lmhead.errors import ArgumentError
from lmhead.labels.packing.attention_mask import restarting_positions, sdpa_mask
from lmhead.labels.packing.context_shard import ORDERS, ContextShard
from lmhead.labels.targets import Reason, Targets
from lmhead.losses.token_mean import depth_weights


def rows(seed: int, *, documents: bool = True, weighted: bool = True) -> tuple[Tensor, Targets, Tensor | None]:
    """Random rows of documents, some of them padded, some tokens not learnt; (ids, targets, documents)."""
    draw = torch.Generator().manual_seed(seed)
    B, T = int(torch.randint(1, 4, (1,), generator=draw)), int(torch.randint(1, 24, (1,), generator=draw))
    ids = torch.randint(1, 50, (B, T), generator=draw)
    document = None
    if documents:
        document = (torch.rand(B, T, generator=draw) < 0.2).cumsum(1)
        document[:, max(T - int(torch.randint(0, 3, (1,), generator=draw)), 1) :] = -1
    weight = torch.rand(B, T, generator=draw) if weighted else None
    learnt = torch.rand(B, T, generator=draw) < 0.7
    targets = Targets.from_labels(ids.where(learnt, -100), document=document, weight=weight)
    return ids, targets, document


CASES = [(seed, size, order) for seed in range(12) for size in (1, 2, 3, 4) for order in ORDERS]


@pytest.mark.parametrize("documents", [True, False])
def test_the_parts_together_score_what_the_rows_score_at_every_depth(documents: bool) -> None:
    for seed, size, order in CASES:
        ids, targets, document = rows(seed, documents=documents, weighted=seed % 2 == 0)
        depth = seed % 4
        cut = [
            ContextShard.of(ids, targets, rank=rank, size=size, document=document, order=order, depth=depth)
            for rank in range(size)
        ]
        for k in range(1, 2 + depth):
            whole, parts = targets.at(k), [part.targets.at(k) for part in cut]
            for column in ("ids", "reason", "weight"):
                if getattr(whole, column) is not None:
                    joined = torch.cat([getattr(part, column) for part in parts], 1)
                    assert torch.equal(cut[0].in_row_order(joined), getattr(whole, column))
            assert sum(part.count for part in parts) == whole.count
        sums = torch.stack([depth_weights(part.targets, mtp_depth=depth) for part in cut]).sum(0)
        torch.testing.assert_close(sums, depth_weights(targets, mtp_depth=depth))
        joined = torch.cat([part.targets.labels for part in cut], 1)
        assert torch.equal(cut[0].in_row_order(joined), targets.labels)


def test_ids_documents_and_positions_are_those_of_the_rows() -> None:
    for seed, size, order in CASES:
        ids, targets, document = rows(seed)
        assert document is not None
        cut = [
            ContextShard.of(ids, targets, rank=rank, size=size, document=document, order=order) for rank in range(size)
        ]
        join = cut[0].in_row_order
        assert torch.equal(join(torch.cat([part.ids for part in cut], 1)), ids)
        assert torch.equal(join(torch.cat([part.document for part in cut], 1)), document)  # type: ignore[misc]
        assert torch.equal(join(torch.cat([part.positions for part in cut], 1)), restarting_positions(document))
        for k in range(3):
            ahead = torch.cat([ids[:, k:], torch.zeros_like(ids[:, :k])], 1)[:, : ids.shape[1]]
            assert torch.equal(join(torch.cat([part.ids_ahead(k) for part in cut], 1)), ahead)


@pytest.mark.parametrize("documents", [True, False])
def test_masks_of_the_parts_are_the_rows_of_the_whole_mask(documents: bool) -> None:
    for seed, size, order in CASES:
        ids, targets, document = rows(seed, documents=documents)
        cut = [
            ContextShard.of(ids, targets, rank=rank, size=size, document=document, order=order) for rank in range(size)
        ]
        mask = cut[0].in_row_order(torch.cat([part.sdpa_mask() for part in cut], 2), 2)
        whole = sdpa_mask(torch.zeros_like(ids) if document is None else document)
        assert torch.equal(cut[0].in_row_order(mask, 3).expand(whole.shape), whole)
        assert all(part.sdpa_mask().any(-1).all() for part in cut)  # a softmax over nothing would be NaN


def test_what_a_row_lacks_is_padding_that_nothing_scores_and_nobody_sees() -> None:
    ids = torch.arange(1, 6)[None]
    targets = Targets.from_labels(ids)
    last = ContextShard.of(ids, targets, rank=3, size=4, pad_id=9)
    assert (last.ids.tolist(), last.targets.count, last.places.tolist()) == ([[9, 9]], 0, [6, 7])
    assert last.targets.tally() == {Reason.PADDING: 2}
    third = ContextShard.of(ids, targets, rank=2, size=4)
    assert third.sdpa_mask()[0, 0, 0].tolist() == [True] * 5 + [False] * 3


def test_a_rank_reads_a_piece_of_either_half_where_the_load_is_balanced() -> None:
    ids = torch.arange(8)[None]
    parts = [ContextShard.of(ids, Targets.from_labels(ids), rank=r, size=2, order="head_tail") for r in range(2)]
    assert [part.ids[0].tolist() for part in parts] == [[0, 1, 6, 7], [2, 3, 4, 5]]


def test_a_part_moves_and_is_cut_to_rows_with_what_it_knows_of_whole_rows() -> None:
    ids, targets, document = rows(3)
    part = ContextShard.of(ids, targets, rank=0, size=2, document=document).targets
    assert torch.equal(part.rows(slice(0, 1)).at(2).ids, part.at(2).ids[:1])
    assert torch.equal(part.up_to(1).at(2).ids, part.at(2).ids[:, :1])
    moved = part.to("meta")
    assert moved.whole is not None
    assert moved.places is not None
    assert moved.whole.ids.is_meta == moved.places.is_meta is True


def test_bad_input_gets_one_line() -> None:
    ids = torch.zeros(2, 5, dtype=torch.long)
    targets = Targets.from_labels(ids)
    with pytest.raises(ArgumentError, match=r"rank must be less than size = 2, got 2"):
        ContextShard.of(ids, targets, rank=2, size=2)
    with pytest.raises(ArgumentError, match=r"targets must be \[2, 5\], as ids, got \[2, 4\]"):
        ContextShard.of(ids, targets.up_to(4), rank=0, size=2)
    with pytest.raises(ArgumentError, match=r"order must be"):
        ContextShard.of(ids, targets, rank=0, size=2, order="ring")  # type: ignore[arg-type]
    part = ContextShard.of(ids, targets, rank=0, size=2).targets
    with pytest.raises(ArgumentError, match=r"targets must be weighted as whole rows, got a part of them"):
        part.weighted(torch.ones(2, 3))
    with pytest.raises(ArgumentError, match=r"targets must be those of whole rows, got a part of them"):
        part.at_places(torch.tensor([0]))


def test_a_part_of_rows_of_which_nothing_is_learnt_scores_nothing_at_any_depth() -> None:
    targets = Targets.from_labels(torch.arange(12).reshape(2, 6)).at_places(torch.tensor([1, 2, 3])).unscored()
    assert [targets.at(k).count for k in (1, 2, 3)] == [0, 0, 0]
    assert depth_weights(targets, mtp_depth=2).tolist() == [0, 0, 0]
