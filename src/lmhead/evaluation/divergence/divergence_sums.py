"""DivergenceSums: one document's divergences in a few numbers: the unit of intervals, a line of a file."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from lmhead.evaluation.divergence.document_divergences import DocumentDivergences


@dataclass(frozen=True, slots=True, kw_only=True)
class DivergenceSums:
    """How far a model is from its base on one document. Sums are over the scored tokens."""

    name: str  # where it stands
    source: str
    digest: str | None  # of the raw text that is scored, hex, as of DocumentSums
    tokens: int  # scored
    bytes: int | None  # UTF-8 of the text that is scored
    kld: float  # nats: KL(base || model), summed
    largest_kld: float  # nats, of one token; 0 without any
    same_top: int  # scored tokens where both have the same most probable token
    nll_base: float  # nats, summed
    nll_model: float  # nats, summed
    delta_p: float  # the model's probability of the right token less the base's, summed
    delta_p_squared: float  # its square, summed

    @staticmethod
    def of(found: DocumentDivergences) -> "DivergenceSums":
        """The sums of a document's divergences."""
        document = found.document
        scored = document.scored
        delta_p = found.delta_p[scored]
        return DivergenceSums(
            name=document.name,
            source=document.source,
            digest=document.digest,
            tokens=int(scored.sum()),
            bytes=document.bytes,
            kld=float(found.kld[scored].sum()),
            largest_kld=float(found.kld[scored].max(initial=0.0)),
            same_top=int(found.same_top[scored].sum()),
            nll_base=float(found.nll_base[scored].sum()),
            nll_model=float(found.nll_model[scored].sum()),
            delta_p=float(delta_p.sum()),
            delta_p_squared=float(np.square(delta_p).sum()),
        )

    def line(self) -> dict[str, Any]:
        """For a file."""
        return asdict(self)
