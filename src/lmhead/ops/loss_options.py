"""The options that change a token's loss: one record, its rules, and the same as keywords for who only passes them on.

A new option is listed here, in the two functions that people read (linear_cross_entropy, cross_entropy), and nowhere
else; whoever computes it looks it up in the problem.
"""

import math
from dataclasses import dataclass, fields
from typing import TypedDict, Unpack

from lmhead.errors import require
from lmhead.ops.checks import require_numbers


@dataclass(frozen=True, slots=True, kw_only=True)
class LossOptions:
    """With z the logits of a row, lse the log of their summed exponentials and nll = lse - z[target]:

    loss = (1 - label_smoothing) * nll + label_smoothing * (lse - mean z) + z_loss * lse^2
    """

    label_smoothing: float = 0.0
    z_loss: float = 0.0

    @staticmethod
    def checked(**options: "Unpack[LossKeywords]") -> "LossOptions":
        """The record of these keywords; those that are left out are off.

        Raises:
            ArgumentError: a value breaks its rule.
            ArgumentTypeError: an option is not a number.
        """
        require_numbers(**options)
        record = LossOptions(**options)
        require(0.0 <= record.label_smoothing < 1.0, "label_smoothing", "be in [0, 1)", record.label_smoothing)
        require(0.0 <= record.z_loss < math.inf, "z_loss", "be finite and >= 0", record.z_loss)
        return record

    def that_are_on(self) -> list[str]:
        """The names of those that change anything."""
        return [name for name in _NAMES if getattr(self, name) != getattr(PLAIN, name)]


PLAIN = LossOptions()  # all off
_NAMES = tuple(field.name for field in fields(PLAIN))


class LossTerms(TypedDict, total=False):
    """Those that the losses as modules take by keyword alone (`label_smoothing` has a place there)."""

    z_loss: float


class LossKeywords(LossTerms, total=False):
    """LossOptions as keywords."""

    label_smoothing: float


def loss_keywords(owner: object) -> LossKeywords:
    """The options that `owner` has as attributes of their names: a LossOptions, or a module."""
    return {name: getattr(owner, name) for name in _NAMES}  # type: ignore[return-value]
