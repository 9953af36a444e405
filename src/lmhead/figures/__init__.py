"""Figures of the learning signal, by matplotlib: each function returns a DescribedFigure, with its words.

    from lmhead import figures

    figures.nll_curve({"Paris": 0.7}).savefig("nll.png")

The names below are public; matplotlib comes with the extra `plots` and is imported when a figure is drawn.
"""

from lmhead.figures.attention import causal_mask
from lmhead.figures.bar_chart import bars
from lmhead.figures.conversation import assistant_mask
from lmhead.figures.described_figure import DescribedFigure
from lmhead.figures.line_chart import curves
from lmhead.figures.log_probability import nll_curve
from lmhead.figures.loss_bars import token_losses
from lmhead.figures.multi_token import mtp_offsets
from lmhead.figures.perturbed import perturbation, perturbation_effects
from lmhead.figures.shift import next_token_pairs, shifted_targets
from lmhead.figures.theme import ThemeName
from lmhead.figures.training_step import learning_loop

__all__ = [
    "DescribedFigure",
    "ThemeName",
    "assistant_mask",
    "bars",
    "causal_mask",
    "curves",
    "learning_loop",
    "mtp_offsets",
    "next_token_pairs",
    "nll_curve",
    "perturbation",
    "perturbation_effects",
    "shifted_targets",
    "token_losses",
]
