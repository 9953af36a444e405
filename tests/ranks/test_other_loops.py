"""Heads and models in loops of other people: FSDP2, HSDP and DDP give the gradients of one process, in float64."""

from typing import Any

import pytest
import torch
from tests.ranks.launched import on_ranks
from tests.ranks.loops import D, V, error, gpt, step, without
from tests.test_documentation import ROOT, read
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method
from torch.nn.parallel import DistributedDataParallel

from lmhead import (
    GPT,
    CombinedLMHead,
    LanguageModelingHead,
    MultiTokenModel,
    Targets,
    WrappedHead,
)
from lmhead.ranks.ranks import Ranks

EXACT = 1e-12  # float64


def assert_exact(found: dict[str, float]) -> None:
    assert {name: size for name, size in found.items() if not size < EXACT} == {}


# ---------------------------------------------------------------------------------------------------------- lmhead.GPT


def options_of_all_kinds(model: Any, ids: Tensor, targets: Targets, divisor: Tensor) -> Tensor:
    loss: Tensor = model.loss(ids, targets, divisor=divisor, label_smoothing=0.1, z_loss=1e-3)
    return loss


def as_called(model: Any, ids: Tensor, targets: Targets, divisor: Tensor) -> Tensor:
    loss: Tensor = model(ids, targets, divisor=divisor)[1]
    return loss


def all_depths(model: Any, ids: Tensor, targets: Targets, divisor: Tensor) -> Tensor:
    loss: Tensor = model.multi_token_loss(ids, targets, divisor=divisor)[0]
    return loss


def hidden_first(model: Any, ids: Tensor, targets: Targets, divisor: Tensor) -> Tensor:
    loss: Tensor = model.lm_head.loss(
        model.hidden(ids), targets=targets, divisor=divisor, label_smoothing=0.1, z_loss=1e-3
    )
    return loss


def sharded(model: GPT, *, mesh: DeviceMesh | None = None, head: str = "in the root's group") -> GPT:
    """By layer and as a whole; the head by itself, or together with the embedding."""
    for layer in model.model.layers:
        fully_shard(layer, mesh=mesh)
    if head.startswith("by itself"):
        fully_shard(model.lm_head, mesh=mesh)
    if head == "with the embedding":
        fully_shard([model.model.embed_tokens, model.lm_head], mesh=mesh)
    if head in ("with the embedding", "by itself, registered"):
        register_fsdp_forward_method(model.lm_head, "loss")
    fully_shard(model, mesh=mesh)
    register_fsdp_forward_method(model, "loss")
    register_fsdp_forward_method(model, "hidden")
    return model


def gpt_under_fsdp(ranks: Ranks) -> dict[str, float]:
    found = {}
    mesh = init_device_mesh("cpu", (2, 2), mesh_dim_names=("replicate", "shard")) if ranks.size == 4 else None
    for tied in (False, True):
        right = step(gpt(tied=tied), options_of_all_kinds)
        for head in ("in the root's group", "with the embedding", "by itself", "by itself, registered"):
            if (tied and head.startswith("by")) or (mesh is not None and head != "in the root's group"):
                continue
            model = sharded(gpt(tied=tied), mesh=mesh, head=head)
            last = model.set_requires_gradient_sync
            found[f"tied={tied}, {head}"] = error(step(model, options_of_all_kinds, ranks, reduced=last), right)
            if head == "in the root's group":
                model.zero_grad()
                found[f"tied={tied}, hidden, then loss"] = error(step(model, hidden_first, ranks), right)
        called = step(sharded(gpt(tied=tied), mesh=mesh), as_called, ranks)
        found[f"tied={tied}, called"] = error(called, step(gpt(tied=tied), as_called))
    return found


class LossModule(nn.Module):
    """DistributedDataParallel knows one method, the forward."""

    def __init__(self, model: nn.Module, method: str) -> None:
        super().__init__()
        self.model, self.method = model, method

    def forward(self, *arguments: Any, **keywords: Any) -> Any:
        return getattr(self.model, self.method)(*arguments, **keywords)


def multi_token_model(kind: Any) -> MultiTokenModel:
    main = gpt()
    torch.manual_seed(2)
    return MultiTokenModel.behind(main, depth=2, kind=kind)


def multi_token_models(ranks: Ranks) -> dict[str, float]:
    found = {}
    for kind in ("sequential", "recurrent", "parallel"):
        right = step(multi_token_model(kind), all_depths, mtp_depth=2)
        model = multi_token_model(kind)
        for layer in (*model.main.model.layers, *(model.mtp.heads if kind == "parallel" else model.mtp.layers)):
            fully_shard(layer)
        fully_shard(model)
        register_fsdp_forward_method(model, "multi_token_loss")
        found[f"FSDP2, {kind}"] = error(step(model, all_depths, ranks, mtp_depth=2), right)
        wrapped = DistributedDataParallel(LossModule(multi_token_model(kind), "multi_token_loss"))

        def loss_of(model: Any, ids: Tensor, targets: Targets, divisor: Tensor) -> Tensor:
            total: Tensor = model(ids, targets, divisor=divisor)[0]
            return total

        loss, gradients = step(wrapped, loss_of, ranks, mtp_depth=2)
        found[f"DDP, {kind}"] = error((loss, without(gradients, "model.")), right)
    return found


