"""Multi-token prediction behind a model of transformers in plain code: its own modules, full logits, masks written out.

Nothing of lmhead is called: what a layer is given is made here, as each family's own forward makes it.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def plain_losses(
    stock: Any,
    mtp: nn.Module,
    ids: Tensor,
    labels: Tensor,
    document: Tensor | None,
    *,
    depth: int,
    order: str,
    chain: str,
) -> list[Tensor]:
    """The summed loss of the next token, and of each depth, in nats."""
    B, T = ids.shape
    document = torch.zeros_like(ids) if document is None else document
    seen = (document[:, :, None] == document[:, None, :]) & torch.ones(T, T, dtype=torch.bool).tril()
    mask = torch.zeros(B, 1, T, T, dtype=stock.dtype).masked_fill(~seen[:, None], torch.finfo(stock.dtype).min)
    positions = torch.stack([restarting(row) for row in document])
    decoder = stock.get_decoder()
    gemma = stock.config.model_type == "gemma2"
    masks = {"full_attention": mask, "sliding_attention": mask} if gemma else mask
    hidden = decoder(input_ids=ids, attention_mask=masks, position_ids=positions, use_cache=False).last_hidden_state
    embedded = stock.get_input_embeddings()(ids)
    losses = [summed(logits_of(stock)(hidden), labels, document, 1)]
    for k in range(1, depth + 1):
        module: Any = mtp.layers[min(k, len(mtp.layers)) - 1]  # type: ignore[arg-type, index]
        ahead = torch.cat([embedded[:, k:], torch.zeros_like(embedded[:, :k])], 1)
        parts = [module.enorm(ahead), module.hnorm(hidden)]
        joined = torch.cat(parts if order == "embedding_first" else parts[::-1], -1)
        states = called(stock, decoder, module.mtp_block, module.eh_proj(joined), mask, positions)
        normed = module.post_norm(states)
        losses.append(summed(logits_of(stock)(normed), labels, document, 1 + k))
        hidden = normed if chain == "normed" else states
    return losses


def restarting(row: Tensor) -> Tensor:
    """Each position's distance from its document's first."""
    starts = [at for at in range(len(row)) if at == 0 or row[at] != row[at - 1]]
    return torch.tensor([at - max(start for start in starts if start <= at) for at in range(len(row))])


def called(stock: Any, decoder: Any, block: Any, x: Tensor, mask: Tensor, positions: Tensor) -> Tensor:
    """A layer of the family's own, called as its decoder calls one."""
    if stock.config.model_type == "gpt2":
        made = block(x, attention_mask=mask)
    else:
        rotation = decoder.rotary_emb(x, position_ids=positions)
        made = block(x, attention_mask=mask, position_embeddings=rotation, position_ids=positions)
    states: Tensor = made[0] if isinstance(made, tuple) else made
    return states


def logits_of(stock: Any) -> Callable[[Tensor], Tensor]:
    """The head with the cap of the config."""
    cap = getattr(stock.config, "final_logit_softcapping", None)

    def logits(hidden: Tensor) -> Tensor:
        made: Tensor = stock.lm_head(hidden)
        return made if cap is None else cap * torch.tanh(made / cap)

    return logits


def summed(logits: Tensor, labels: Tensor, document: Tensor, ahead: int) -> Tensor:
    """The sum over positions of the loss of the label `ahead` of them, in their own document."""
    B, T, V = logits.shape
    targets = labels.new_full((B, T), -100)
    targets[:, : T - ahead] = labels[:, ahead:]
    targets[:, : T - ahead][document[:, ahead:] != document[:, : T - ahead]] = -100
    return F.cross_entropy(logits.reshape(-1, V), targets.reshape(-1), ignore_index=-100, reduction="sum")
