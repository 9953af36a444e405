"""The checks of what a decoder reads: ids within the vocabulary and the context, documents of their shape."""

from torch import Tensor

from lmhead.errors import ArgumentError, require, require_kind
from lmhead.ops.tensor_values import may_be_read


def check_rows(
    ids: Tensor,  # [B, T]
    document: Tensor | None = None,  # [B, T]
    *,
    vocab_size: int,
    max_seq_len: int,
    past: int = 0,
) -> None:
    """Refuse rows that a model cannot read.

    Args:
        past: tokens of each row that were read before.

    Raises:
        ArgumentError: a shape, a dtype or an id breaks its rule, or a row is longer than the context.
        ArgumentTypeError: not Tensors.
    """
    require_kind("ids", ids, Tensor)
    require(ids.dim() == 2, "ids", "be [B, T]", tuple(ids.shape))
    require(not ids.is_floating_point(), "ids", "be integers (token ids)", ids.dtype)
    T = past + ids.shape[1]
    if max_seq_len < T:
        raise ArgumentError(f"input length T={T} exceeds max_seq_len={max_seq_len}")
    if document is not None:
        require_kind("document", document, Tensor)
        require(document.shape == ids.shape, "document", f"be {list(ids.shape)}, as ids", list(document.shape))
    if may_be_read(ids) and ids.numel():
        low, high = (int(bound) for bound in ids.aminmax())
        require(low >= 0 and high < vocab_size, "ids", f"be in [0, {vocab_size})", f"{low if low < 0 else high}")
