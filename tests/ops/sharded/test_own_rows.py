"""Own rows before a vocabulary-parallel head: what data parallel ranks with the whole head would do, in its rows."""

from typing import Any

import torch
from tests.ranks.launched import on_ranks
from torch import Tensor

import lmhead
from lmhead.ops.adapter import LowRankAdapter
from lmhead.ops.sharded.vocabulary_shard import VocabularyShard

D = 6
COUNTS = [(5, 5), (1, 7), (0, 3), (4, 0), (2, 2)]  # rows of each rank
OPTIONS: list[dict[str, Any]] = [
    {},
    {"label_smoothing": 0.1, "z_loss": 1e-2, "softcap": 3.0, "logit_scale": 0.7, "divisor": 4.0},
    {"reduction": "sum", "bias": True},
    {"token_weight": True, "class_weight": True, "divisor": 2.5},
    {"adapter": True, "token_weight": True},
]


def drawn(seed: int, V: int, counts: tuple[int, ...]) -> dict[str, Any]:
    """The same on all ranks: each one's rows, and the whole head."""
    draw = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=draw, dtype=torch.float64)

    ids = [torch.randint(0, V, (count,), generator=draw) for count in counts]
    silent = [torch.rand(count, generator=draw) < 0.3 for count in counts]
    return {
        "hidden": [normal(count, D) for count in counts],
        "targets": [of.masked_fill(none, -100) for of, none in zip(ids, silent, strict=True)],
        "weights": [torch.rand(count, generator=draw, dtype=torch.float64) for count in counts],
        "weight": normal(V, D),
        "bias": normal(V),
        "class_weight": torch.rand(V, generator=draw, dtype=torch.float64),
        "down": normal(2, D),
        "up": normal(V, 2),
    }


def one_rank(rank: int, given: dict[str, Any], options: dict[str, Any], shard: VocabularyShard | None) -> Any:
    """(the loss, statistics, gradients of hidden, weight, bias, up, down) of a rank's rows."""
    rows = slice(None)
    if shard is not None:
        rows = slice(shard.start, shard.start + given["held"])
    leaves = {"hidden": given["hidden"][rank], "down": given["down"]}
    leaves |= {name: given[name][rows] for name in ("weight", "bias", "up")}
    leaves = {name: leaf.clone().requires_grad_() for name, leaf in leaves.items()}
    how = dict(options)
    for name, value in (("bias", leaves["bias"]), ("token_weight", given["weights"][rank])):
        how |= {name: value} if name in how else {}
    how |= {"class_weight": given["class_weight"]} if "class_weight" in how else {}
    how |= {"adapter": LowRankAdapter(down=leaves["down"], up=leaves["up"])} if "adapter" in how else {}
    loss, statistics = lmhead.linear_cross_entropy(
        leaves["hidden"], leaves["weight"], given["targets"][rank],
        return_stats=True, ranks=True, top_k=3, shard=shard, **how,
    )  # fmt: skip
    loss.backward()
    gradients = {name: torch.zeros_like(leaf) if leaf.grad is None else leaf.grad for name, leaf in leaves.items()}
    return loss.detach(), statistics, gradients


def compared(ranks: Any) -> float:
    errors = [0.0]
    group, W = ranks.mesh["tp"].get_group(), ranks.size
    for seed, (counts, options) in enumerate((c, o) for c in COUNTS for o in OPTIONS):
        V = 11 + seed % 3
        given = drawn(seed, V, counts * (W // 2))
        given["held"] = [len(part) for part in torch.arange(V).chunk(W)][ranks.rank]
        shard = VocabularyShard.of(given["held"], group, own_rows=True)
        loss, statistics, gradients = one_rank(ranks.rank, given, options, shard)
        alone = [one_rank(rank, given, options, None) for rank in range(W)]
        mine = alone[ranks.rank]
        rows = slice(shard.start, shard.start + given["held"])
        wanted = {name: mine[2][name] for name in ("hidden", "down")}
        wanted |= {name: sum(each[2][name] for each in alone)[rows] / W for name in ("weight", "bias", "up")}  # type: ignore[index]
        errors.append(float((loss - sum(each[0] for each in alone) / W).abs()))
        errors += [float((gradients[name] - of).abs().max()) for name, of in wanted.items() if of.numel()]
        for name in ("nll", "lse", "entropy", "hit", "max_logprob", "scored", "rank", "top_ids", "top_logprobs"):
            got, true = getattr(statistics, name), getattr(mine[1], name)
            assert got.shape == true.shape
            errors += [float((got.double() - true.double()).abs().max())] if got.numel() else []
    return max(errors)


def test_each_rank_gets_its_own_rows_gradient_and_the_head_the_mean_over_ranks() -> None:
    for worst in on_ranks(2, compared, mesh="tp=2"):
        assert worst < 1e-13
    for worst in on_ranks(4, compared, mesh="tp=4"):
        assert worst < 1e-13
