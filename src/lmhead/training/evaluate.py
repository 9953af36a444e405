"""Held-out data -> nll, perplexity, accuracy, bits per byte, with every number behind the figure."""

from dataclasses import asdict, dataclass
from typing import Any

import torch

from lmhead.metrics.accuracy import TokenAccuracyMetric
from lmhead.metrics.bits_per_byte import BitsPerByteMetric
from lmhead.metrics.perplexity import PerplexityMetric
from lmhead.training.device import autocast
from lmhead.training.exact_answers import ExactAnswers
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
def evaluate(ready: Ready, *, quick: bool) -> Evaluation:
    """Score every held-out token that is to be learnt once; the result does not depend on what shares a batch."""
    held_out, device = ready.held_out, ready.device
    perplexity, accuracy, bits = PerplexityMetric(), TokenAccuracyMetric(), BitsPerByteMetric()
    answers = ExactAnswers()
    ready.model.eval()
    for batch in held_out.batches(quick=quick):
        with autocast(device, ready.dtype):
            _, statistics = ready.model.loss(batch.ids.to(device), batch.targets.to(device), return_stats=True)
        perplexity.update(statistics)
        accuracy.update(statistics)
        if held_out.answers:
            answers.update(statistics)
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
