"""Precision of a model's weights: by it, how far outputs may move by rounding alone, whatever they follow."""

from typing import Literal

import torch
from torch import nn

Precision = Literal["float32", "16 bits", "8 bits"]


def precision_of(model: nn.Module) -> Precision:
    """That of the coarsest weights. LLM.int8() treats a feature apart for all tokens where one has an outlier there."""
    dtypes = {parameter.dtype for parameter in model.parameters()}
    if torch.int8 in dtypes:
        return "8 bits"
    return "16 bits" if dtypes & {torch.bfloat16, torch.float16} else "float32"
