"""Tensor parallel embedding and heads: ranks with rows of their own give one process' losses and gradients."""

from typing import Any

import pytest
import torch
from tests.ranks.launched import on_ranks
from tests.ranks.test_context_parallel import DEPTHS, STYLES, alike, model_of, rows
from torch import Tensor, nn

from lmhead.errors import ArgumentError
from lmhead.labels.targets import Targets
from lmhead.losses.token_mean import depth_weights
from lmhead.models.gpt import GPT
from lmhead.models.multi_token.multi_token_model import MultiTokenModel
from lmhead.models.tensor_parallel import cut_vocabulary
from lmhead.ranks.sharding import shard, square_sum, whole_state

ODD = {"style": "course", "embed_dim": 15, "num_heads": 3}  # a width that FSDP does not divide


def of_rank(ranks: Any, seed: int) -> list[tuple[Tensor, Targets, Tensor | None]]:
    """The rows of each rank, all of another shape; those along cp read the same. One of them scores nothing."""
    made = []
    for rank in range(ranks.size):
        ids, targets, document = rows(100 * seed + ranks.plan.reader(rank))
        if seed == 1 and ranks.plan.reader(rank) == 0:
            targets = Targets.from_labels(torch.full_like(ids, -100), document=document)
        made.append((ids, targets, document))
    return made


def whole_error(ranks: Any, loss: Tensor, model: nn.Module, one: nn.Module, whole: Tensor) -> float:
    """Of the loss, all gradients, their norm, and the weights as they are put together."""
    loss.backward()
    whole.backward()
    errors = [abs(ranks.summed([float(loss.detach())])[0] / ranks.size - float(whole.detach()))]
    wanted = {name: each.grad for name, each in one.named_parameters() if each.grad is not None}
    got = {name: each.grad for name, each in model.named_parameters() if each.grad is not None}
    assert got.keys() == wanted.keys()
    largest = max(float(grad.abs().max()) for grad in wanted.values())
    errors += [float((got[name].full_tensor() - wanted[name]).abs().max()) / largest for name in wanted]
    norm = ranks.summed([square_sum(list(got.values()), ranks.size)])[0] ** 0.5
    errors.append(abs(norm / float(torch.nn.utils.get_total_norm(wanted.values())) - 1))
    state = whole_state(model, ranks)
    if state is not None:
        assert all(torch.equal(state[name], each) for name, each in one.named_parameters())
    return max(errors)


def next_tokens(ranks: Any) -> list[float]:
    errors = []
    for seed, style in enumerate([*STYLES, ODD]):
        every = of_rank(ranks, seed)
        total = depth_weights([targets for _, targets, _ in every], mtp_depth=0)[0]  # cp times what readers score
        model, one = model_of(style), model_of(style)
        shard(model, ranks, dtype=torch.float32)
        divisor = total / ranks.plan.cp
        how: dict[str, Any] = {"return_stats": True, "ranks": True, "top_k": 3, "z_loss": 1e-3, "label_smoothing": 0.1}
        ids, targets, document = every[ranks.rank]
        loss, statistics = model.loss(ids, targets, document=document, divisor=divisor / ranks.size, **how)
        made = [one.loss(*each[:2], document=each[2], divisor=divisor, **how) for each in every]
        whole = torch.stack([each[0] for each in made]).sum() / ranks.plan.cp
        errors += [whole_error(ranks, loss, model, one, whole), alike(statistics, made[ranks.rank][1])]
        with torch.no_grad():  # an evaluation, in which no mean is over other rows
            _, scored = model.loss(ids, targets, document=document, return_stats=True)
            errors.append(alike(scored, one.loss(ids, targets, document=document, return_stats=True)[1]))
    return errors


def further_tokens(ranks: Any) -> list[float]:
    errors = []
    for seed, how in enumerate(DEPTHS):
        kind = {name: value for name, value in how.items() if name != "against"}
        every = of_rank(ranks, seed)
        total = depth_weights([targets for _, targets, _ in every], mtp_depth=2) / ranks.plan.cp
        model, one = model_of(STYLES[1 + seed % 2], **kind), model_of(STYLES[1 + seed % 2], **kind)
        assert isinstance(one, MultiTokenModel)
        assert isinstance(model, MultiTokenModel)
        shard(model, ranks, dtype=torch.float32)
        ids, targets, document = every[ranks.rank]
        options: dict[str, Any] = {"top_k": 1, "against": how.get("against", "labels")}
        loss, statistics = model.multi_token_loss(
            ids, targets, document=document, divisor=total / ranks.size, **options
        )
        made = [one.multi_token_loss(*each[:2], document=each[2], divisor=total, **options) for each in every]
        whole = torch.stack([each[0] for each in made]).sum() / ranks.plan.cp
        errors.append(whole_error(ranks, loss, model, one, whole))
        for k, (mine, theirs) in enumerate(zip(statistics, made[ranks.rank][1], strict=True)):
            length = ids.shape[1] - k
            errors.append(alike(mine.each(lambda x: x[:, :length]), theirs.each(lambda x: x[:, :length])))  # noqa: B023
    return errors


def everything(ranks: Any) -> tuple[float, float]:
    return max(next_tokens(ranks)), max(further_tokens(ranks))


@pytest.mark.parametrize("mesh", ["tp=2", "shard=2,tp=2", "cp=2,tp=2"])
def test_losses_gradients_and_statistics_are_one_process_own(mesh: str) -> None:
    for of_next, of_further in on_ranks(4 if "," in mesh else 2, everything, mesh=mesh):
        assert of_next < 1e-12
        assert of_further < 1e-12


def refused_logits(ranks: Any) -> str:
    model = model_of(STYLES[0])
    cut_vocabulary(model, ranks.mesh["tp"])
    with pytest.raises(ArgumentError) as raised:
        model(torch.zeros(1, 3, dtype=torch.long))
    return str(raised.value)


def refusals(ranks: Any) -> tuple[str, str]:
    with pytest.raises(ArgumentError) as raised:
        cut_vocabulary(GPT(5, 4, 2, 1), ranks.mesh["tp"])
    with pytest.raises(ArgumentError, match=r"mesh must leave tp out for Linear, got tp=4: only lmhead.GPT"):
        cut_vocabulary(nn.Linear(2, 2), ranks.mesh["tp"])
    return str(raised.value), refused_logits(ranks)


def test_a_rank_without_a_row_and_logits_of_a_cut_head_are_refused_on_all() -> None:
    rows = "mesh tp must leave every rank some of the 5 tokens, got 4: cut over fewer ranks"
    logits = "head must be whole to make logits, got one cut over ranks: take its loss"
    assert on_ranks(4, refusals, mesh="tp=4") == [(rows, logits)] * 4
