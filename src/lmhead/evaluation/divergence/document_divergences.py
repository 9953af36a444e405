"""Document divergences: two models and documents -> KL(base || model) of every scored token, in a stream.

    base    q    the full model that was quantised, the one that was tuned, the teacher
    model    p    what became of it
    KL(base || model) = sum over all tokens of q (log q - log p), in nats: what llama.cpp's perplexity calls KLD

Each model reads a batch once; the divergence is taken from the hidden states of both, so that logits of neither are in
memory. The scores do not depend on what shares a batch; documents come back in their order.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lmhead.errors import ArgumentError, NonFiniteError, require
from lmhead.evaluation.documents.document import EvaluationDocument
from lmhead.evaluation.scores.read_ahead import read_ahead
from lmhead.evaluation.scores.window_batches import window_batches
from lmhead.evaluation.scores.windows import Windows
from lmhead.labels.packing.packed_batch import PackedBatch
from lmhead.losses.head_tensors import HeadLogits
from lmhead.models.causal_lm import CausalLM
from lmhead.models.device import autocast
from lmhead.ops.divergence.linear_divergence import linear_divergence
from lmhead.ops.linear_cross_entropy import linear_cross_entropy
from lmhead.ops.problem import TokenStatistics
from lmhead.options import option

TOKENS: Final = 8192  # of a batch


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DocumentDivergences:
    """How far two models are apart on one document, aligned with its ids: of the token AT t. NaN, False elsewhere."""

    document: EvaluationDocument
    kld: npt.NDArray[np.float64]  # [T] nats: KL(base || model) of the distributions that the token was predicted from
    nll_base: npt.NDArray[np.float64]  # [T] nats
    nll_model: npt.NDArray[np.float64]  # [T] nats
    same_top: npt.NDArray[np.bool_]  # [T]: both have the same most probable token

    @property
    def delta_p(self) -> npt.NDArray[np.float64]:
        """[T]: the model's probability of the token less the base's, in [-1, 1]."""
        return np.exp(-self.nll_model) - np.exp(-self.nll_base)


def document_divergences(
    base: CausalLM,
    model: CausalLM,
    documents: Iterable[EvaluationDocument],
    windows: Windows,
    *,
    device: torch.device,
    dtype: torch.dtype,
    tokens: int = TOKENS,
    memory_budget: int | None = None,
) -> Iterator[DocumentDivergences]:
    """KL(base || model), agreement and both nll of each scored token of each document, documents in their order.

    Heads of different sizes, as padding makes them, are compared over the tokens that both have: the larger head's
    further rows take no probability. That the ids are of both models' tokenizer is for the caller to know
    (given/same_tokenizer.py).

    Args:
        device: that both models are on.
        dtype: of autocast; float32 is none.
        tokens: of a batch at most, padding included, but one window there is.
        memory_budget: bytes of the op, as in `linear_cross_entropy`.

    Raises:
        ArgumentError: the window is longer than a model's context, the models are on different devices, or a document
            has a token that only one model has.
    """
    for name, of in (("base", base), ("model", model)):
        most = of.max_seq_len
        remedy = f"take {most} or less"
        require(windows.window <= most, option("window"), f"be within the {name}'s context", windows.window, remedy)
    places = {next(of.parameters()).device.type for of in (base, model)}
    require(len(places) == 1, "base and model", "be on one device", " and ".join(sorted(places)), "move one of them")
    shared = min(base.vocab_size, model.vocab_size)
    base.eval()
    model.eval()
    for group in read_ahead(documents, tokens=tokens):
        for document in group:
            _require_known(document, base, model, shared)
        made = [_nothing(document) for document in group]
        for each in window_batches(group, windows, tokens=tokens):
            columns = _columns(base, model, each.batch.to(device), shared, device, dtype, memory_budget)
            known = each.batch.targets.scored.numpy()
            _require_numbers(columns["kld"], known)
            for row, placed in enumerate(each.rows):
                at = np.flatnonzero(known[row])
                behind = at + placed.window.start + 1  # the token AT t is predicted from t - 1
                for name, column in columns.items():
                    getattr(made[placed.document], name)[behind] = column[row, at]
        yield from made


@torch.no_grad()
def _columns(
    base: CausalLM,
    model: CausalLM,
    batch: PackedBatch,
    shared: int,
    device: torch.device,
    dtype: torch.dtype,
    memory_budget: int | None,
) -> dict[str, npt.NDArray[np.generic]]:
    """[R, T] each, on the host."""
    with autocast(device, dtype):
        of_base, base_head = _read(base, batch, shared)
        of_model, model_head = _read(model, batch, shared)
        base_stats = _statistics(of_base, base_head, batch, memory_budget)
        model_stats = _statistics(of_model, model_head, batch, memory_budget)
        kld = _kl(of_base, base_head, of_model, model_head, batch.targets.scored, memory_budget)
    assert base_stats.top_ids is not None
    assert model_stats.top_ids is not None
    return {
        "kld": kld.cpu().double().numpy(),
        "nll_base": base_stats.nll.cpu().double().numpy(),
        "nll_model": model_stats.nll.cpu().double().numpy(),
        "same_top": (base_stats.top_ids == model_stats.top_ids)[..., 0].cpu().numpy(),
    }


def _read(model: CausalLM, batch: PackedBatch, shared: int) -> tuple[Tensor, HeadLogits]:
    hidden, head = model.hidden_and_head(batch.ids, document=batch.attention_document)
    return hidden, replace(head, tensors=head.tensors.first(shared))


def _statistics(hidden: Tensor, head: HeadLogits, batch: PackedBatch, memory_budget: int | None) -> TokenStatistics:
    own = head.tensors
    _, made = linear_cross_entropy(
        hidden,
        own.weight,
        batch.targets.ids,
        bias=own.bias,
        adapter=own.adapters,
        softcap=head.softcap,
        logit_scale=head.logit_scale,
        shard=own.shard,
        return_stats=True,
        top_k=1,
        memory_budget=memory_budget,
    )
    return made


def _kl(
    of_base: Tensor,
    base: HeadLogits,
    of_model: Tensor,
    model: HeadLogits,
    scored: Tensor,
    memory_budget: int | None,
) -> Tensor:
    """KL(base || model) [R, T] in nats: the model is the op's student."""
    own, teacher = model.tensors, base.tensors
    return linear_divergence(
        of_model,
        own.weight,
        of_base,
        teacher.weight,
        kind="forward_kl",
        token_weight=scored.float(),
        bias=own.bias,
        teacher_bias=teacher.bias,
        adapter=own.adapters,
        teacher_adapter=teacher.adapters,
        softcap=model.softcap,
        logit_scale=model.logit_scale,
        teacher_softcap=base.softcap,
        teacher_logit_scale=base.logit_scale,
        reduction="none",
        memory_budget=memory_budget,
        shard=own.shard,
    )


def _require_known(document: EvaluationDocument, base: CausalLM, model: CausalLM, shared: int) -> None:
    largest = int(document.example.ids.max(initial=0))
    if largest >= shared:
        raise ArgumentError(
            f"base and model must have one tokenizer, got heads of {base.vocab_size:,} and {model.vocab_size:,} tokens "
            f"and the id {largest} at {document.name}: models of different tokenizers are compared in bits per byte"
        )


def _require_numbers(kld: npt.NDArray[np.generic], known: npt.NDArray[np.bool_]) -> None:
    lost = int(np.isnan(kld[known].astype(np.float64)).sum())
    if lost:
        raise NonFiniteError(f"base and model must give logits that are numbers, got NaN at {lost} tokens of a batch")


def _nothing(document: EvaluationDocument) -> DocumentDivergences:
    T = len(document)
    return DocumentDivergences(
        document=document,
        kld=np.full(T, np.nan),
        nll_base=np.full(T, np.nan),
        nll_model=np.full(T, np.nan),
        same_top=np.zeros(T, np.bool_),
    )
