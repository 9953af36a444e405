"""Evaluation: held-out data -> nll, perplexity, accuracy, bits per byte, with every number behind the figure."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from typing import Any, Final

import torch
from torch import Tensor

from lmhead.batches.contract import HeldOut, Part
from lmhead.evaluation.held_out.decoded_drafts import TEXTS, decoded_drafts
from lmhead.evaluation.held_out.draft_scores import DepthScores, DepthSums
from lmhead.evaluation.held_out.exact_answers import ExactAnswers
from lmhead.evaluation.held_out.token_classes import Means
from lmhead.evaluation.token_scores import every_next_token
from lmhead.labels.packing.packed_batch import PackedBatch
from lmhead.labels.targets import Targets
from lmhead.metrics.accuracy import TokenAccuracyMetric
from lmhead.metrics.bits_per_byte import BitsPerByteMetric
from lmhead.metrics.perplexity import PerplexityMetric
from lmhead.models.causal_lm import CausalLM
from lmhead.models.device import autocast, finished
from lmhead.models.multi_token.multi_token_model import MultiTokenModel
from lmhead.ops.problem import TokenStatistics
from lmhead.ranks.ranks import ALONE, Ranks

_EVERY: Final = 8  # conversations, of which one's prompt is scored
_DEPTH_FIELDS: Final = ("depths", "accepted_length", "decoded_length", "sampled_length")


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
    classes: dict[str, Means] = field(default_factory=dict)  # of the same tokens, told apart; where it was asked for
    # of a model with multi-token prediction; None of one without
    depths: tuple[DepthScores, ...] | None = None  # 1, 2, ..: the tokens beyond the next one
    accepted_length: float | None = None  # tokens a forward of greedy decoding with drafts that is held to this text
    decoded_length: float | None = None  # of greedy decoding that goes its own way; of a whole evaluation, as the next
    sampled_length: float | None = None  # of sampling at temperature 1

    def as_dict(self) -> dict[str, Any]:
        """For the log; without what only multi-token prediction has, where there is none."""
        absent = [name for name in _DEPTH_FIELDS if getattr(self, name) is None]
        return {name: value for name, value in asdict(self).items() if name not in absent}


@torch.no_grad()
def evaluate_held_out(
    model: CausalLM,
    held_out: HeldOut,
    *,
    part: Part | None = None,
    device: torch.device,
    dtype: torch.dtype,
    told: Callable[[int, int], None] | None = None,
    seen: Callable[[PackedBatch, TokenStatistics], None] | None = None,
    ranks: Ranks = ALONE,
    writer: CausalLM | None = None,
    each: Callable[[], None] = lambda: None,
) -> Evaluation:
    """Score every held-out token that is to be learnt once; the result does not depend on what shares a batch.

    Each counts alike, whatever it weighs in training. The model is left in eval mode. Of several ranks each scores
    batches of its own, and rank 0 counts them all in their order, as one process does.

    Args:
        part: only so much of the data.
        device: that the model is on.
        dtype: of autocast; float32 is none.
        told: called after each batch, or each rank's, with the positions read so far and with all that will be; it may
            end the evaluation by raising, on all ranks alike.
        seen: called with each batch and its statistics, on rank 0; of conversations these are of every eighth one's
            prompt, too, which counts in no figure.
        writer: the model as it writes, on rank 0; None: `model`.
        each: called on rank 0 while it writes; it may end the evaluation by raising.
    """
    perplexity, accuracy, bits = PerplexityMetric(), TokenAccuracyMetric(), BitsPerByteMetric()
    answers = ExactAnswers()
    drafts = DepthSums(model.depth) if isinstance(model, MultiTokenModel) else None
    model.eval()
    done, total = 0, held_out.read(part)
    chosen = held_out.answers and seen is not None
    for dealt in _rounds(held_out.batches(part), ranks.plan.readers, least=0 if drafts is None else drafts.depth):
        for item, (every, *ahead) in _of_all_ranks(model, dealt, ranks, device, dtype, chosen):
            batch = item.batch
            statistics = _of_targets(every, batch.targets) if chosen and item.has_prompts else every
            if drafts is not None and ahead:
                further = [_of_targets(each_depth, batch.targets.at(1 + k)) for k, each_depth in enumerate(ahead, 1)]
                drafts.update([statistics, *further])
            perplexity.update(statistics)
            accuracy.update(statistics)
            if held_out.answers:
                answers.update(statistics)
            if seen is not None:
                seen(batch, every)
        done += sum(item.batch.ids.numel() for item in dealt)
        if told is not None:
            told(done, total)

    def evaluation() -> Evaluation:
        share = perplexity.tokens / held_out.scored
        num_bytes = round(held_out.bytes * share)
        if num_bytes:
            bits.update(perplexity.mean_nll * perplexity.tokens, num_bytes=num_bytes)
        written = {} if drafts is None or part is not None else _of_decoding(writer or model, held_out, each)
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
            **({} if drafts is None else _of_drafts(drafts, perplexity)),
            **written,
        )

    return ranks.agreed(evaluation)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Dealt:
    """A batch that one rank scores."""

    batch: PackedBatch
    before: int  # rows of the batches before

    @property
    def of_prompts(self) -> Tensor:
        """bool [R]: the rows whose prompts are scored too, where some are: every eighth of all."""
        return (torch.arange(len(self.batch.ids)) + self.before) % _EVERY == 0

    @property
    def has_prompts(self) -> bool:
        """Whether there is such a row."""
        return bool(self.of_prompts.any())

    def targets(self) -> Tensor | None:
        """Targets [R, T] that include these rows' prompts; None where there are none."""
        if not self.has_prompts:
            return None
        return torch.where(self.of_prompts[:, None], every_next_token(self.batch), self.batch.targets.ids)


