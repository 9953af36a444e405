"""Flags and a YAML file -> the config of a run. Where it goes on from another run, that run's model is the default."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from lmhead.cli.flags.parsing import parse_train, take
from lmhead.training.config import TrainConfig, read_yaml


def read_train_config(
    words: Sequence[str], *, command: str, about: str, config_file: str | None, base: TrainConfig | None = None
) -> TrainConfig:
    """The config that flags make of `base`, which is by default the file's, or the defaults.

    Raises:
        InputError: a flag or a field is unknown or does not fit, or --init names no run.
    """
    if base is None:
        base = read_yaml(Path(config_file)) if config_file else TrainConfig()
        init = take(words, "init")[0] or base.init
        if init is not None and not {"-h", "--help"} & set(words):
            started = _started(TrainConfig(), init)
            base = read_yaml(Path(config_file), started) if config_file else started
    config = parse_train(words, base, command=command, about=about)
    config.check()
    return config


def _started(default: TrainConfig, init: str) -> TrainConfig:
    from lmhead.training.initial_weights import Start

    return dataclasses.replace(default, init=init, model=Start.read(init).model.config)
