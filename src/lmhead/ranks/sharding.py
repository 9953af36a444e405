"""Sharding a model over the ranks (FSDP2), and the way back: the whole state and the plain model, on rank 0.

Source: torch.distributed.fsdp.fully_shard; each block by itself, so that no rank ever holds more than one of them whole
beside what is left for the root: embedding, head, last norm.
"""

import copy
import logging
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, final

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, Shard

from lmhead.errors import InputError
from lmhead.models.causal_lm import CausalLM
from lmhead.models.decoder import Layer
from lmhead.models.multi_token.multi_token_model import MultiTokenModel
from lmhead.models.multi_token.predictor import MultiTokenModule
from lmhead.models.share_context import share_context
from lmhead.models.tensor_parallel import cut_vocabulary
from lmhead.options import option
from lmhead.ranks.own_part import own_part, reshard
from lmhead.ranks.process_ranks import ProcessRanks
from lmhead.ranks.ranks import Ranks

_REDISTRIBUTE: Final = "torch.distributed.tensor._redistribute"
_ENTRIES: Final = ("loss", "multi_token_loss")  # methods that read the root's weights, as forward does


def shard(model: CausalLM, ranks: Ranks, *, dtype: torch.dtype, compile: bool = False) -> None:
    """Leave each rank its part of every parameter, in place. Optimisers are made afterwards: parameters are others.

    Args:
        model: the same on every rank.
        dtype: of autocast. Blocks are gathered in it: autocast by itself would keep a narrow copy of every block's
            matrices on every rank until the backward. The root, with the head, keeps its own.
        compile: torch.compile each block first.

    Raises:
        InputError: the model's weights cannot be sharded.
    """
    assert isinstance(ranks, ProcessRanks)
    _require_whole_numbers(model)
    if isinstance(model, MultiTokenModel):
        _ = model.lm_head  # how a model of transformers changes its logits it finds out by a forward of its own, once
    share_context(model, ranks.mesh["cp"].get_group())
    narrow = MixedPrecisionPolicy(param_dtype=dtype, reduce_dtype=torch.float32, cast_forward_inputs=False)
    policy = MixedPrecisionPolicy(cast_forward_inputs=False)
    for block in blocks(model):
        if compile:
            block.compile()
        fully_shard(block, mesh=ranks.body, mp_policy=policy if dtype == torch.float32 else narrow)
    if ranks.plan.tp == 1:
        fully_shard(model, mesh=ranks.body, mp_policy=policy)
    else:
        _shard_beside_vocabulary(model, ranks, policy)
    for name in _ENTRIES:
        if hasattr(model, name):
            register_fsdp_forward_method(model, name)


def _shard_beside_vocabulary(model: CausalLM, ranks: ProcessRanks, policy: MixedPrecisionPolicy) -> None:
    """Cut embedding and heads over tp and then over the other ranks, so that the root has them alone.

    Their gradients are means over tp as they come, all other parameters' are not: what else is left of the model is
    sharded over all ranks, by itself.
    """
    plan = ranks.plan
    sizes = (plan.dp, plan.shard * plan.cp, plan.tp)
    mesh = init_device_mesh(ranks.mesh.device_type, sizes, mesh_dim_names=("dp", "shard", "tp"))
    vocabulary = set(cut_vocabulary(model, mesh["tp"]))
    for module in _further_units(model, vocabulary):
        fully_shard(module, mesh=ranks.body, mp_policy=policy)
    fully_shard(
        model,
        mesh=mesh["dp", "shard"] if plan.dp > 1 else mesh["shard"],
        mp_policy=policy,
        # along D where it goes, so that what is cut along V twice need not be put together from strides
        shard_placement_fn=lambda weight: Shard(1) if weight.ndim > 1 and weight.shape[1] % sizes[1] == 0 else None,
    )


