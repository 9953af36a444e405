"""Context parallel: ranks that share the tokens of the same rows give one process' losses, gradients and statistics."""

from typing import Any

import pytest
import torch
from tests.ranks.launched import on_ranks
from torch import Tensor

from lmhead.errors import ArgumentError
from lmhead.labels.targets import Targets
from lmhead.losses.token_mean import depth_weights, scored_weight
from lmhead.models.gpt import GPT
from lmhead.models.multi_token.multi_token_model import MultiTokenModel
from lmhead.models.share_context import gpt_of, share_context
from lmhead.ranks.ranks import Ranks

V = 37
STYLES: list[dict[str, Any]] = [
    {"style": "course", "tie_weights": True},
    {"style": "modern", "tie_weights": False, "num_kv_heads": 1, "qk_norm": True, "norm_embedding": True},
    {"style": "modern", "tie_weights": True},
]
DEPTHS: list[dict[str, Any]] = [
    {"kind": "sequential"},
    {"kind": "recurrent", "isolated": True},
    {"kind": "parallel"},
    {"kind": "sequential", "against": "model", "isolated": True},
    {"kind": "parallel", "against": "model"},
]


def rows(seed: int) -> tuple[Tensor, Targets, Tensor | None]:
    """Chats: documents of unequal length, prompts that are not learnt, weights, padding."""
    draw = torch.Generator().manual_seed(seed)
    B, T = int(torch.randint(1, 4, (1,), generator=draw)), int(torch.randint(5, 20, (1,), generator=draw))
    ids = torch.randint(0, V, (B, T), generator=draw)
    document = (torch.rand(B, T, generator=draw) < 0.2).cumsum(1)
    document[0, T - 2 :] = -1
    learnt = torch.rand(B, T, generator=draw) < 0.7
    weight = torch.rand(B, T, generator=draw)
    targets = Targets.from_labels(ids.where(learnt, -100), document=document, weight=weight if seed % 2 else None)
    return ids, targets, document if seed % 3 else None


def model_of(style: dict[str, Any], **kind: Any) -> GPT | MultiTokenModel:
    torch.manual_seed(0)
    sizes = {"embed_dim": 16, "num_heads": 2, "num_layers": 2, "max_seq_len": 20}
    gpt = GPT(V, **{**sizes, "init": "gpt2", "init_std": 0.3, **style}).double()
    return MultiTokenModel.behind(gpt, depth=2, **kind).double() if kind else gpt


def grads(model: torch.nn.Module) -> dict[str, Tensor]:
    return {name: each.grad for name, each in model.named_parameters() if each.grad is not None}


def worst(ranks: Ranks, loss: Tensor, model: torch.nn.Module, whole: Tensor, one: torch.nn.Module) -> float:
    """The largest error of the ranks' summed losses and gradients, relative to one process'."""
    loss.backward()
    whole.backward()
    flat = [loss.detach()[None], *(grad.flatten() for grad in grads(model).values())]
    summed = torch.tensor(ranks.summed(torch.cat(flat).tolist()), dtype=torch.float64)
    wanted = torch.cat([whole.detach()[None], *(grad.flatten() for grad in grads(one).values())])
    assert list(grads(model)) == list(grads(one))
    return float((summed - wanted).abs().max() / wanted.abs().max())


def alike(mine: Any, theirs: Any) -> float:
    """The largest difference of statistics; those of a depth may lack their last positions."""
    errors = [0.0]
    for name in ("nll", "lse", "entropy", "hit", "scored", "rank", "top_ids", "top_logprobs"):
        got, wanted = getattr(mine, name), getattr(theirs, name)
        if wanted is not None:
            assert (got.dtype, got.shape) == (wanted.dtype, wanted.shape)
            errors.append(float((got.double() - wanted.double()).abs().max()))
    return max(errors)


def watched(module: torch.nn.Module) -> list[int]:
    """How many tokens it was given at each call."""
    lengths: list[int] = []
    module.register_forward_pre_hook(lambda module, inputs: lengths.append(inputs[0].shape[1]))
    return lengths


