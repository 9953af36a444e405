"""check_isolation: does a model keep the documents of a packed row apart? Found out by changing one of them.

Change document A, and the outputs at document B must not move. It needs no knowledge of the model's attention, and it
refuses to answer where it could not have seen a leak: a model that ignores its ids, that answers differently each
time, or in which no token reaches the next (freshly made with zero-initialised projections).
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from lmhead.errors import ArgumentError, ArgumentTypeError, NonFiniteError, require
from lmhead.inspection.finding import worst_first
from lmhead.inspection.isolation.isolation_report import IsolationReport, Leak, leak_finding
from lmhead.labels.collated.batch_columns import read_batch
from lmhead.labels.packing.packed_batch import PackedBatch
from lmhead.models.causal_lm import CausalLM
from lmhead.models.outputs import outputs_of

Inputs = Callable[[PackedBatch], Mapping[str, Any]]


@torch.no_grad()
def check_isolation(
    model: Callable[..., Any],
    batch: PackedBatch | Mapping[str, Any],
    *,
    inputs: Inputs | None = None,
    tolerance: float = 0.0,
) -> IsolationReport:
    """Which documents of a packed batch reach which others through the model.

        check_isolation(gpt, batch)                       # lmhead.GPT, lmhead.PretrainedCausalLM: ids and document
        check_isolation(llama, batch, inputs=PackedBatch.for_transformers)       # model(**inputs(batch))
        check_isolation(llama, {"input_ids": ..., "position_ids": ...})          # model(**batch), as training has it
        check_isolation(lambda ids: ..., batch, inputs=lambda b: {"ids": b.ids}) # anything that is called

    It takes two forward passes more than the fullest row has documents, so a few rows are enough.

    Args:
        model: in eval mode; gives logits or hidden states [R, T, ...], alone, first in a tuple, or as `.logits`.
        batch: from `pack`; or the keywords that a transformers model is trained with, where position_ids, cu_seqlens
            or the document of each position (see `lmhead.audit`) tell the documents.
        inputs: the model's keywords from a PackedBatch; not needed for lmhead's own models, refused beside keywords.
        tolerance: how far an output may move. 0 is right where masked scores are exactly 0 and kernels repeat
            themselves: on a CPU, and for SDPA's and FlexAttention's masks.

    Raises:
        ArgumentError: no row has two documents, or one and padding; or the check could not see a leak, and why.
        NonFiniteError: an output at a document is NaN or infinite.
        ArgumentTypeError: the batch or the model is of the wrong kind.

    Example:
        >>> from lmhead import GPT, Example, pack
        >>> model = GPT(vocab_size=4, embed_dim=4, num_heads=2, num_layers=2).eval()
        >>> rows = pack([Example.of([1, 2, 3], trained=[True] * 3)] * 2, length=6, overflow="drop")
        >>> check_isolation(model, rows.take(0, 1)).ok
        True
    """
    if not callable(model):
        raise ArgumentTypeError(f"model must be a module or another callable, got {type(model).__name__}")
    ids, document, run = _calls(model, batch, inputs)
    probe = _Probe(run, ids, document, tolerance)
    probe.check_that_leaks_can_be_seen()
    found = list(probe.changes())
    require(bool(found), "batch", "have a row with two documents or more", "none", "nothing could leak")
    leaks = tuple(leak for leak in found if leak.difference > tolerance)
    largest = max(leak.difference for leak in found)
    return IsolationReport(
        findings=worst_first([leak_finding(leaks)]),
        leaks=leaks,
        pairs=len(found),
        tolerance=tolerance,
        largest=largest,
    )


def _calls(
    model: Callable[..., Any], batch: PackedBatch | Mapping[str, Any], inputs: Inputs | None
) -> tuple[Tensor, Tensor, Callable[[Tensor], Tensor]]:
    """(ids [R, T], document [R, T], outputs of other ids in their place)."""
    if isinstance(batch, PackedBatch):
        if inputs is None and isinstance(model, CausalLM):
            inputs = _inputs_of_ours
        if inputs is None:
            raise ArgumentError(
                "inputs must say what the model is given, got None: inputs=PackedBatch.for_transformers for a "
                "transformers model with SDPA, or a function of a PackedBatch that returns keywords"
            )
        make = inputs
        return batch.ids, batch.document, lambda ids: outputs_of(model(**make(replace(batch, ids=ids))), ids)
    if inputs is not None:
        raise ArgumentError("inputs must not be given beside a batch of keywords, got both: the model gets the batch")
    columns = read_batch(batch)
    rule = "tell its documents, by position_ids that restart, cu_seqlens or document"
    require(columns.document is not None, "batch", rule, ", ".join(batch), "one document in each row cannot leak")
    given = batch["input_ids"]
    if not isinstance(given, Tensor):
        raise ArgumentTypeError(f"input_ids must be a Tensor, as the model gets them, got {type(given).__name__}")
    document = torch.from_numpy(columns.document).to(given.device)
    return given, document, lambda ids: outputs_of(model(**{**batch, "input_ids": ids}), ids)


def _inputs_of_ours(batch: PackedBatch) -> Mapping[str, Any]:
    return {"ids": batch.ids, "document": batch.attention_document}


class _Probe:
    """A model's outputs, with and without a change to some of the ids."""

    def __init__(self, run: Callable[[Tensor], Tensor], ids: Tensor, document: Tensor, tolerance: float) -> None:
        self.run = run
        self.ids = ids  # [R, T]
        self.document = document  # [R, T]
        self.tolerance = tolerance
        self.others = _other_ids(ids)
        self.base = run(ids)

    def moved(self, where: Tensor) -> Tensor:
        """[R, T]: the largest change of each position's outputs when the ids at `where` [R, T] become others."""
        outputs = self.run(torch.where(where, self.others, self.ids))
        difference = (outputs.float() - self.base.float()).abs().flatten(2).amax(-1)
        if not bool(difference[self.document >= 0].isfinite().all()):
            raise NonFiniteError(
                "the model gives outputs at a document that are NaN or infinite: nothing can be compared"
            )
        return difference

    def check_that_leaks_can_be_seen(self) -> None:
        """Refuse what would make any model look isolated, or no model.

        Raises:
            ArgumentError: outputs that vary by themselves, or that do not follow what comes before in the document.
        """
        real = self.document >= 0
        noise = float(self.moved(torch.zeros_like(real)).masked_select(real).max()) if bool(real.any()) else 0.0
        remedy = "call model.eval(); if a kernel is not deterministic, give a tolerance above that"
        require(noise <= self.tolerance, "model", "give the same outputs twice", f"a difference of {noise:.3g}", remedy)
        starts = torch.ones_like(real)
        starts[:, 1:] = self.document[:, 1:] != self.document[:, :-1]
        later = real & ~starts
        reaches = self.moved(starts).masked_select(later)
        remedy = "train a step first, or fill zero-initialised projections: no leak could be seen in such a model"
        require(
            not bool(later.any()) or bool((reaches > self.tolerance).any()),
            "model",
            "let a document's first token reach its others",
            "outputs that do not follow it",
            remedy,
        )

    def changes(self) -> Iterator[Leak]:
        """What each document's change does to each other document of its row."""
        for source in _distinct(self.document):
            where = self.document == source
            moved = self.moved(where)
            for row in where.any(1).nonzero().squeeze(1).tolist():
                present = _distinct(self.document[row])
                own = float(moved[row][where[row]].max())
                remedy = "outputs must come from the ids that the model is called with"
                reads = source < 0 or own > self.tolerance
                require(reads, "model", "read the ids it is given", f"outputs that do not follow row {row}'s", remedy)
                for into in present:
                    if into >= 0 and into != source:
                        difference = float(moved[row][self.document[row] == into].max())
                        yield Leak(row=row, source=source, into=into, difference=difference)


def _other_ids(ids: Tensor) -> Tensor:
    """For each id another one, out of those that the batch has."""
    known = torch.tensor(_distinct(ids), device=ids.device)
    require(len(known) > 1, "batch", "have two different ids or more", len(known))
    return known.roll(1)[torch.searchsorted(known, ids)].to(ids.dtype)


def _distinct(numbers: Tensor) -> list[int]:
    return sorted(set(numbers.flatten().tolist()))
