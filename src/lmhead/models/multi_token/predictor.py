"""MultiTokenPredictor: the sequential modules of DeepSeek-V3, each predicting one token further than the one before.

    h^0_i ----------------------------- head --> t_{i+1}        h^0: the decoder's hidden states
      |
    [norm(Emb(t_{i+1})); norm(h^0_i)] -> eh_proj -> block -> h^1_i -> post_norm -> head --> t_{i+2}
      |
    [norm(Emb(t_{i+2})); norm(h^1_i)] -> eh_proj -> block -> h^2_i -> post_norm -> head --> t_{i+3}

Embedding and head are the decoder's own. `recurrent=True` runs one module at every depth. Not here: the parallel kind,
a head of its own for each offset that reads h^0 alone (heads/parallel_multi_token.py).
"""

from collections.abc import Callable, Sequence
from typing import Any, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lmhead.errors import ArgumentTypeError, require, require_kind
from lmhead.models.multi_token.style import MultiTokenStyle
from lmhead.models.multi_token.trunk import Trunk
from lmhead.ops.checks import require_sizes
from lmhead.ops.products.few_rows import Linear


@final
class MultiTokenModule(nn.Module):
    """One depth: [norm(embedding); norm(hidden)] -> projection -> block -> norm. Names as in transformers' MtpLayer."""

    def __init__(self, d_model: int, block: nn.Module, norm: Callable[[], nn.Module], style: MultiTokenStyle) -> None:
        super().__init__()
        require_kind("block(index)", block, nn.Module)
        self.style = style
        self.enorm = norm()
        require_kind("norm()", self.enorm, nn.Module)
        self.hnorm = norm()
        self.eh_proj = Linear(2 * d_model, d_model, bias=False)
        self.mtp_block = block
        self.post_norm = norm()

    def forward(
        self,
        hidden: Tensor,  # [B, T, D]
        embedded: Tensor,  # [B, T, D]
        *arguments: Any,
        **keywords: Any,
    ) -> tuple[Tensor, Tensor]:
        """(states before post_norm, states behind it) [B, T, D] of positions whose next-read token is `embedded`."""
        e, h = self.enorm(embedded), self.hnorm(hidden).to(embedded.dtype)
        joined = torch.cat([e, h] if self.style.order == "embedding_first" else [h, e], -1)
        made = self.mtp_block(self.eh_proj(joined), *arguments, **keywords)
        states: Tensor = made[0] if isinstance(made, tuple) else made
        return states, self.post_norm(states)