def _further_units(model: nn.Module, apart: Collection[nn.Parameter]) -> list[nn.Module]:
    """The modules beside the blocks that have parameters, but for those that are told apart; outermost ones of mtp."""
    done = {id(parameter) for block in blocks(model) for parameter in block.parameters()} | set(map(id, apart))
    units: list[nn.Module] = []
    for module in model.modules():
        own = module.parameters() if isinstance(module, MultiTokenModule) else module.parameters(recurse=False)
        left = {id(parameter) for parameter in own} - done
        if left:
            units.append(module)
            done |= left
    return units


def blocks(model: nn.Module) -> list[nn.Module]:
    """The blocks of the body, inner ones first: this library's, or what a model of transformers does not split."""
    kinds = {kind for module in model.modules() for kind in getattr(module, "_no_split_modules", None) or ()}
    found = [module for module in model.modules() if isinstance(module, Layer) or type(module).__name__ in kinds]
    return list(reversed(found))


def square_sum(gradients: list[Tensor], size: int) -> float:
    """The part that this rank has in the sum over all ranks of their squares, float64.

    Args:
        size: ranks; what several of them have the same of counts once.
    """
    if not gradients:
        return 0.0
    norms = torch._foreach_norm([own_part(each) for each in gradients], dtype=torch.float64)
    shares = torch.tensor([_parts(each) / size for each in gradients], dtype=torch.float64)
    return float((torch.stack(norms).cpu().square() * shares).sum())


def _parts(tensor: Tensor) -> int:
    """Into how many different parts a tensor is cut."""
    if not isinstance(tensor, DTensor):
        return 1
    parts = 1
    for dimension, placement in enumerate(tensor.placements):
        parts *= 1 if placement.is_replicate() else tensor.device_mesh.size(dimension)
    return parts


def whole_state(model: nn.Module, ranks: Ranks) -> dict[str, Tensor] | None:
    """Every parameter and persistent buffer by name, whole, on the CPU of rank 0; None elsewhere. All ranks call it.

    One tensor is whole at a time on the other ranks. Parameters with several names are there under the first.
    """
    reshard(model)
    logging.getLogger(_REDISTRIBUTE).setLevel(logging.ERROR)  # it tells every rank of two dimensions that cut one
    state: dict[str, Tensor] = {}
    for name, tensor in _named(model):
        whole = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
        if ranks.first:
            state[name] = whole.detach().to("cpu", copy=True)  # even a whole tensor may be the rank's own storage
    return state if ranks.first else None


def _named(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from model.named_parameters()
    kept = model.state_dict(keep_vars=True).keys()
    yield from ((name, buffer) for name, buffer in model.named_buffers() if name in kept)


@final
@dataclass(frozen=True, slots=True)
class Blueprint:
    """A model as it is without ranks, and without its weights."""

    model: CausalLM  # parameters on the meta device

    @staticmethod
    def of(model: CausalLM) -> "Blueprint":
        """Of a model that is not sharded yet; what is no parameter is copied."""
        memo: dict[int, Any] = {
            id(parameter): nn.Parameter(torch.empty_like(parameter, device="meta"), parameter.requires_grad)
            for parameter in model.parameters()
        }
        return Blueprint(copy.deepcopy(model, memo))

    def filled(self, state: Mapping[str, Tensor], *, device: torch.device | str = "cpu") -> CausalLM:
        """The plain model with the weights of a `whole_state`, in evaluation mode; what is tied stays so."""
        memo: dict[int, Any] = {
            id(parameter): nn.Parameter(state[name].to(device), parameter.requires_grad)
            for name, parameter in self.model.named_parameters()
        }
        model = copy.deepcopy(self.model, memo)
        for name, buffer in model.named_buffers():
            if name in state:
                buffer.copy_(state[name])
        return model.to(device).eval()


def _require_whole_numbers(model: nn.Module) -> None:
    """Refuse weights in so few bits that they are no floating-point numbers."""
    for name, parameter in model.named_parameters():
        if not parameter.is_floating_point():
            raise InputError(
                f"{option('quantize')} must be left out where several ranks train, got {name} of {parameter.dtype}: "
                "packed weights cannot be sharded"
            )