def next_tokens(ranks: Any) -> list[float]:
    errors = []
    for seed, style in enumerate(STYLES * 2):
        ids, targets, document = rows(seed)
        model, one = model_of(style), model_of(style)
        share_context(model, ranks.mesh["cp"].get_group())
        lengths = [watched(module) for module in (*model.model.layers, model.model.norm)]  # type: ignore[union-attr]
        options: list[dict[str, Any]] = [
            {"divisor": scored_weight(targets) * 3, "label_smoothing": 0.1, "z_loss": 1e-3},
            {"class_weight": torch.rand(V, generator=torch.Generator().manual_seed(seed)).double()},
            {"reduction": "sum", "token_weight": torch.rand(ids.shape, generator=torch.Generator().manual_seed(seed))},
        ]
        how = options[seed % 3]
        of_part, statistics = model.loss(ids, targets, document=document, return_stats=True, ranks=True, top_k=3, **how)
        whole, of_all = one.loss(ids, targets, document=document, return_stats=True, ranks=True, top_k=3, **how)
        errors += [worst(ranks, of_part, model, whole, one), alike(statistics, of_all)]
        own = max(-(-ids.shape[1] // ranks.size), 1)
        assert lengths == [[own]] * len(lengths)  # of the rows' tokens nothing holds more
        plain, wanted = model.loss(ids, targets.ids, **how), one.loss(ids, targets.ids, **how)
        errors.append(abs(ranks.summed([float(plain.detach())])[0] - float(wanted.detach())))
        called, expected = model(ids, targets)[1], one(ids, targets)[1]
        errors.append(abs(ranks.summed([float(called.detach())])[0] - float(expected.detach())))
    return errors


def further_tokens(ranks: Any) -> list[float]:
    errors = []
    for seed, how in enumerate(DEPTHS):
        ids, targets, document = rows(seed)
        against = {"against": how.get("against", "labels")}
        kind = {name: value for name, value in how.items() if name != "against"}
        model, one = model_of(STYLES[1 + seed % 2], **kind), model_of(STYLES[1 + seed % 2], **kind)
        share_context(model, ranks.mesh["cp"].get_group())
        divisor = depth_weights(targets, mtp_depth=2) / ranks.size if seed % 2 else None
        options = {"document": document, "divisor": divisor, "top_k": 1, **against}
        of_part, statistics = model.multi_token_loss(ids, targets, **options)  # type: ignore[union-attr]
        whole, of_all = one.multi_token_loss(ids, targets, **options)  # type: ignore[union-attr]
        errors.append(worst(ranks, of_part, model, whole, one))
        for k, (mine, theirs) in enumerate(zip(statistics, of_all, strict=True)):
            length = ids.shape[1] - k
            errors.append(alike(mine.each(lambda x: x[:, :length]), theirs.each(lambda x: x[:, :length])))  # noqa: B023
    return errors


def narrow(ranks: Any) -> list[float]:
    """bfloat16 by autocast: beside one process' own rounding."""
    ids, targets, document = rows(1)
    model, one = model_of(STYLES[1]).float(), model_of(STYLES[1]).float()
    share_context(model, ranks.mesh["cp"].get_group())
    with torch.autocast("cpu", torch.bfloat16):
        of_part = model.loss(ids, targets, document=document)
        whole = one.loss(ids, targets, document=document)
    return [worst(ranks, of_part, model, whole, one)]


def everything(ranks: Any) -> dict[str, float]:
    return {each.__name__: max(each(ranks)) for each in (next_tokens, further_tokens, narrow)}


def test_losses_gradients_and_statistics_are_one_process_own() -> None:
    for errors in on_ranks(2, everything, mesh="cp=2"):
        assert errors["next_tokens"] < 1e-12
        assert errors["further_tokens"] < 1e-12
        assert errors["narrow"] < 3e-2


def test_other_models_are_refused_in_one_line() -> None:
    with pytest.raises(ArgumentError, match=r"mesh must leave cp out for Linear, got cp=2: only lmhead.GPT"):
        gpt_of(torch.nn.Linear(2, 2), "cp", 2)
