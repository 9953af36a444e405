"""One autocast region around several steps: what was cast before a backward is not used after it."""

from contextlib import nullcontext

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from lmhead import linear_cross_entropy


def losses(*, around_all: bool, recomputed: bool) -> list[Tensor]:
    torch.manual_seed(0)
    body, weight = nn.Linear(8, 8, bias=False), nn.Parameter(torch.randn(11, 8))
    x, targets = torch.randn(5, 8), torch.randint(0, 11, (5,))
    optimizer = torch.optim.SGD([*body.parameters(), weight], lr=1.0)
    with torch.autocast("cpu", torch.bfloat16) if around_all else nullcontext():  # a region that is off counts, too
        found = []
        for _ in range(3):
            with torch.autocast("cpu", torch.bfloat16):
                hidden = checkpoint(body, x, use_reentrant=False) if recomputed else body(x)
                loss = linear_cross_entropy(hidden, weight, targets)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            found.append(loss.detach())
    return found


@pytest.mark.parametrize("recomputed", [False, True], ids=["kept", "recomputed"])
def test_a_region_around_all_steps_reads_the_weights_of_each(recomputed):
    """torch alone casts once: the second loss is the first one's but for the head's step."""
    assert losses(around_all=True, recomputed=recomputed) == losses(around_all=False, recomputed=recomputed)
