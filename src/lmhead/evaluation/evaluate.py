"""Held-out data -> nll, perplexity, accuracy, bits per byte, with every number behind the figure."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

import torch

from lmhead.batches.contract import Batch, Part
from lmhead.evaluation.exact_answers import ExactAnswers
from lmhead.metrics.accuracy import TokenAccuracyMetric
from lmhead.metrics.bits_per_byte import BitsPerByteMetric
from lmhead.metrics.perplexity import PerplexityMetric
from lmhead.models.device import autocast, finished
from lmhead.ops.problem import TokenStatistics
from lmhead.training.setup import Ready


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """What a model makes of text that it never saw: of all of it, or of the assistant's in conversations."""

    bits_per_byte: float | None  # of the raw UTF-8 that is scored; of a part, at the whole's bytes per token
    nll: float  # nats per scored token
    perplexity: float  # per token, of this tokenizer: not to be compared with another's
    accuracy: float
    tokens: int  # scored
    bytes: int
    window: int  # tokens
    stride: int  # tokens: each scored token has window - stride tokens before it, or all there are
    whole: bool
    answers: int = 0  # of assistants, in conversations
    exact: int = 0  # of these, those of which every token is the most probable one: greedy decoding writes them so

    def as_dict(self) -> dict[str, Any]:
        """For the log."""
        return asdict(self)


@torch.no_grad()
def evaluate(ready: Ready, part: Part | None = None, *, told: Callable[[int, int], None] | None = None) -> Evaluation:
    """Score every held-out token that is to be learnt once; the result does not depend on what shares a batch.

    Args:
        part: only so much of the data.
        told: called after each batch with the positions read so far and with all that will be; it may end the
            evaluation by raising.
    """
    held_out = ready.held_out
    perplexity, accuracy, bits = PerplexityMetric(), TokenAccuracyMetric(), BitsPerByteMetric()
    answers = ExactAnswers()
    ready.model.eval()
    done, total = 0, held_out.read(part)
    for batch in held_out.batches(part):
        statistics = _scored(ready, batch)
        perplexity.update(statistics)
        accuracy.update(statistics)
        if held_out.answers:
            answers.update(statistics)
        done += batch.ids.numel()
        if told is not None:
            told(done, total)
    share = perplexity.tokens / held_out.scored
    num_bytes = round(held_out.bytes * share)
    if num_bytes:
        bits.update(perplexity.mean_nll * perplexity.tokens, num_bytes=num_bytes)
    return Evaluation(
        bits_per_byte=bits.compute() if num_bytes else None,
        nll=perplexity.mean_nll,
        perplexity=perplexity.compute(),
        accuracy=accuracy.compute(),
        tokens=perplexity.tokens,
        bytes=num_bytes,
        window=held_out.window,
        stride=held_out.stride,
        whole=share == 1.0,
        answers=answers.count,
        exact=answers.exact,
    )


@torch.no_grad()
def seconds_per_position(ready: Ready) -> float:
    """What an evaluation takes for each position that it reads: of two batches, timed after one that warms up."""
    ready.model.eval()
    batches = list(islice(ready.held_out.batches(Part()), 2))
    _scored(ready, batches[0])
    finished(ready.device)
    began = time.perf_counter()
    for batch in batches:
        _scored(ready, batch)
    finished(ready.device)
    return (time.perf_counter() - began) / sum(batch.ids.numel() for batch in batches)


def _scored(ready: Ready, batch: Batch) -> TokenStatistics:
    with autocast(ready.device, ready.dtype):
        ids, targets = batch.ids.to(ready.device), batch.targets.to(ready.device)
        statistics: TokenStatistics = ready.model.loss(ids, targets, return_stats=True)[1]
    return statistics