def _rounds(batches: Iterable[PackedBatch], readers: int, *, least: int) -> Iterator[list[_Dealt]]:
    """Batches that are scored at the same time: all with more positions than `least`, or none."""
    dealt: list[_Dealt] = []
    before = 0
    for batch in batches:
        other = bool(dealt) and (batch.ids.shape[1] > least) != (dealt[0].batch.ids.shape[1] > least)
        if len(dealt) == readers or other:
            yield dealt
            dealt = []
        dealt.append(_Dealt(batch=batch, before=before))
        before += len(batch.ids)
    if dealt:
        yield dealt


def _of_all_ranks(
    model: CausalLM, dealt: Sequence[_Dealt], ranks: Ranks, device: torch.device, dtype: torch.dtype, chosen: bool
) -> list[tuple[_Dealt, list[TokenStatistics]]]:
    """Each batch with its statistics, on rank 0; nothing on the others. All ranks take part."""
    own = ranks.plan.reader(ranks.rank)
    item = dealt[own] if own < len(dealt) else dealt[0]  # what nobody counts: the others must not wait
    scored = _scored(model, item.batch, device, dtype, item.targets() if chosen else None)
    if ranks.size == 1:
        return [(item, scored)]
    gathered = ranks.gathered([each.each(lambda column: column.cpu()) for each in scored])
    if gathered is None:
        return []
    by_reader = {ranks.plan.reader(rank): statistics for rank, statistics in enumerate(gathered)}
    return [(item, by_reader[reader]) for reader, item in enumerate(dealt)]


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


def seconds_of_decoding(model: CausalLM, held_out: HeldOut, *, each: Callable[[], None] = lambda: None) -> float:
    """What a whole evaluation takes at most beside its pass, where there are drafts: of one text, timed.

    Args:
        each: called while it writes, as in `evaluate`.
    """
    if not isinstance(model, MultiTokenModel):
        return 0.0
    began = time.perf_counter()
    for temperature in (0.0, 1.0):
        decoded_drafts(model, held_out, temperature=temperature, texts=1, each=each)
    return TEXTS * (time.perf_counter() - began)


def _of_drafts(drafts: DepthSums, main: PerplexityMetric) -> dict[str, Any]:
    """Fields of an Evaluation that its own pass gives."""
    depths = drafts.scores()
    return {
        "classes": {"depth": _by_depth(main, depths)},
        "depths": depths,
        "accepted_length": drafts.accepted_length,
    }


def _of_decoding(model: CausalLM, held_out: HeldOut, each: Callable[[], None]) -> dict[str, Any]:
    """Fields of a whole Evaluation for which the model writes."""
    assert isinstance(model, MultiTokenModel)

    def length(temperature: float) -> float | None:
        counts = decoded_drafts(model, held_out, temperature=temperature, each=each)
        return counts.accepted_length if counts.drafted[0] else None

    return {"decoded_length": length(0.0), "sampled_length": length(1.0)}


def _by_depth(main: PerplexityMetric, depths: Sequence[DepthScores]) -> Means:
    """By how many tokens ahead they are predicted: 1 is the next one."""
    further = {str(1 + k): (each.nll, each.tokens) for k, each in enumerate(depths, 1)}
    known = {"1": (main.mean_nll, main.tokens), **further}
    return {name: (float(f"{nll:.7g}"), tokens) for name, (nll, tokens) in known.items() if nll is not None}


def _of_targets(statistics: TokenStatistics, targets: Targets) -> TokenStatistics:
    """The statistics of what these targets score alone."""
    scored = targets.up_to(statistics.scored.shape[-1]).scored.to(statistics.scored.device)

    def kept(column: Tensor) -> Tensor:
        of_each = scored.view(scored.shape + (1,) * (column.dim() - scored.dim()))
        return column.where(of_each, torch.zeros_like(column))

    return statistics.each(kept)


def _scored(
    model: CausalLM, batch: PackedBatch, device: torch.device, dtype: torch.dtype, targets: Tensor | None = None
) -> list[TokenStatistics]:
    """The statistics of a batch, of its own targets or of others; of multi-token prediction those of each depth too."""
    batch = batch.to(device)
    document = batch.attention_document
    with autocast(device, dtype):
        if isinstance(model, MultiTokenModel) and model.depth < batch.ids.shape[1]:
            judged = batch.targets
            if targets is not None:
                judged = Targets.from_targets(targets.to(device), document=batch.document)
            return model.multi_token_loss(batch.ids, judged, document=document, top_k=1)[1]
        given = batch.targets if targets is None else targets.to(device)
        return [model.loss(batch.ids, given, document=document, return_stats=True)[1]]
