"""Drafts are taken such that tokens are distributed as the model says, whatever the drafts were drawn from."""

import pytest
import torch

from lmhead.generation.acceptance import accept

N = 40_000
P = torch.tensor([[0.5, 0.3, 0.15, 0.05, 0.0], [0.1, 0.1, 0.2, 0.2, 0.4], [0.0, 0.0, 0.7, 0.3, 0.0]])
FAR = torch.tensor([[0.05, 0.0, 0.15, 0.3, 0.5], [0.4, 0.3, 0.3, 0.0, 0.0]])
ONE = torch.tensor([[0.0, 0.0, 0.0, 0.0, 1.0], [1.0, 0.0, 0.0, 0.0, 0.0]])


def drawn(q, counts, *, seed=0):
    """(taken, token behind, drafts) of N rows whose drafts were drawn from q [2, V]."""
    generator = torch.Generator().manual_seed(seed)
    drafts = torch.multinomial(q, N, replacement=True, generator=generator).T
    taken, behind = accept(drafts, q.expand(N, -1, -1), P.expand(N, -1, -1), counts, generator=generator)
    return taken, behind, drafts


def chi_square(counted, expected):
    """By the degrees of freedom; nothing may be counted where nothing is expected."""
    assert counted[expected == 0].sum() == 0
    cells = expected > 0
    return float(((counted - expected)[cells] ** 2 / expected[cells]).sum()) / (int(cells.sum()) - 1)


@pytest.mark.parametrize("q", [P[:2], FAR, ONE], ids=["its own", "far", "one token"])
def test_the_first_token_is_distributed_as_the_model_says(q):
    taken, behind, drafts = drawn(q, torch.full((N,), 2))
    first = torch.where(taken > 0, drafts[:, 0], behind)
    assert chi_square(first.bincount(minlength=5).float(), P[0] * N) < 3


@pytest.mark.parametrize("q", [P[:2], FAR, ONE], ids=["its own", "far", "one token"])
def test_the_second_token_is_independent_of_whether_the_first_was_taken(q):
    taken, behind, drafts = drawn(q, torch.full((N,), 2))
    second = torch.where(taken > 1, drafts[:, 1], behind)[taken > 0]
    if len(second):
        assert chi_square(second.bincount(minlength=5).float(), P[1] * len(second)) < 3


def test_the_token_behind_all_drafts_is_the_models():
    taken, behind, _ = drawn(P[:2], torch.full((N,), 2))
    assert bool((taken == 2).all())  # drafted from p itself: all are taken
    assert chi_square(behind.bincount(minlength=5).float(), P[2] * N) < 3


def test_as_many_are_taken_as_the_distributions_overlap():
    taken, _, _ = drawn(FAR, torch.full((N,), 2))
    overlap = torch.minimum(P[:2], FAR).sum(-1)
    assert float((taken > 0).float().mean()) == pytest.approx(float(overlap[0]), abs=0.01)
    assert float((taken > 1).sum() / (taken > 0).sum()) == pytest.approx(float(overlap[1]), abs=0.02)


def test_drafts_beyond_a_rows_count_are_not_looked_at():
    counts = torch.arange(N) % 3
    taken, behind, _ = drawn(P[:2], counts)
    assert torch.equal(taken, counts)
    for count in range(3):
        part = behind[counts == count]
        assert chi_square(part.bincount(minlength=5).float(), P[count] * len(part)) < 3


def test_without_drafts_a_token_is_drawn_from_the_model():
    none = torch.empty(N, 0, dtype=torch.long)
    generator = torch.Generator().manual_seed(0)
    taken, behind = accept(
        none, torch.empty(N, 0, 5), P[:1].expand(N, -1, -1), torch.zeros(N, dtype=torch.long), generator=generator
    )
    assert not taken.any()
    assert chi_square(behind.bincount(minlength=5).float(), P[0] * N) < 3
