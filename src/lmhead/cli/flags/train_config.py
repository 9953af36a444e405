"""Flags and a YAML file -> the config of a run. Where it goes on from another run, that run's model is the default."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, cast

from lmhead.cli.flags.parsing import changed
from lmhead.training.config.fine_tuning import MAY_BE_SAID, PretrainedModel
from lmhead.training.config.multi_token_config import MultiTokenConfig
from lmhead.training.config.train_config import TrainConfig, read_yaml, refuse_size, restyled, tied
from lmhead.training.config.widths import following_widths


@dataclass(frozen=True, slots=True, kw_only=True)
class _ConfigFlags(TrainConfig):
    config: str | None = None
    """YAML that gives defaults for the flags: a run's config.yaml."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EstimateFlags(_ConfigFlags):
    """The flags of `lmhead estimate`."""

    nproc: int = 1
    """Processes that train together, of all machines, one a GPU."""
    hardware: str | None = None
    """What they run on, for the time of a step: a100-40, a100, h100, h200, b200, l40s, rtx4090, mi300x, cpu."""
    per_host: int | None = None
    """Of these, how many a machine has. None: what is usual for the hardware."""
    efficiency: float | None = None
    """The share of its peak that products are assumed to reach, all that stands between them included. None: 0.4, of an
    A100 0.55."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainFlags(_ConfigFlags):
    """The flags of `lmhead train`."""

    resume: str | None = None
    """Go on with a run that was stopped or killed, exactly."""
    step: int | None = None
    """With --resume: from the checkpoint of this step, not the newest."""
    max_restarts: int = 0
    """With --nproc: how often all processes are started again, from the newest checkpoint, where one was killed."""


_DECIDES: Final = ("init", "quantize", "gradient_checkpointing")  # whose model a run begins with; as does lora
NO_FIELDS = (
    "config",
    "resume",
    "step",
    "max_restarts",
    "hardware",
    "per_host",
    "efficiency",
)  # of a TrainConfig: they decide where its fields' values come from


def train_config(given: Mapping[str, Any], base: TrainConfig | None = None) -> TrainConfig:
    """The config that flags make of `base`, which is by default the file's that --config names, or the defaults.

    Args:
        given: dotted field -> value, of flags.

    Raises:
        InputError: a field of the file is unknown or does not fit, or --init names no run.
        ArgumentError: a value that no run can have.
    """
    if base is None:
        base = _read(given, TrainConfig())
        decides = {name: value for name, value in given.items() if name in _DECIDES or name.startswith("lora.")}
        start = cast(TrainConfig, changed(base, decides))
        if start.init is not None:
            start.lora.check()
            base = _started(given, start)
    config = with_flags(base, {name: value for name, value in given.items() if name not in NO_FIELDS})
    config.check()
    return config


def with_flags(base: TrainConfig, given: Mapping[str, Any]) -> TrainConfig:
    """`base` with the fields of flags, where --style and --tie-weights leave behind what does not go along."""
    if {"optimizer.lr", "optimizer.name", "optimizer.schedule"} & given.keys():
        base = base.reopened()  # what a resolved config wrote out follows them again
    base = dataclasses.replace(base, mtp=_modules(base.mtp, given))
    model = base.model
    sizes = {name.removeprefix("model."): value for name, value in given.items() if name.startswith("model.")}
    if isinstance(model, PretrainedModel):
        for name, value in sizes.items():
            if name not in MAY_BE_SAID:
                refuse_size(name, value)
        return cast(TrainConfig, changed(base, given))
    if (style := given.get("model.style")) is not None:
        model = restyled(model, cast(Literal["course", "modern"], style))
    if given.get("model.tie_weights"):
        model = tied(model)
    widths = {f"model.{name}": value for name, value in following_widths(model, sizes).items()}
    return cast(TrainConfig, changed(dataclasses.replace(base, model=model), {**given, **widths}))


def _modules(known: MultiTokenConfig, given: Mapping[str, Any]) -> MultiTokenConfig:
    """Without what is known of the modules of `init`, where flags leave them out or draw others."""
    if given.get("mtp.depth", known.depth) is None:
        return MultiTokenConfig()
    if given.get("mtp.drawn") and not known.drawn:
        return dataclasses.replace(known, kind="sequential", family=None)
    return known


def _read(given: Mapping[str, Any], default: TrainConfig) -> TrainConfig:
    file = given.get("config")
    return default if file is None else read_yaml(Path(file), default)


def _started(given: Mapping[str, Any], start: TrainConfig) -> TrainConfig:
    """The defaults of a run that begins with a model, and what a file says beside: the sizes are that model's."""
    from lmhead.training.weights.initial_weights import described

    known = described(start)
    default = TrainConfig(init=start.init)
    if not isinstance(known.model, PretrainedModel):
        return _read(given, dataclasses.replace(default, model=known.model, mtp=known.mtp))
    base = _read(given, dataclasses.replace(default.as_pretrained(known.model), lora=known.lora, mtp=known.mtp))
    rows = base.model.max_seq_len  # a file may be of another model: it says how long rows are
    return dataclasses.replace(base, model=dataclasses.replace(known.model, max_seq_len=rows))
