"""Modules that own the weight between hidden states and logits, and therefore the loss."""

from lmhead.heads.combined import CombinedLMHead
from lmhead.heads.language_modeling import LanguageModelingHead
from lmhead.heads.parallel_multi_token import MultiTokenPredictionHead
from lmhead.heads.wrapped import WrappedHead

__all__ = ["CombinedLMHead", "LanguageModelingHead", "MultiTokenPredictionHead", "WrappedHead"]
