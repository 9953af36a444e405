"""A patch with something left out of what it recorded: what a proof has to refuse.

with without("softcap"):
    lmhead.patch(model)  # ArgumentError wherever logits are capped
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Final, Literal
from unittest.mock import patch

from tests.models.transformers.causal_lms.build import inputs_for
from transformers import PreTrainedModel

import lmhead
from lmhead.models.transformers.patching.lazy_logits import LazyLogits, RecordedHead
from lmhead.models.transformers.patching.patch import lazy_logits_and_rest

Part = Literal["softcap", "logit_scale", "bias", "cut of the vocabulary"]
LEFT_OUT: Final[Mapping[Part, Callable[[LazyLogits, RecordedHead], RecordedHead]]] = {
    "softcap": lambda _, record: replace(record, softcap=None),
    "logit_scale": lambda _, record: replace(record, logit_scale=1.0),
    "bias": lambda _, record: replace(record, bias=None),
    "cut of the vocabulary": lambda logits, record: replace(record, weight=logits.head.layer.weight),
}


@contextmanager
def without(part: Part) -> Iterator[None]:
    """The op is not told of this part of a head's record."""
    linear = LazyLogits.linear

    def mutant(logits: LazyLogits) -> RecordedHead | None:
        record = linear(logits)
        return None if record is None else LEFT_OUT[part](logits, record)

    with patch.object(LazyLogits, "linear", mutant):
        yield


def parts_of(model: PreTrainedModel, *, example: Mapping[str, Any] | None = None) -> list[Part]:
    """What lies between the head of a stock model and its loss, and could be left out."""
    inputs = {name: value for name, value in inputs_for(model).items() if name != "labels"}
    with lmhead.patch(model, example=example):
        logits = lazy_logits_and_rest(model, **inputs)[0]
        record, rows = logits.linear(), logits.head.rows()
    assert record is not None
    found: dict[Part, bool] = {
        "softcap": record.softcap is not None,
        "logit_scale": record.logit_scale != 1.0,
        "bias": record.bias is not None,
        "cut of the vocabulary": record.weight.shape[0] < rows,
    }
    return [part for part, there in found.items() if there]