def the_page(ranks: Ranks) -> None:
    """Its own assertions hold on several ranks, too."""
    for example in read(ROOT / "docs" / "ranks" / "distributed_loops.md").examples():
        example.evaluate()


# ------------------------------------------------------------------------------------- heads of a model of one's own


class Own(nn.Module):
    """A body of one's own, with a head of this library's, or an nn.Linear."""

    def __init__(self, head: nn.Module, *, tied: bool = False) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.embed, self.body, self.head = nn.Embedding(V, D), nn.Linear(D, D), head
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=0.3)
        self.double()
        if tied:
            head.tie_embedding_weights(self.embed)

    def forward(self, ids: Tensor) -> Tensor:
        return torch.tanh(self.body(self.embed(ids)))

    def loss(self, ids: Tensor, targets: Targets, divisor: Tensor) -> Tensor:
        return head_loss(self.head, self(ids), targets, divisor)


def head_loss(head: Any, hidden: Tensor, targets: Targets, divisor: Tensor) -> Tensor:
    if isinstance(head, CombinedLMHead):
        total: Tensor = head.loss(hidden, hidden, targets=targets, divisor=divisor)[0]
        return total
    scoring = WrappedHead(head) if isinstance(head, nn.Linear) else head
    loss: Tensor = scoring.loss(hidden, targets=targets, divisor=divisor)
    return loss


def inside(model: Any, ids: Tensor, targets: Targets, divisor: Tensor) -> Tensor:
    """The loss is taken within the model's own method."""
    loss: Tensor = model.loss(ids, targets, divisor)
    return loss


def outside(model: Any, ids: Tensor, targets: Targets, divisor: Tensor) -> Tensor:
    """The model gives hidden states, the loop takes the loss of them."""
    return head_loss(getattr(model, "module", model).head, model(ids), targets, divisor)


HEADS = {
    "LanguageModelingHead": lambda: LanguageModelingHead(D, V),
    "of nn.Linear": lambda: nn.Linear(D, V, bias=True),
    "CombinedLMHead": lambda: CombinedLMHead(D, V, mtp_depth=1),
}


def heads_of_own_models(ranks: Ranks) -> dict[str, float]:
    found = {}
    for name, make in HEADS.items():
        depth = 1 if name == "CombinedLMHead" else None
        for tied in (False, True) if name == "LanguageModelingHead" else (False,):
            right = step(Own(make(), tied=tied), inside, mtp_depth=depth)
            for way in ("root's group", "by itself", "parts by themselves"):
                if (tied and way != "root's group") or (way == "parts by themselves" and depth is None):
                    continue
                for loss_of in (inside, outside):
                    model = Own(make(), tied=tied)
                    if way == "by itself":
                        fully_shard(model.head)
                    if way == "parts by themselves":
                        fully_shard(model.head.main)
                        fully_shard(model.head.mtp)
                    fully_shard(model)
                    register_fsdp_forward_method(model, "loss")
                    found[f"FSDP2, {name}, tied={tied}, {way}, {loss_of.__name__}"] = error(
                        step(model, loss_of, ranks, mtp_depth=depth), right
                    )
            plain = DistributedDataParallel(Own(make(), tied=tied))
            found[f"DDP, {name}, tied={tied}, outside"] = error(step(plain, outside, ranks, mtp_depth=depth), right)
            method = DistributedDataParallel(LossModule(Own(make(), tied=tied), "loss"))
            loss, gradients = step(method, lambda model, *given: model(*given), ranks, mtp_depth=depth)
            found[f"DDP, {name}, tied={tied}, inside"] = error((loss, without(gradients, "model.")), right)
    return found


# ------------------------------------------------------------------------------------------------- on several ranks


def on_two(ranks: Ranks) -> dict[str, dict[str, float]]:
    found = {"gpt": gpt_under_fsdp(ranks), "mtp": multi_token_models(ranks), "heads": heads_of_own_models(ranks)}
    the_page(ranks)
    return found


@pytest.fixture(scope="module")
def of_two() -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = on_ranks(2, on_two)[0]
    return found


def test_a_gpt_under_fsdp2_has_the_gradients_of_one_process(of_two: Any) -> None:
    assert_exact(of_two["gpt"])


def test_multi_token_models_have_the_gradients_of_one_process(of_two: Any) -> None:
    assert_exact(of_two["mtp"])


def test_heads_of_own_models_have_the_gradients_of_one_process(of_two: Any) -> None:
    assert_exact(of_two["heads"])


def test_a_gpt_under_hsdp_has_the_gradients_of_one_process() -> None:
    assert_exact(on_ranks(4, gpt_under_fsdp)[0])
