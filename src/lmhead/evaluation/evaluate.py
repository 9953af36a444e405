"""Evaluation: held-out data -> nll, perplexity, accuracy, bits per byte, with every number behind the figure."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

import torch

from lmhead.batches.contract import HeldOut, Part
from lmhead.evaluation.exact_answers import ExactAnswers
from lmhead.labels.packing.packed_batch import PackedBatch
from lmhead.metrics.accuracy import TokenAccuracyMetric
from lmhead.metrics.bits_per_byte import BitsPerByteMetric
from lmhead.metrics.perplexity import PerplexityMetric
from lmhead.models.causal_lm import CausalLM
from lmhead.models.device import autocast, finished
from lmhead.ops.problem import TokenStatistics


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
def evaluate(
    model: CausalLM,
    held_out: HeldOut,
    *,
    part: Part | None = None,
    device: torch.device,
    dtype: torch.dtype,
    told: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Score every held-out token that is to be learnt once; the result does not depend on what shares a batch.

    Each counts alike, whatever it weighs in training. The model is left in eval mode.

    Args:
        part: only so much of the data.
        device: that the model is on.
        dtype: of autocast; float32 is none.
        told: called after each batch with the positions read so far and with all that will be; it may end the
            evaluation by raising.
    """
    perplexity, accuracy, bits = PerplexityMetric(), TokenAccuracyMetric(), BitsPerByteMetric()
    answers = ExactAnswers()
    model.eval()
    done, total = 0, held_out.read(part)
    for batch in held_out.batches(part):
        statistics = _scored(model, batch, device, dtype)
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
def seconds_per_position(model: CausalLM, held_out: HeldOut, *, device: torch.device, dtype: torch.dtype) -> float:
    """What an evaluation takes for each position that it reads: of two batches, timed after one that warms up."""
    model.eval()
    batches = list(islice(held_out.batches(Part()), 2))
    _scored(model, batches[0], device, dtype)
    finished(device)
    began = time.perf_counter()
    for batch in batches:
        _scored(model, batch, device, dtype)
    finished(device)
    return (time.perf_counter() - began) / sum(batch.ids.numel() for batch in batches)


def _scored(model: CausalLM, batch: PackedBatch, device: torch.device, dtype: torch.dtype) -> TokenStatistics:
    batch = batch.to(device)
    with autocast(device, dtype):
        _, statistics = model.loss(batch.ids, batch.targets, document=batch.attention_document, return_stats=True)
    return statistics
