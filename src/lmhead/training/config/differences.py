"""What differs between two configs of a run. Imports no torch."""

import dataclasses
from collections.abc import Iterator
from typing import Any

from lmhead.training.config.train_config import TrainConfig

UNCHANGED_BY = frozenset(  # fields that a resumed run may set anew
    {
        *("out", "quiet", "log_every", "keep", "keep_best", "minutes", "device", "track"),
        *("nproc", "mesh", "timeout"),  # who trains it: the global batches are the same
        *(
            "init",
            "data.paths",
            "chat.workers",
            "chat.cache",
        ),  # where things lie; what they are is known by fingerprints
    }
)


def differences(one: TrainConfig, other: TrainConfig) -> list[str]:
    """ "name: value in one -> value in other" for each field that differs and changes a run's numbers."""
    before, after = (dict(_values_of(config)) for config in (one, other))
    return [
        f"{name}: {before.get(name)} -> {after.get(name)}"
        for name in before | after
        if before.get(name) != after.get(name) and name not in UNCHANGED_BY
    ]


def _values_of(config: Any, prefix: str = "") -> Iterator[tuple[str, object]]:
    """Dotted name and value of every field."""
    for item in dataclasses.fields(config):
        value = getattr(config, item.name)
        if dataclasses.is_dataclass(value):
            yield from _values_of(value, f"{prefix}{item.name}.")
        else:
            yield prefix + item.name, value
