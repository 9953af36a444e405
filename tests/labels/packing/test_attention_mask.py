"""One definition of who may look at whom, and every kernel's form of it agrees."""

from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.attention.flex_attention import create_mask

from lmhead.labels.packing.attention_mask import (
    block_mask,
    cumulative_lengths,
    mask_mod,
    restarting_positions,
    sdpa_mask,
)


@st.composite
def packed(draw) -> torch.Tensor:
    """Documents [R, T] of rows that are packed at random, padding last."""
    T = draw(st.integers(1, 20))
    rows = []
    for _ in range(draw(st.integers(1, 3))):
        row: list[int] = []
        for number, size in enumerate(draw(st.lists(st.integers(1, 8), max_size=6))):
            row += [number] * min(size, T - len(row))
        rows.append(row + [-1] * (T - len(row)))
    return torch.tensor(rows)


def by_definition(document: torch.Tensor) -> torch.Tensor:
    R, T = document.shape
    looks = [
        [[key <= query and document[row, key] == document[row, query] for key in range(T)] for query in range(T)]
        for row in range(R)
    ]
    return torch.tensor(looks).unsqueeze(1)


@given(packed())
def test_all_forms_say_what_the_definition_says(document):
    R, T = document.shape
    expected = by_definition(document)
    assert torch.equal(sdpa_mask(document), expected)
    assert torch.equal(sdpa_mask(document, dtype=torch.float32) == 0, expected)
    assert torch.equal(create_mask(mask_mod(document), R, 1, T, T, device="cpu"), expected)
    assert torch.equal(from_runs(document), expected)


def from_runs(document: torch.Tensor) -> torch.Tensor:
    """The mask [R, 1, T, T] that a variable-length kernel has, which knows nothing but where each run begins."""
    R, T = document.shape
    mask = torch.zeros(R * T, R * T, dtype=torch.bool)
    bounds = cumulative_lengths(document).tolist()
    for start, stop in pairwise(bounds):
        mask[start:stop, start:stop] = True
    rows = [mask[row * T : (row + 1) * T, row * T : (row + 1) * T] for row in range(R)]
    assert mask.sum() == sum(row.sum() for row in rows)  # no run goes on in the next row
    return torch.stack(rows).tril().unsqueeze(1)


@given(packed())
def test_runs_are_bounded_by_the_positions_that_restart(document):
    starts = (restarting_positions(document).flatten() == 0).nonzero().squeeze(1).tolist()
    bounds = cumulative_lengths(document)
    assert bounds.tolist() == [*starts, document.numel()]
    assert bounds.dtype == torch.int32


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@settings(max_examples=10)
@given(st.lists(st.integers(1, 60), min_size=1, max_size=6))
def test_kernels_agree(sizes):
    T = 192
    row = [number for number, size in enumerate(sizes) for _ in range(size)][:T]
    document = torch.tensor([row + [-1] * (T - len(row)), [0] * T])
    q, k, v = torch.randn(3, 2, 2, T, 16, dtype=torch.float64)
    expected = F.scaled_dot_product_attention(q, k, v, attn_mask=sdpa_mask(document))

    from torch.nn.attention.flex_attention import flex_attention

    flexible = flex_attention(q, k, v, block_mask=block_mask(document, block_size=64))
    torch.testing.assert_close(flexible, expected)
    added = F.scaled_dot_product_attention(q, k, v, attn_mask=sdpa_mask(document, dtype=q.dtype))
    torch.testing.assert_close(added, expected)
    torch.testing.assert_close(variable_length(q, k, v, document), expected)


def variable_length(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, document: torch.Tensor) -> torch.Tensor:
    """Causal attention of each run by itself, rows end to end."""
    R, H, T, width = q.shape
    flat = [tensor.transpose(0, 1).reshape(H, R * T, width) for tensor in (q, k, v)]
    out = torch.empty_like(flat[0])
    bounds = cumulative_lengths(document).tolist()
    for start, stop in pairwise(bounds):
        out[:, start:stop] = F.scaled_dot_product_attention(*(part[:, start:stop] for part in flat), is_causal=True)
    return out.view(H, R, T, width).transpose(0, 1)


def test_blocks_that_nothing_looks_into_are_skipped():
    document = torch.arange(4).repeat_interleave(64).unsqueeze(0)
    mask = block_mask(document, block_size=64)
    assert mask.kv_num_blocks.tolist() == [[[1, 1, 1, 1]]]
    assert mask.sparsity() == pytest.approx(75.0)
