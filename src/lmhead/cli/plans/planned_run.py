"""A run's config and named hardware -> its ScalingPlan; of a model that transformers loads, what is known of it."""

from dataclasses import dataclass
from typing import final

from lmhead.cli.plans.multi_token_plan import further_tokens
from lmhead.cli.plans.pretrained_plan import module_parameters, pretrained_flops
from lmhead.errors import require
from lmhead.models.device import choose_device, choose_precision
from lmhead.options import option
from lmhead.ranks.mesh import MeshPlan
from lmhead.scaling.hardware import hardware_named
from lmhead.scaling.rank_memory import Activations
from lmhead.scaling.scaling_plan import PlannedDecoder, PlannedModel, ScalingPlan
from lmhead.scaling.shard_group import FLOAT32, ShardGroup
from lmhead.scaling.step_time import Assumed
from lmhead.training.config.fine_tuning import PretrainedModel
from lmhead.training.config.train_config import TrainConfig


def planned_run(
    config: TrainConfig, *, hardware: str | None, per_host: int | None = None, efficiency: float | None = None
) -> ScalingPlan:
    """The plan of a run on `nproc` ranks.

    Args:
        hardware: a name of HARDWARE; without one there are no times.
        per_host: its devices in a machine; None: as many as are usual.
        efficiency: the share of its peak that products reach; None: what is assumed of it.

    Raises:
        ArgumentError: no such hardware, a mesh that is none of so many ranks, or one that cuts what cannot be cut.
    """
    known = None if hardware is None else hardware_named(hardware)
    require(per_host is None or per_host >= 1, option("per_host"), "be >= 1", per_host)
    require(efficiency is None or 0 < efficiency <= 1, option("efficiency"), "be in (0, 1]", efficiency)
    reached = Assumed().products if known is None else known.reached
    compute_bytes = _compute_bytes(config, named=known is not None)
    return ScalingPlan(
        model=_model(config, compute_bytes),
        mesh=MeshPlan.of(config.mesh, config.nproc),
        rows=config.rows,
        accumulate=config.accumulate,
        hardware=known,
        per_host=per_host or (8 if known is None else known.per_host),
        checkpointing=config.gradient_checkpointing,
        assumed=Assumed(products=efficiency or reached),
    )


def _compute_bytes(config: TrainConfig, *, named: bool) -> int:
    """Of the products: all named hardware multiplies bfloat16."""
    if named:
        return FLOAT32 if config.precision == "float32" else 2
    return choose_precision(config.precision, choose_device(config.device)).itemsize


def _model(config: TrainConfig, compute_bytes: int) -> PlannedModel:
    if not isinstance(config.model, PretrainedModel):
        return PlannedDecoder.of(
            config.model,
            optimizer=config.optimizer.name,
            compute_bytes=compute_bytes,
            mtp=further_tokens(config),
            average=config.average,
        )
    require(
        config.quantize is None,
        option("quantize"),
        "be left out where several ranks train",
        config.quantize,
        "packed weights cannot be sharded",
    )
    model = config.model
    return PlannedPretrained(
        vocab_size=model.vocab_size,
        length=model.max_seq_len,
        width=model.width,
        layers=_blocks(model),
        keys=0,
        flops=pretrained_flops(config, model) - (2.0 * _body(model) if config.gradient_checkpointing else 0.0),
        head_flops=0.0,
        again=2.0 * _body(model),
        compute_bytes=compute_bytes,
        average=config.average,
        config=config,
        sizes=model,
    )


def _body(model: PretrainedModel) -> int:
    """Parameters of its blocks."""
    return model.parameters - model.vocab_size * model.width - model.embedding


def _blocks(model: PretrainedModel) -> int:
    return max(1, round(_body(model) / model.layer)) if model.layer else 1


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedPretrained(PlannedModel):
    """A model that transformers loads: blocks of equal size, as many as its layer's parameters say."""

    config: TrainConfig
    sizes: PretrainedModel

    def groups(self, plan: MeshPlan) -> list[ShardGroup]:
        """Its weights, as FSDP2 gathers them; adapters in its blocks, modules of multi-token prediction in the root."""
        model, count = self.sizes, self.layers
        adapters = self.config.lora.rank is not None
        frozen = adapters or self.config.mtp.frozen
        root, block = model.parameters - _body(model), _body(model) // count
        trained = model.trained // count if adapters and not self.config.mtp.frozen else 0
        modules = module_parameters(self.config, model)
        held = self.compute_bytes if adapters else FLOAT32
        alone = plan.size == 1
        return [
            ShardGroup(
                count=1,
                gathers=1,
                trained=((modules, 1),) if frozen else ((root + modules, 1),),
                frozen=((root, 1),) if frozen else (),
                frozen_bytes=held,
                root=True,
            ),
            ShardGroup(
                count=count,
                gathers=2,
                trained=((trained, 1),) if frozen else ((block, 1),),
                frozen=((block, 1),) if frozen else (),
                frozen_bytes=held,
                gather_bytes=FLOAT32 if alone else self.compute_bytes,
                cast=model.linear // count if alone and not adapters else 0,
            ),
        ]

    def activations(self, plan: MeshPlan, rows: int, *, cpu: bool) -> Activations | None:
        """Nobody knows."""
        return None
