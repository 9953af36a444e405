"""Scaled dot-product attention, by the way that is fastest where it runs."""

import torch
import torch.nn.functional as F
from torch import Tensor

_SHORT = 512  # tokens: the longest row whose [T, T] weights are cheaper than torch's tiled backward


def attention(
    q: Tensor,  # [B, H, T, width]
    k: Tensor,  # [B, G, S, width]; G divides H
    v: Tensor,  # [B, G, S, width]
    *,
    mask: Tensor | None,  # bool, broadcast to [B, H, T, S]; True where a query may look
    causal: bool,
    dropout: float,
) -> Tensor:
    """softmax(q k^T / sqrt(width)) v [B, H, T, width], causal or within a mask.

    torch's fused attention, but for bfloat16 training in short rows on a CPU: there its tiled backward takes 1.7 times
    as long as three batched products and a softmax (16 rows of 256 tokens, 2 heads of 128: 13.1 ms against 7.7, forward
    and backward; benchmarks/LOG.md, 2026-11-23).
    """
    T = q.shape[2]
    training = torch.is_grad_enabled() and q.requires_grad
    short = q.device.type == "cpu" and q.dtype == torch.bfloat16 and 1 < T <= _SHORT
    if causal and training and short and not dropout and k.shape == q.shape:
        return _in_full(q, k, v)
    return F.scaled_dot_product_attention(
        q, k, v, attn_mask=mask, dropout_p=dropout, is_causal=causal, enable_gqa=k.shape[1] != q.shape[1]
    )


def _in_full(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    B, H, T, width = q.shape
    later = torch.full((T, T), -torch.inf, dtype=q.dtype, device=q.device).triu_(1)
    flat = [tensor.reshape(B * H, T, width) for tensor in (q, k, v)]
    with torch.autocast(q.device.type, enabled=False):
        weights = torch.baddbmm(later, flat[0], flat[1].mT, alpha=width**-0.5).softmax(-1)
        return torch.bmm(weights, flat[2]).view(B, H, T, width)
