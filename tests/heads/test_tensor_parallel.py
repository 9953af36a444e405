"""Tensor-parallel heads: a DTensor weight cut by rows gives what the whole one does, on every rank."""

import copy

import torch
from tests.ranks.launched import on_ranks
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, Replicate, Shard, distribute_tensor
from torch.distributed.tensor.parallel import ColwiseParallel, parallelize_module

from lmhead import (
    ArgumentError,
    LanguageModelingHead,
    LowRankAdapter,
    MultiTokenPredictionHead,
    Targets,
    WrappedHead,
    linear_cross_entropy,
)
from lmhead.heads.parallel_loss import parallel_multi_token_loss

EXACT = 1e-12
V, D, B, T = 21, 8, 2, 6


def cut(module, mesh):
    """Every parameter cut by rows, in a copy."""
    module = copy.deepcopy(module)
    for owner in module.modules():
        for name, parameter in list(owner._parameters.items()):
            if parameter is not None:
                setattr(owner, name, nn.Parameter(distribute_tensor(parameter.detach(), mesh, [Shard(0)])))
    return module


def error(a, b):
    a, b = (x.full_tensor() if isinstance(x, DTensor) else x for x in (a.detach(), b.detach()))
    assert a.shape == b.shape
    return float((a - b).abs().max() / b.abs().max())


def outputs(total, statistics):
    columns = {f"{name} {k}": getattr(each, name) for k, each in enumerate(statistics) for name in ("nll", "entropy")}
    return {"loss": total, **columns}


CALLS = {
    "loss": lambda head, states, labels: outputs(
        *(lambda loss, statistics: (loss, [statistics]))(*head.loss(states[0], labels=labels, return_stats=True))
    ),
    "smoothed": lambda head, states, labels: {
        "loss": head.loss(
            states[0], labels=labels, label_smoothing=0.1, z_loss=1e-3, class_weight=torch.arange(1.0, V + 1)
        )
    },
    "token_logprobs": lambda head, states, labels: {
        "loss": head.token_logprobs(states[0], labels=labels).logprobs.sum()
    },
    "multi_token_loss": lambda head, states, labels: outputs(*head.multi_token_loss(states, labels=labels)),
    "against the model": lambda head, states, labels: outputs(
        *head.multi_token_loss(states, labels=labels, against="model", divergence="jensen_shannon")
    ),
    "isolated": lambda head, states, labels: outputs(*head.multi_token_loss(states, labels=labels, isolated=True)),
}


