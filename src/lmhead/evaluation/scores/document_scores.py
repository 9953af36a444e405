"""Document scores: documents and a model -> nll, entropy, rank, hit and confidence of every scored token, in a stream.

No logits are made. The scores do not depend on what shares a batch; documents come back in their order.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import torch

from lmhead.evaluation.documents.document import EvaluationDocument
from lmhead.evaluation.scores.read_ahead import read_ahead
from lmhead.evaluation.scores.window_batches import window_batches
from lmhead.evaluation.scores.windows import Windows
from lmhead.models.causal_lm import CausalLM
from lmhead.models.device import autocast
from lmhead.ops.problem import TokenStatistics

TOKENS: Final = 8192  # of a batch


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DocumentScores:
    """What a model makes of one document, aligned with its ids: of the token AT t. NaN, -1, False where not scored."""

    document: EvaluationDocument
    nll: npt.NDArray[np.float64]  # [T] nats
    entropy: npt.NDArray[np.float32]  # [T] nats, of the distribution that the token was drawn from
    confidence: npt.NDArray[np.float32]  # [T] nats: log-probability of the most probable token
    rank: npt.NDArray[np.int32]  # [T]: how many tokens are more probable
    hit: npt.NDArray[np.bool_]  # [T]: the token is the most probable one


@torch.no_grad()
def document_scores(
    model: CausalLM,
    documents: Iterable[EvaluationDocument],
    windows: Windows,
    *,
    device: torch.device,
    dtype: torch.dtype,
    tokens: int = TOKENS,
) -> Iterator[DocumentScores]:
    """The scores of each document, in their order.

    Args:
        device: that the model is on.
        dtype: of autocast; float32 is none.
        tokens: of a batch at most, padding included, but one window there is.
    """
    for waiting in read_ahead(documents, tokens=tokens):
        yield from _scored(model, waiting, windows, device, dtype, tokens)


def _scored(
    model: CausalLM,
    documents: list[EvaluationDocument],
    windows: Windows,
    device: torch.device,
    dtype: torch.dtype,
    tokens: int,
) -> list[DocumentScores]:
    model.eval()
    made = [_nothing(document) for document in documents]
    for each in window_batches(documents, windows, tokens=tokens):
        batch = each.batch.to(device)
        with torch.no_grad(), autocast(device, dtype):
            _, statistics = model.loss(
                batch.ids, batch.targets, document=batch.attention_document, return_stats=True, ranks=True
            )
        columns = _columns(statistics)
        known = statistics.scored.cpu().numpy()
        for row, placed in enumerate(each.rows):
            at = np.flatnonzero(known[row])
            behind = at + placed.window.start + 1  # the token AT t is predicted from t - 1
            for name, column in columns.items():
                getattr(made[placed.document], name)[behind] = column[row, at]
    return made


def _columns(statistics: TokenStatistics) -> dict[str, npt.NDArray[np.generic]]:
    """[R, T] each, on the host."""
    assert statistics.rank is not None
    return {
        "nll": statistics.nll.cpu().double().numpy(),
        "entropy": statistics.entropy.float().cpu().numpy(),
        "confidence": statistics.max_logprob.float().cpu().numpy(),
        "rank": statistics.rank.cpu().numpy(),
        "hit": statistics.hit.cpu().numpy(),
    }


def _nothing(document: EvaluationDocument) -> DocumentScores:
    T = len(document)
    return DocumentScores(
        document=document,
        nll=np.full(T, np.nan),
        entropy=np.full(T, np.nan, np.float32),
        confidence=np.full(T, np.nan, np.float32),
        rank=np.full(T, -1, np.int32),
        hit=np.zeros(T, np.bool_),
    )
