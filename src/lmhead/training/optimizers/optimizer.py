"""The optimisers of a run and their schedule.

Which parameter gets what is decided by what it is: a matrix inside a block, an embedding, the head, or a vector
(norms, biases, learned positions). Only matrices are decayed.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lmhead.errors import require
from lmhead.heads.parallel_multi_token import MultiTokenPredictionHead
from lmhead.models.multi_token.multi_token_model import MultiTokenModel
from lmhead.ops.tensor_values import is_dtensor
from lmhead.training.config.optimizer_config import OptimizerConfig
from lmhead.training.optimizers.muon import StackedMuon
from lmhead.training.weights.master_weights import MasterWeights
from lmhead.training.weights.trained_state import trained_parameters

_MASTER = "master"  # the key of a float32 master among what optimisers keep
_MODULES = "mtp_"  # before the kinds of what the modules of multi-token prediction have, where they are apart


class Optimizers:
    """One or two torch optimisers that step together; rates are the config's peaks times a factor.

    Args:
        model: already sharded, where it is: `fully_shard` puts other parameters in the place of those that were there.
    """

    def __init__(self, model: nn.Module, config: OptimizerConfig) -> None:
        rates, apart = config.rates(), config.module_rates()
        groups = parameter_groups(model, modules_apart=apart is not None)
        rates |= {} if apart is None else {f"{_MODULES}{kind}": rate for kind, rate in apart.items()}
        self._masters = MasterWeights(parameter for parameters in groups.values() for parameter in parameters)
        groups = {kind: [self._masters.of(each) for each in parameters] for kind, parameters in groups.items()}
        matrices = [kind for kind in ("matrix", f"{_MODULES}matrix") if config.name == "muon" and groups.get(kind)]
        trained = [kind for kind, parameters in groups.items() if parameters]
        require(
            any(rates[kind] for kind in trained),
            f"one of the rates of {', '.join(trained)}",
            "be > 0",
            0.0,
            "nothing would be trained",
        )
        adam = [
            {
                "params": alike,
                "lr": rates[kind],
                "weight_decay": 0.0 if kind.endswith("vector") else config.weight_decay,
            }
            for kind, parameters in groups.items()
            if kind not in matrices
            for alike in _fused_together(parameters)
        ]
        self.parts: list[torch.optim.Optimizer] = []
        self._packed = [  # of each part the parameters as one process numbers them in its state
            [parameter for kind in kinds for parameter in groups[kind]]
            for kinds in ([kind for kind in groups if kind not in matrices], matrices)
        ]
        self._packed = [parameters for parameters in self._packed if parameters]
        if adam:
            self.parts.append(torch.optim.AdamW(adam, betas=(config.beta1, config.beta2), eps=1e-10, fused=True))
        if matrices:
            muon = _muon_of([matrix for kind in matrices for matrix in groups[kind]])
            self.parts.append(
                muon(
                    [{"params": groups[kind], "lr": rates[kind]} for kind in matrices],
                    lr=rates["matrix"],
                    weight_decay=config.weight_decay,
                    momentum=config.momentum,
                )
            )
        self._peaks = [[group["lr"] for group in part.param_groups] for part in self.parts]

    def step(self, factor: float) -> None:
        """One update with every rate at its peak times `factor`; gradients are dropped."""
        self._masters.take_gradients()
        for part, peaks in zip(self.parts, self._peaks, strict=True):
            for group, peak in zip(part.param_groups, peaks, strict=True):
                group["lr"] = peak * factor
            part.step()
            part.zero_grad(set_to_none=True)
        self._masters.give_back()

    def state_dict(self) -> list[dict[str, Any]]:
        """What a later run needs to go on."""
        masters = self._masters.tensors()
        return [part.state_dict() for part in self.parts] + ([{"masters": masters}] if masters else [])

    def load_state_dict(self, states: list[dict[str, Any]]) -> None:
        """Go on from what `state_dict` gave."""
        parts, rest = states[: len(self.parts)], states[len(self.parts) :]
        for part, state in zip(self.parts, parts, strict=True):
            part.load_state_dict(state)
        self._masters.load([master for state in rest for master in state["masters"]])

    def tensors(self, model: nn.Module) -> dict[str, Tensor]:
        """Every tensor of the state: NAME/exp_avg and so on of a parameter NAME, and NAME/master."""
        found: dict[str, Tensor] = {}
        for name, parameter in trained_parameters(model).items():
            stepped = self._masters.of(parameter)
            if stepped is not parameter:
                found[f"{name}/{_MASTER}"] = stepped
            for part in self.parts:
                found |= {f"{name}/{key}": tensor for key, tensor in part.state.get(stepped, {}).items()}
        return found

    def prepare(self, model: nn.Module, like: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Such a state, each tensor sharded as its parameter is: to be filled in place.

        Args:
            like: of each tensor, by its name in `tensors`, shape and dtype.

        Raises:
            RuntimeError: a parameter is not trained here.
        """
        parameters = trained_parameters(model)
        holders = {id(each): part for part in self.parts for group in part.param_groups for each in group["params"]}
        for path, tensor in like.items():
            name, _, key = path.rpartition("/")
            if name not in parameters:
                raise RuntimeError(f"other parameters are trained: {name} is in one of the two alone")
            stepped = self._masters.of(parameters[name])
            if key != _MASTER:
                holders[id(stepped)].state[stepped][key] = (
                    torch.empty_like(stepped, dtype=tensor.dtype)
                    if tensor.shape == stepped.shape
                    else torch.empty(tensor.shape, dtype=tensor.dtype, device=stepped.device)
                )
        return self.tensors(model)

    def named(self, model: nn.Module, states: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        """The tensors of what one process' `state_dict` gave, by their names in `tensors`."""
        names = {id(self._masters.of(each)): name for name, each in trained_parameters(model).items()}
        found: dict[str, Tensor] = {}
        for parameters, state in zip(self._packed, states, strict=False):
            for number, values in state["state"].items():
                name = names[id(parameters[number])]
                found |= {f"{name}/{key}": tensor for key, tensor in values.items()}
        masters = [tensor for state in states[len(self._packed) :] for tensor in state["masters"]]
        own = [f"{names[id(master)]}/{_MASTER}" for master in self._masters.tensors()]
        return found | dict(zip(own, masters, strict=True))


def parameter_groups(model: nn.Module, *, modules_apart: bool = False) -> dict[str, list[Tensor]]:
    """Each trained parameter once, as matrix, embedding, head or vector; a tied head counts as the embedding.

    The modules of multi-token prediction are such matrices and vectors, and parallel heads are heads.

    Args:
        modules_apart: these have groups of their own, mtp_matrix and so on.
    """
    groups: dict[str, list[Tensor]] = {"matrix": [], "embedding": [], "head": [], "vector": []}
    modules = model.mtp if isinstance(model, MultiTokenModel) and modules_apart else None
    apart = set() if modules is None else {id(parameter) for parameter in modules.parameters()}
    for kind, parameter in _kinds(model):
        groups.setdefault(f"{_MODULES}{kind}" if id(parameter) in apart else kind, []).append(parameter)
    return groups


def _muon_of(matrices: list[Tensor]) -> type[StackedMuon]:
    if not any(map(is_dtensor, matrices)):
        return StackedMuon
    from lmhead.training.optimizers.sharded_muon import ShardedMuon  # loads what one process need not have

    return ShardedMuon


def _fused_together(parameters: list[Tensor]) -> list[list[Tensor]]:
    """Sharded and whole ones apart: no fused step takes both."""
    by_kind = ([each for each in parameters if is_dtensor(each) is sharded] for sharded in (True, False))
    return [alike for alike in by_kind if alike]


def _kinds(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    positions = {id(weight) for name, weight in model.named_parameters() if "embed_positions" in name}
    embeddings = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)} - positions
    head = getattr(model, "lm_head", None)
    heads = {id(parameter) for parameter in head.parameters()} if isinstance(head, nn.Module) else set()
    for module in model.modules():
        if isinstance(module, MultiTokenPredictionHead):
            heads |= {id(parameter) for parameter in module.parameters()}
    for parameter in model.parameters():
        if not parameter.requires_grad:
            continue
        if id(parameter) in embeddings:
            yield "embedding", parameter
        elif parameter.dim() < 2 or id(parameter) in positions:
            yield "vector", parameter
        else:
            yield ("head" if id(parameter) in heads else "matrix"), parameter


