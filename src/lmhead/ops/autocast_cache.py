"""Autocast's cache of weights in 16 bits, and the end of a backward: what was cast before it must not be used after it.

Within one autocast region torch keeps what it has cast of each weight, with the node that casts the gradient back. In a
region around several backwards it hands the same node to the next forward:

    FSDP2     the node is older than the layer's, so the engine runs it after FSDP2 has reduced the layer's gradients:
              those of all micro-batches but the first are lost, without a word (a gradient error of 0.75)
    anybody   after optimizer.step() the next forward still reads the weights of before

With nothing in the cache both are right, and a region around one backward costs what it did.
"""

import torch
from torch.autograd import Variable

from lmhead.ops.tensor_values import is_traced


def forget_casts_afterwards() -> None:
    """Clear autocast's cache when the backward that runs now is over, and what it computes anew has been computed.

    A backward that is being traced is left as it is: compiled code has no part in the cache.
    """
    if torch.is_autocast_cache_enabled() and not is_traced():
        Variable._execution_engine.queue_callback(torch.clear_autocast_cache)
