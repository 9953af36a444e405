"""The optimisers' part of a run's config: rates, schedule, clipping. Imports no torch."""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, Final, Literal

from lmhead.errors import require
from lmhead.options import option

# Where a run's weights come from: drawn at random, a decoder of this library that is trained on, another model that
# transformers loads, adapters beside such a model.
Beginning = Literal["drawn", "decoder", "pretrained", "adapter"]
_DRAWN: Final = {
    "muon": {"matrix": 0.018, "embedding": 0.1, "head": 0.004, "vector": 0.004},
    "adamw": {"matrix": 0.001, "embedding": 0.02, "head": 0.002, "vector": 0.002},
}
# Of these, where a decoder is trained on (docs/training/chat.md has what was measured).
FINE_TUNING: Final = {"matrix": 1 / 3, "embedding": 0.05, "head": 0.3, "vector": 0.3}
# The same for every kind of parameter: what is usual for models that AdamW trained; adapters, which begin at 0, take
# ten times as much (Dettmers et al., "QLoRA" (2023); Schulman et al., "LoRA Without Regret" (2025)).
PRETRAINED: Final = {"pretrained": 2e-5, "adapter": 2e-4}
_SMALLEST: Final = 1e-9  # a smaller update of a usual weight is lost in float32's rounding
_SHARES: Final = {"linear": 0.6, "cosine": 1.0, "constant": 0.3}


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimizerConfig:
    """Muon on the matrices of the blocks and AdamW on the rest, or AdamW on all; rates are peaks of the schedule."""

    name: Literal["muon", "adamw"] = "muon"
    """Muon orthogonalises the matrices' steps; AdamW is for all parameters, and for any `init` but a decoder."""
    lr: float | None = None
    """The rate of the blocks' matrices; it scales all others, which keep their proportion to it unless given."""
    matrix_rate: float | None = None
    """Of the blocks' matrices: 0.018 by Muon, 0.001 by AdamW."""
    embedding_rate: float | None = None
    """0.1 beside Muon, 0.02 by AdamW alone."""
    head_rate: float | None = None
    """0.004 beside Muon, 0.002 by AdamW alone."""
    vector_rate: float | None = None
    """Of norms, biases and positions: as the head's."""
    mtp_rate: float | None = None
    """Of the matrices of `mtp`'s modules, which their norms and heads follow. None: as the blocks', but of new modules
    behind a trained model as of a drawn one, 0.018 or 0.001."""
    weight_decay: float = 0.0
    """Of matrices, embedding and head."""
    momentum: float = 0.95
    """Muon's."""
    beta1: float = 0.8
    """AdamW's, of the gradient's mean."""
    beta2: float = 0.95
    """AdamW's, of the gradient's square."""
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    """How the rates go to 0 at the end, behind a linear warm-up; constant: they stay."""
    warmup_steps: int = 20
    """Steps over which the rates rise from 0."""
    decay_share: float | None = None
    """The last share of the steps, over which the rates fall. None: 0.6; of a cosine 1, from the warm-up on; of a
    constant schedule, where it is what `average` takes, 0.3."""
    clip: float | None = 1.0
    """The largest gradient norm; 0 or None is off."""

    def share_of_decay(self) -> float:
        """`decay_share` with its default."""
        if self.decay_share is None:
            return _SHARES[self.schedule]
        return self.decay_share

    def rates(self, beginning: Beginning = "drawn") -> dict[str, float]:
        """The peak rate of each kind of parameter; unless given, the usual one for what the weights begin as."""
        usual = _usual(self.name, beginning)
        given = {kind: getattr(self, f"{kind}_rate") for kind in usual}
        rates = usual
        if self.lr is not None:
            scale = self.lr / rates["matrix"]
            rates = {kind: self.lr if kind == "matrix" else rate * scale for kind, rate in rates.items()}
        return {kind: rates[kind] if rate is None else rate for kind, rate in given.items()}

    def module_rates(self) -> dict[str, float] | None:
        """The peak rate of each kind of parameter of `mtp`'s modules; None where they have those of all others."""
        if self.mtp_rate is None:
            return None
        usual = _DRAWN[self.name]
        return {kind: rate * self.mtp_rate / usual["matrix"] for kind, rate in usual.items() if kind != "embedding"}

    def resolved(self, beginning: Beginning = "drawn") -> "OptimizerConfig":
        """The same with every default written out."""
        rates: Any = {f"{kind}_rate": rate for kind, rate in self.rates(beginning).items()}
        return dataclasses.replace(self, decay_share=self.share_of_decay(), **rates)

    def reopened(self, beginning: Beginning = "drawn") -> "OptimizerConfig":
        """The same with every value left out that is its default: another lr, name or schedule decides it anew."""
        own = {f"{kind}_rate": rate for kind, rate in self._without_rates().rates(beginning).items()}
        own["decay_share"] = dataclasses.replace(self, decay_share=None).share_of_decay()
        defaults: Any = {name: None for name, value in own.items() if getattr(self, name) == value}
        return dataclasses.replace(self, **defaults)

    def _without_rates(self) -> "OptimizerConfig":
        return dataclasses.replace(self, matrix_rate=None, embedding_rate=None, head_rate=None, vector_rate=None)

    def check(self, beginning: Beginning = "drawn") -> None:
        """Raise ArgumentError for a value that no optimiser can have, or that trains nothing."""
        if beginning in PRETRAINED:
            rule = f"be adamw where {option('init')} is no decoder of this library"
            remedy = f"leave {option('optimizer.name')} out (docs/training/training.md says why)"
            require(self.name == "adamw", option("optimizer.name"), rule, self.name, remedy)
        rates = self.rates(beginning)
        if self.lr is not None:
            require(_SMALLEST <= self.lr < math.inf, option("optimizer.lr"), f"be finite and >= {_SMALLEST:g}", self.lr)
            given = all(getattr(self, f"{kind}_rate") is not None for kind in rates)
            require(
                not given or rates["matrix"] == self.lr,
                option("optimizer.lr"),
                "be left out where all four rates are given",
                self.lr,
                "or leave the rates out, and it scales them",
            )
        for kind, rate in [*rates.items(), *([] if self.mtp_rate is None else [("mtp", self.mtp_rate)])]:
            rule = f"be 0 or finite and >= {_SMALLEST:g}"
            require(rate == 0 or _SMALLEST <= rate < math.inf, option(f"optimizer.{kind}_rate"), rule, rate)
        decayed = [*rates.items(), *(self.module_rates() or {}).items()]
        largest = max(rate for kind, rate in decayed if kind != "vector")
        require(
            0 <= self.weight_decay < math.inf and self.weight_decay * largest < 1,
            option("optimizer.weight_decay"),
            "be >= 0, and < 1 when multiplied by the largest rate of what it decays",
            self.weight_decay,
            f"that rate is {largest:g}",
        )
        require(
            self.clip is None or 0 <= self.clip < math.inf, option("optimizer.clip"), "be finite and >= 0", self.clip
        )
        for name in ("momentum", "beta1", "beta2"):
            require(0 <= getattr(self, name) < 1, option(f"optimizer.{name}"), "be in [0, 1)", getattr(self, name))
        warmup, share = self.warmup_steps, self.share_of_decay()
        require(warmup >= 0, option("optimizer.warmup_steps"), "be >= 0", warmup)
        require(warmup < 2**31, option("optimizer.warmup_steps"), "be < 2^31", warmup)
        require(0 <= share <= 1, option("optimizer.decay_share"), "be in [0, 1]", share)


def drawn_rate(name: str) -> float:
    """Of a drawn model's matrices, by the name of an optimiser."""
    return _DRAWN[name]["matrix"]


def _usual(name: str, beginning: Beginning) -> dict[str, float]:
    drawn = _DRAWN[name]
    if beginning in PRETRAINED:
        return dict.fromkeys(drawn, PRETRAINED[beginning])
    return {kind: rate * (FINE_TUNING[kind] if beginning == "decoder" else 1.0) for kind, rate in drawn.items()}