@final
class MultiTokenPredictor(nn.Module):
    """`depth` modules behind a decoder; module k gives the states from which the head predicts the token 1 + k ahead.

    Args:
        d_model: D, of the decoder's hidden states.
        depth: how many tokens beyond the next one are predicted.
        block: makes the block of the module of an index: a decoder layer, called as the decoder's own are.
        norm: makes a norm of width D.
        style: what families do differently.
        recurrent: one module, run `depth` times, each time on its own states.

    Raises:
        ArgumentError: a size is under 1.
        ArgumentTypeError: an argument is of the wrong kind, or `block` or `norm` makes no module.

    Example:
        >>> import torch
        >>> predictor = MultiTokenPredictor(8, depth=2, block=lambda index: nn.Identity())
        >>> hidden, embedded = torch.randn(2, 5, 8), torch.randn(2, 5, 8)
        >>> [tuple(states.shape) for states in predictor(hidden, embedded)]
        [(2, 5, 8), (2, 5, 8)]

    Source: DeepSeek-V3 technical report (2024), section 2.2.
    """

    def __init__(
        self,
        d_model: int,
        *,
        depth: int = 1,
        block: Callable[[int], nn.Module],
        norm: Callable[[], nn.Module] | None = None,
        style: MultiTokenStyle | None = None,
        recurrent: bool = False,
    ) -> None:
        super().__init__()
        require_sizes(d_model=d_model, depth=depth)
        style = MultiTokenStyle() if style is None else style
        require_kind("style", style, MultiTokenStyle)
        _require_factory("block", block, "block=lambda index: Layer(..)")
        _require_factory("norm", norm or nn.RMSNorm, "norm=lambda: RMSNorm(d_model)")
        self.d_model, self.depth, self.style, self.recurrent = d_model, depth, style, recurrent
        norm = (lambda: nn.RMSNorm(d_model)) if norm is None else norm
        self.layers = nn.ModuleList(
            MultiTokenModule(d_model, block(index), norm, style) for index in range(1 if recurrent else depth)
        )

    def module(self, k: int) -> MultiTokenModule:
        """The module of depth k, from 1; one that stands alone is that of any depth."""
        found = self.layers[0 if len(self.layers) == 1 else k - 1]
        assert isinstance(found, MultiTokenModule)
        return found

    def forward(
        self,
        hidden: Tensor,  # [B, T, D]
        embedded: Tensor,  # [B, T, D]
        *arguments: Any,
        positions: Tensor | None = None,  # [T] or [B, T]
        ahead: Sequence[Tensor] | None = None,  # depth of [B, T, D]
        **keywords: Any,
    ) -> list[Tensor]:
        """States [B, T, D] of each depth, for the decoder's head: states[k - 1][i] predict token i + k + 1.

        The last k positions of a row have no token that far ahead; their states are of no use, and no position before
        them sees them.

        Args:
            hidden: the decoder's, as `style.main` says.
            embedded: the decoder's embedding of each id of the row; the shift is made here.
            arguments, keywords: of each block, behind its states, as the decoder calls its own.
            positions: of each id in its document, where `style.zero_first` asks for them; None: 0, 1, ..
            ahead: the embeddings 1, 2, .. ids on, where the positions are a part of rows; None: those of this row.

        Raises:
            ArgumentError: the shapes do not fit.
            ArgumentTypeError: something is no Tensor.
        """
        require_kind("hidden", hidden, Tensor)
        require_kind("embedded", embedded, Tensor)
        fits = hidden.dim() == 3 and hidden.shape[-1] == self.d_model
        require(fits, "hidden", f"be [B, T, D], D = {self.d_model}", tuple(hidden.shape))
        require(hidden.shape == embedded.shape, "embedded", f"be {list(hidden.shape)}, as hidden", list(embedded.shape))
        T = hidden.shape[1]
        require(self.depth < T, "depth", f"be less than the T = {T} tokens of a row", self.depth)
        if self.style.zero_first:
            positions = torch.arange(T, device=hidden.device) if positions is None else positions
            require_kind("positions", positions, Tensor)
            fits = positions.shape in ((T,), (1, T), hidden.shape[:2])
            require(fits, "positions", f"be {[T]} or {list(hidden.shape[:2])}", list(positions.shape))
        made, state = [], hidden
        for k in range(1, self.depth + 1):
            following = F.pad(embedded[:, k:], (0, 0, 0, k)) if ahead is None else ahead[k - 1]
            if self.style.zero_first and positions is not None:
                following = following.masked_fill((positions == 0)[..., None], 0.0)
            states, normed = self.module(k)(state, following, *arguments, **keywords)
            made.append(normed)
            state = normed if self.style.chain == "normed" else states
        return made

    def behind(self, trunk: Trunk) -> list[Tensor]:
        """States [B, T, D] of each depth: `forward` of what a decoder made."""
        hidden = trunk.hidden if self.style.main == "normed" else trunk.unnormed
        made: list[Tensor] = self(
            hidden,
            trunk.embedded,
            *trunk.arguments,
            positions=trunk.positions,
            ahead=trunk.ahead,
            **trunk.keywords,
        )
        return made


def _require_factory(name: str, given: object, example: str) -> None:
    if isinstance(given, nn.Module) or not callable(given):
        made = "a block" if name == "block" else "a norm"
        raise ArgumentTypeError(f"{name} must be a function that makes {made}, got {type(given).__name__}: {example}")
