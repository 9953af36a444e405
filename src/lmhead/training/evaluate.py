"""Held-out documents -> bits per byte, with every number behind the figure."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from lmhead.labels.packing import sliding_windows
from lmhead.labels.targets import Targets
from lmhead.metrics.accuracy import TokenAccuracyMetric
from lmhead.metrics.bits_per_byte import BitsPerByteMetric
from lmhead.metrics.perplexity import PerplexityMetric
from lmhead.training.config import TrainConfig
from lmhead.training.device import autocast
from lmhead.training.setup import Ready

_ROWS = 32  # windows at a time
_QUICK_WINDOWS = 64  # of an evaluation along the way, spread over the whole text


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """What a model makes of text that it never saw."""

    bits_per_byte: float  # of raw UTF-8; of a part, at the whole text's bytes per token
    nll: float  # nats per scored token
    perplexity: float  # per token, of this tokenizer: not to be compared with another's
    accuracy: float
    tokens: int  # scored
    bytes: int
    window: int  # tokens
    stride: int  # tokens: each scored token has window - stride tokens before it, or all there are
    whole: bool

    def as_dict(self) -> dict[str, Any]:
        """For the log."""
        return asdict(self)


@torch.no_grad()
def evaluate(ready: Ready, config: TrainConfig, *, quick: bool) -> Evaluation:
    """Score every held-out token but the first of each document once, the closing end-of-text included.

    The result does not depend on how many windows go through at a time.
    """
    length = config.model.max_seq_len
    stride = max(1, length // 2)
    ids, document, scored = sliding_windows(ready.held_out, length=length, stride=stride)
    if quick and len(ids) > _QUICK_WINDOWS:
        picked = np.linspace(0, len(ids) - 1, _QUICK_WINDOWS).astype(np.int64)
        ids, document, scored = ids[picked], document[picked], scored[picked]
    perplexity, accuracy, bits = PerplexityMetric(), TokenAccuracyMetric(), BitsPerByteMetric()
    ready.model.eval()
    for start in range(0, len(ids), _ROWS):
        rows = slice(start, start + _ROWS)
        tokens, owner, wanted = (torch.from_numpy(array[rows]) for array in (ids, document, scored))
        targets = Targets.from_labels(tokens.where(wanted, -100), document=owner).ids[:, :-1]
        with autocast(ready.device, ready.dtype):
            _, statistics = ready.model.loss(
                tokens[:, :-1].to(ready.device), targets.to(ready.device), return_stats=True
            )
        perplexity.update(statistics)
        accuracy.update(statistics)
    share = perplexity.tokens / int((ready.held_out.document[1:] == ready.held_out.document[:-1]).sum())
    bits.update(perplexity.mean_nll * perplexity.tokens, num_bytes=round(ready.held_out_bytes * share))
    return Evaluation(
        bits_per_byte=bits.compute(),
        nll=perplexity.mean_nll,
        perplexity=perplexity.compute(),
        accuracy=accuracy.compute(),
        tokens=perplexity.tokens,
        bytes=bits.num_bytes,
        window=length,
        stride=stride,
        whole=share == 1.0,
    )
