"""DivergenceTotals: how far a model is from its base over all documents: mean, tails, agreement, change of probability.

The statistics have the names that llama.cpp's perplexity tool prints: KLD, Δp, same top p, ln(PPL ratio).
"""

import math
from dataclasses import dataclass, field, fields
from typing import Any, Final

from lmhead.evaluation.divergence.divergence_sums import DivergenceSums
from lmhead.evaluation.divergence.document_divergences import DocumentDivergences
from lmhead.evaluation.divergence.quantile_sketch import QuantileSketch

QUANTILES: Final = {"median": 0.5, "90.0%": 0.9, "99.0%": 0.99, "99.9%": 0.999}
_NOT_SUMMED: Final = frozenset({"largest_kld", "largest_delta_p", "least_delta_p", "sketch"})


@dataclass(slots=True, kw_only=True)
class DivergenceTotals:
    """Sums over the scored tokens of all documents that were added. Exact but for the quantiles, which are to 0.5 %."""

    documents: int = 0
    tokens: int = 0
    kld: float = 0.0  # nats: KL(base || model), summed
    largest_kld: float = 0.0  # nats, of one token
    same_top: int = 0
    nll_base: float = 0.0  # nats, summed
    nll_model: float = 0.0
    delta_p: float = 0.0
    delta_p_squared: float = 0.0
    largest_delta_p: float = 0.0
    least_delta_p: float = 0.0
    sketch: QuantileSketch = field(default_factory=QuantileSketch, repr=False)  # of each token's KLD

    def add(self, found: DocumentDivergences) -> DivergenceSums:
        """Count a document; its own sums come back."""
        sums, scored = DivergenceSums.of(found), found.document.scored
        delta_p = found.delta_p[scored]
        self.sketch.add(found.kld[scored])
        self._extremes(sums.largest_kld, float(delta_p.max(initial=0.0)), float(delta_p.min(initial=0.0)))
        self.documents += 1
        for name in ("tokens", "kld", "same_top", "nll_base", "nll_model", "delta_p", "delta_p_squared"):
            setattr(self, name, getattr(self, name) + getattr(sums, name))
        return sums

    def merge(self, other: "DivergenceTotals") -> None:
        """Count what another one counted too."""
        for each in fields(self):
            if each.name not in _NOT_SUMMED:
                setattr(self, each.name, getattr(self, each.name) + getattr(other, each.name))
        self._extremes(other.largest_kld, other.largest_delta_p, other.least_delta_p)
        self.sketch.merge(other.sketch)

    def _extremes(self, kld: float, most: float, least: float) -> None:
        self.largest_kld = max(self.largest_kld, kld)
        self.largest_delta_p = max(self.largest_delta_p, most)
        self.least_delta_p = min(self.least_delta_p, least)

    @property
    def mean_kld(self) -> float:
        """Nats a token: KL(base || model)."""
        return self._mean(self.kld)

    def quantile_kld(self, share: float) -> float:
        """Nats: what `share` of the tokens have at most."""
        return self.largest_kld if share == 1.0 else min(self.sketch.quantile(share), self.largest_kld)

    @property
    def same_top_share(self) -> float:
        """In [0, 1]: tokens where both models have the same most probable one."""
        return self._mean(self.same_top)

    @property
    def mean_delta_p(self) -> float:
        """In [-1, 1]: what the right token's probability gained on average."""
        return self._mean(self.delta_p)

    @property
    def rms_delta_p(self) -> float:
        """In [0, 1]: root of the mean square of that."""
        return math.sqrt(self._mean(self.delta_p_squared)) if self.tokens else math.nan

    @property
    def mean_nll(self) -> tuple[float, float]:
        """(the base's, the model's) nats a token."""
        return self._mean(self.nll_base), self._mean(self.nll_model)

    def _mean(self, total: float) -> float:
        return total / self.tokens if self.tokens else math.nan

    def figures(self) -> dict[str, Any]:
        """What a card shows, for JSON."""
        base, model = self.mean_nll
        return {
            "direction": "KL(base || model)",
            "unit": "nats per token",
            "documents": self.documents,
            "tokens": self.tokens,
            "mean_kld": self.mean_kld,
            "quantiles_kld": {name: self.quantile_kld(share) for name, share in QUANTILES.items()},
            "maximum_kld": self.largest_kld,
            "same_top_p": self.same_top_share,
            "mean_delta_p": self.mean_delta_p,
            "rms_delta_p": self.rms_delta_p,
            "maximum_delta_p": self.largest_delta_p,
            "minimum_delta_p": self.least_delta_p,
            "nll_base": base,
            "nll_model": model,
            "ln_ppl_ratio": model - base,
        }

    def to_json(self) -> dict[str, Any]:
        """The state, for a file: what `from_json` goes on with."""
        state = {each.name: getattr(self, each.name) for each in fields(self) if each.name != "sketch"}
        return state | {"sketch": self.sketch.to_json()}

    @staticmethod
    def from_json(state: dict[str, Any]) -> "DivergenceTotals":
        """What `to_json` wrote."""
        return DivergenceTotals(**state | {"sketch": QuantileSketch.from_json(state["sketch"])})
