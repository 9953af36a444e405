"""The loss of logits handed out unmade: what the op is given, and what the model's own addition counts."""

from torch import Tensor

from lmhead.labels.targets import Targets
from lmhead.losses.head_tensors import HeadLogits, HeadTensors
from lmhead.losses.token_mean import scored_weight
from lmhead.models.transformers.patching.lazy_logits import LazyLogits
from lmhead.ops.adapter import as_tuple
from lmhead.ops.keywords import LinearKeywords, ModelLossKeywords


def as_given(logits: LazyLogits, targets: Targets, options: ModelLossKeywords) -> tuple[Tensor, Tensor, LinearKeywords]:
    """(hidden [B, T, D], weight [V, D], everything else) for `linear_cross_entropy`."""
    head = logits.linear()
    assert head is not None, "what happens to the logits was proven to be known"
    keywords: LinearKeywords = {
        **options,
        "token_weight": targets.weight,
        "ignore_index": targets.ignore_index,
        "bias": head.bias,
        "adapter": (*head.adapters, *as_tuple(options.get("adapter"))),
        "softcap": head.softcap,
        "logit_scale": head.logit_scale,
        "shard": None,
    }
    return logits.hidden, head.weight, keywords


def recorded_head(logits: LazyLogits) -> HeadLogits:
    """The output layer of logits that are not made, and what the model does to its product."""
    head = logits.linear()
    assert head is not None, "what happens to the logits was proven to be known"
    tensors = HeadTensors(weight=head.weight, bias=head.bias, adapters=head.adapters)
    return HeadLogits(tensors=tensors, softcap=head.softcap, logit_scale=head.logit_scale)


def share_of(targets: Targets, options: ModelLossKeywords) -> Tensor | float:
    """What the model's own addition counts: so much as a token's loss does, that is 1 in a mean over these tokens.

    Of a window of micro-batches each adds its share of the window's tokens, so that the window has one mean of it. To
    the losses of single tokens nothing is added.
    """
    divisor, reduction = options.get("divisor"), options.get("reduction", "mean")
    if reduction == "none":
        return 0.0
    if divisor is None and reduction == "mean":
        return 1.0
    weight = scored_weight(targets).float()  # float64 would widen the loss
    return weight if divisor is None else weight / divisor