def compared(call, whole, own, mesh, given):
    """Errors of what `call` gives of a cut head, beside the whole one, where hidden states are `given` in some form."""
    torch.manual_seed(1)
    labels = torch.randint(V, (B, T))
    labels[0, 2] = -100
    plain = [torch.randn(B, T, D, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    states = [
        x.detach().clone().requires_grad_()
        if given == "plain" or (given == "mixed" and k)
        else distribute_tensor(x.detach(), mesh, [Replicate() if given == "replicated" else Shard(1)]).requires_grad_()
        for k, x in enumerate(plain)
    ]
    expected, got = call(whole, plain, labels), call(own, states, labels)
    found = {name: error(got[name], expected[name]) for name in expected}
    for made in (expected, got):
        made["loss"].backward()
    found |= {
        f"d_hidden {k}": error(b.grad, a.grad)
        for k, (a, b) in enumerate(zip(plain, states, strict=True))
        if a.grad is not None
    }
    for (name, a), b in zip(whole.named_parameters(), own.parameters(), strict=True):
        found[f"d_{name}"] = error(b.grad, a.grad)
        a.grad = b.grad = None
    return found


def heads(mesh):
    torch.manual_seed(0)
    whole = LanguageModelingHead(D, V, bias=True, softcap=5.0, logit_scale=0.7).double()
    linear = nn.Linear(D, V).double()
    parallelized = parallelize_module(copy.deepcopy(linear), mesh, ColwiseParallel())
    return {"own": (whole, cut(whole, mesh)), "wrapped": (WrappedHead(linear), WrappedHead(parallelized))}


def everything(ranks):
    mesh = init_device_mesh("cpu", (ranks.size,))
    found = {}
    for kind, (whole, own) in heads(mesh).items():
        for given in ("plain", "replicated", "sharded", "mixed") if kind == "own" else ("plain", "sharded"):
            for name, call in CALLS.items() if kind == "own" else [("loss", CALLS["loss"])]:
                found[kind, given, name] = max(compared(call, whole, own, mesh, given).values())
    return found | {
        "parallel": max(parallel(mesh).values()),
        "adapted": max(adapted(mesh).values()),
        "tied": tied(mesh),
    }


def parallel(mesh):
    """Heads side by side, each with rows of its own."""
    torch.manual_seed(2)
    both = nn.ModuleList([LanguageModelingHead(D, V), MultiTokenPredictionHead(D, V, 2)]).double()

    def call(against):
        def made(heads, states, labels):
            targets = Targets.from_labels(labels)
            return outputs(*parallel_multi_token_loss(*heads, states[0], targets=targets, against=against))

        return made

    return {
        (given, against, name): found
        for given in ("plain", "sharded")
        for against in ("labels", "model")
        for name, found in compared(call(against), both, cut(both, mesh), mesh, given).items()
    }


def adapted(mesh):
    """LoRA whose `up` is cut and whose `down` is whole on each rank."""
    torch.manual_seed(3)
    head = LanguageModelingHead(D, V).double()
    head.weight.requires_grad_(False)
    down, up = (torch.randn(*shape, dtype=torch.float64) for shape in ((3, D), (V, 3)))
    hidden, labels = torch.randn(B, T, D, dtype=torch.float64), torch.randint(V, (B, T))
    made = []
    for of, (a, b) in (
        (head, (down.clone(), up.clone())),
        (cut(head, mesh), (distribute_tensor(down, mesh, [Replicate()]), distribute_tensor(up, mesh, [Shard(0)]))),
    ):
        a, b, states = a.requires_grad_(), b.requires_grad_(), hidden.clone().requires_grad_()
        of.loss(states, labels=labels, adapter=LowRankAdapter(down=a, up=b, scale=0.5)).backward()
        made.append((states.grad, a.grad, b.grad))
    return {name: error(got, whole) for name, whole, got in zip(("d_hidden", "d_down", "d_up"), *made, strict=True)}


def tied(mesh):
    """One DTensor with the gradients of both: of the embedding by DTensor's own rules, of the head by ours."""
    torch.manual_seed(4)
    ids, labels = torch.randint(V, (B, T)), torch.randint(V, (B, T))
    embedding, head = nn.Embedding(V, D).double(), LanguageModelingHead(D, V).double()
    head.tie_embedding_weights(embedding)
    whole, own = nn.ModuleList([embedding, head]), nn.ModuleList(copy.deepcopy([embedding, head]))
    own[0].weight = nn.Parameter(distribute_tensor(embedding.weight.detach(), mesh, [Shard(0)]))
    own[1].tie_embedding_weights(own[0])
    whole[1].loss(whole[0](ids), labels=labels).backward()
    embedded = own[0](distribute_tensor(ids, mesh, [Replicate()]))
    own[1].loss(embedded.redistribute(placements=[Shard(1)]), labels=labels).backward()
    assert own[1].weight is own[0].weight
    return error(own[0].weight.grad, embedding.weight.grad)


def test_a_cut_head_gives_what_the_whole_one_does():
    for found in on_ranks(2, everything):
        assert len(found) > 20
        assert {key: error for key, error in found.items() if error > EXACT} == {}


def sharded_both_ways(ranks):
    """Rows of the head over `tp`, all parameters over `dp`, where each has a batch of its own."""
    mesh = init_device_mesh("cpu", (2, 2), mesh_dim_names=("dp", "tp"))
    torch.manual_seed(5)
    whole = nn.ModuleList([nn.Linear(D, D), LanguageModelingHead(D, V)]).double()
    hidden, labels = torch.randn(2, B, T, D, dtype=torch.float64), torch.randint(V, (2, B, T))
    sum(whole[1].loss(whole[0](hidden[k]), labels=labels[k]) / 2 for k in range(2)).backward()

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.head = copy.deepcopy(whole[0]), cut(whole[1], mesh["tp"])

        def loss(self, hidden, labels):
            return self.head.loss(self.body(hidden), labels=labels)

    net = Net()
    fully_shard(net.head, mesh=mesh["dp"])
    fully_shard(net, mesh=mesh["dp"])
    register_fsdp_forward_method(net.head, "loss")
    register_fsdp_forward_method(net, "loss")
    k = mesh.get_local_rank("dp")
    net.loss(hidden[k], labels[k]).backward()
    return [
        error(net.head.weight.grad, whole[1].weight.grad),
        error(net.body.weight.grad, whole[0].weight.grad),
    ]


def test_beside_fsdp2_too():
    for found in on_ranks(4, sharded_both_ways):
        assert max(found) < EXACT


def refused(make):
    try:
        return f"not refused: {make()}"
    except ArgumentError as error:
        return str(error)


def refusals(ranks):
    mesh = init_device_mesh("cpu", (ranks.size,))
    hidden, labels = torch.zeros(B, T, D), torch.zeros(B, T, dtype=torch.long)
    torch.manual_seed(ranks.rank)
    head = LanguageModelingHead(D, V, bias=True)
    own = cut(head, mesh)
    plain_bias = cut(head, mesh)
    plain_bias.bias = nn.Parameter(torch.zeros(V))
    by_columns = LanguageModelingHead(D, V)
    by_columns.weight = nn.Parameter(distribute_tensor(by_columns.weight.detach(), mesh, [Shard(1)]))

    of_the_root = nn.Sequential(nn.Linear(D, D), LanguageModelingHead(D, V))
    fully_shard(of_the_root)
    loose = own.weight
    states = distribute_tensor(hidden, mesh, [Shard(1)])
    return {
        "weight must have rows for each of 2 ranks, got 1": refused(
            lambda: cut(LanguageModelingHead(D, 1), mesh).loss(hidden, labels=labels)
        ),
        "bias must be a DTensor cut as the weight is, Shard(0), got a plain Tensor": refused(
            lambda: plain_bias.loss(hidden, labels=labels)
        ),
        'register_fsdp_forward_method(module, "loss")': refused(
            lambda: of_the_root[1].loss(hidden[:, : 3 + ranks.rank], labels=labels[:, : 3 + ranks.rank])
        ),
        "weight must be a plain Tensor, got a DTensor": refused(lambda: by_columns.loss(hidden, labels=labels)),
        "full_tensor() gives a wrong gradient": refused(lambda: linear_cross_entropy(hidden, loose, labels)),
        "hidden must be a plain Tensor, got a DTensor": refused(lambda: head.loss(states, labels=labels)),
        "hiddens[0] must be a plain Tensor, got a DTensor": refused(
            lambda: head.multi_token_loss([states], labels=labels)
        ),
        "targets must be the same on all ranks": refused(lambda: own.loss(hidden, labels=labels + ranks.rank)),
    }


def test_what_is_no_tensor_parallel_head_is_refused_on_all_ranks():
    first, second = on_ranks(2, refusals)
    assert first == second
    assert {rule: said for rule, said in first.items() if rule not in said} == {}