def schedule(step: int, steps: int | None, config: OptimizerConfig) -> float:
    """The factor on every rate at a step (counted from 0): linear warm-up, flat, then what `config.schedule` says.

    linear falls in a line to 0 over the last `decay_share` of the steps, cosine in half a wave; with a share of 1 (its
    default) that is the wave from the warm-up to the end of Loshchilov & Hutter, "SGDR" (2017), as in transformers.
    `steps` is None while the length of a timed run is not known yet; nothing decays before it is.
    """
    warm = min(1.0, (step + 1) / max(1, config.warmup_steps))
    share = config.share_of_decay()
    if steps is None or share == 0.0 or config.schedule == "constant":
        return warm
    if config.schedule == "linear":
        left = (steps - step) / steps
        return min(warm, left / share, 1.0)
    begin = max(float(config.warmup_steps), (1.0 - share) * steps)
    if step < begin or begin >= steps:
        return warm
    return 0.5 * (1.0 + math.cos(math.pi * (step - begin) / (steps - begin)))


def decay_begins(steps: int, config: OptimizerConfig) -> int:
    """The first step (counted from 0) of the decay; of a constant schedule, of the last `decay_share` of the steps."""
    return max(min(config.warmup_steps, steps - 1), math.ceil((1.0 - config.share_of_decay()) * steps))
