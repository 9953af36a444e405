"""Losses from logits and from hidden states, and what their sums are divided by."""

from lmhead.losses.cross_entropy import cross_entropy
from lmhead.losses.depth_weighting import DepthWeighting
from lmhead.losses.multi_token import MultiTokenPredictionLoss, multi_token_loss
from lmhead.losses.next_token import LanguageModelingLoss, causal_lm_loss
from lmhead.losses.token_mean import TokenMean, depth_weights, scored_weight

__all__ = [
    "DepthWeighting",
    "LanguageModelingLoss",
    "MultiTokenPredictionLoss",
    "TokenMean",
    "causal_lm_loss",
    "cross_entropy",
    "depth_weights",
    "multi_token_loss",
    "scored_weight",
]
