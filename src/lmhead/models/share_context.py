"""Context parallel, put to work: the decoder of a model is told which ranks share the tokens of its rows."""

import torch.distributed as dist
from torch import nn

from lmhead.errors import ArgumentError
from lmhead.models.context_parallel import ContextGroup
from lmhead.models.gpt import GPT
from lmhead.models.multi_token.multi_token_model import MultiTokenModel
from lmhead.options import option


def share_context(model: nn.Module, group: dist.ProcessGroup) -> None:
    """Let the ranks of `group` share the tokens of each row that the model's losses are asked for.

    They give the same whole rows to `loss` and `multi_token_loss`. Of what these return the losses are this rank's
    share, which add up to the rows'; statistics are whole rows'.

    Raises:
        ArgumentError: the model's attention is not this library's own.
    """
    if group.size() > 1:
        gpt_of(model, "cp", group.size()).model.context = ContextGroup(group=group)


def gpt_of(model: nn.Module, dimension: str, size: int) -> GPT:
    """The GPT that a model is, or that its further tokens' modules stand behind.

    Raises:
        ArgumentError: it is none, and can have no such dimension of a mesh.
    """
    main = model.main if isinstance(model, MultiTokenModel) else model
    if not isinstance(main, GPT):
        raise ArgumentError(
            f"{option('mesh')} must leave {dimension} out for {type(main).__name__}, got {dimension}={size}: only "
            "lmhead.GPT can be split so; take shard instead"
        )
    return main
