"""What a run says of multi-token prediction: how far ahead, by what, and what its losses weigh. Imports no torch."""

import math
from dataclasses import dataclass, fields, replace
from typing import Literal

from lmhead.errors import require
from lmhead.models.multi_token.style import Kind, require_family
from lmhead.options import option


@dataclass(frozen=True, slots=True, kw_only=True)
class MultiTokenConfig:
    """Multi-token prediction: modules behind the model that predict further tokens; they draft when it writes."""

    depth: int | None = None
    """Predict so many tokens beyond the next one, by modules behind the model. None: the next one
    alone."""
    kind: Kind = "sequential"
    """A module for each further token, each reading the one before; or one that runs again and again (recurrent); or a
    head for each, reading the model's hidden states alone (parallel)."""
    drawn: bool = True
    """The modules begin anew. Off, as is usual where `init` has some: they are those."""
    isolated: bool | None = None
    """The modules' loss trains the modules alone: no gradient of it reaches the model. None: where `init` gives one."""
    frozen: bool = False
    """Train nothing but the modules: the weights of `init` stay what they are, to the bit."""
    against: Literal["labels", "model"] = "labels"
    """What the modules learn: the data's tokens, or the distributions that the model itself has of them."""
    divergence: Literal["forward_kl", "reverse_kl", "jensen_shannon", "total_variation"] | None = None
    """From the model's distributions to the modules', with `against` model. None: forward_kl."""
    lambdas: tuple[float, ...] = (0.3,)
    """What the losses of the further tokens weigh beside that of the next one; or one number for each of them, which
    `reduction` leaves as it is."""
    later_lambdas: tuple[float, ...] = ()
    """The same behind the share of the run that `later_from` gives. None given: as before it."""
    later_from: float | None = None
    """The share of the steps behind which `later_lambdas` count, in (0, 1)."""
    reduction: Literal["mean", "sum"] = "mean"
    """Of the further tokens' losses, where one lambda goes for all: lambda times their mean, or their sum."""
    denominator: Literal["own", "main"] | None = None
    """What a further token's loss is divided by: its own scored tokens, or the next one's. None: as `family` does."""

    family: str | None = None
    """Whose modules they are, in what families do differently, and in a checkpoint's names: deepseek_v3, glm4_moe,
    qwen3_next, mellum or mimo. None: the family whose model the decoder is."""

    @property
    def any(self) -> bool:
        """Whether there are modules."""
        return self.depth is not None

    def resolved(self, *, trained: bool) -> "MultiTokenConfig":
        """The same with what follows from whether the model was trained before written out."""
        if not self.any or self.isolated is not None:
            return self
        return replace(self, isolated=trained or self.frozen)

    def check(self, *, init: str | None, length: int) -> None:
        """Raise ArgumentError for what no run can have.

        Args:
            length: tokens of a row.
        """
        if self.depth is None:
            default = MultiTokenConfig()
            for item in fields(self):
                name, value = item.name, getattr(self, item.name)
                rule, remedy = f"come with {option('mtp.depth')}", f"add {option('mtp.depth', 1)}"
                require(value == getattr(default, name), option(f"mtp.{name}"), rule, f"{value} alone", remedy)
            return
        depth = self.depth
        require(depth >= 1, option("mtp.depth"), "be >= 1", depth, f"leave {option('mtp.depth')} out for none")
        rule = f"be less than the {length} tokens of a row"
        require(depth < length, option("mtp.depth"), rule, depth, f"raise {option('model.max_seq_len')}, or lower it")
        if self.family is not None:
            require_family(self.family)
            remedy = "these heads are of this library alone: leave it out"
            other = self.kind != "parallel" or not self.drawn  # of modules that there are, it is told that they differ
            require(other, option("mtp.family"), "be left out of parallel heads", self.family, remedy)
        self._check_trained(init)
        self._check_lambdas(depth)

    def _check_trained(self, init: str | None) -> None:
        needs = f"come with {option('init')}, a model that was trained"
        require(not self.frozen or init is not None, option("mtp.frozen"), needs, "True alone")
        goes_on = f"be on without {option('init')}, which gives the modules to go on with"
        require(self.drawn or init is not None, option("mtp.drawn"), goes_on, False, "leave it out")
        isolated = self.isolated is not False
        require(isolated or not self.frozen, option("mtp.isolated"), "be on where the model is frozen", False)
        alone = isolated and (self.isolated or init is not None)
        remedy = f"add {option('mtp.isolated', True)}"
        learnt = self.divergence is None or self.against == "model"
        only = f"come with {option('mtp.against', 'model')}"
        require(learnt, option("mtp.divergence"), only, f"{self.divergence} alone")
        rule = f"be labels where the modules are not isolated from what they would learn of, {option('mtp.isolated')}"
        require(bool(alone) or self.against == "labels", option("mtp.against"), rule, self.against, remedy)

    def _check_lambdas(self, depth: int) -> None:
        for name in ("lambdas", "later_lambdas"):
            given: tuple[float, ...] = getattr(self, name)
            least = name == "lambdas"
            fits = len(given) in (1, depth) or not (given or least)
            rule = f"be one number, or {depth}, one for each further token"
            require(fits, option(f"mtp.{name}"), rule, f"{len(given)} of them")
            for each in given:
                require(0 <= each < math.inf, option(f"mtp.{name}"), "be finite and >= 0", each)
        share, later = self.later_from, bool(self.later_lambdas)
        require(share is None or 0 < share < 1, option("mtp.later_from"), "be in (0, 1)", share)
        for name, other, alone in (
            ("later_from", "later_lambdas", share is not None and not later),
            ("later_lambdas", "later_from", later and share is None),
        ):
            rule = f"come with {option(f'mtp.{other}')}"
            require(not alone, option(f"mtp.{name}"), rule, f"{getattr(self, name)} alone")
