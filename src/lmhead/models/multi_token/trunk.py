"""Trunk: what a decoder made of its ids, and what a further block behind it needs to be called as its own are."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor, nn

from lmhead.heads.scoring_head import ScoringHead
from lmhead.labels.targets import Targets
from lmhead.models.causal_lm import CausalLM
from lmhead.models.context_parallel import ContextPart
from lmhead.models.multi_token.draft_reader import AnewDraftReader, DraftReader
from lmhead.models.multi_token.style import Kind, MultiTokenStyle


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trunk:
    """The decoder's hidden states, and what its blocks were called with."""

    hidden: Tensor  # [B, T, D], behind the final norm: what the head multiplies
    unnormed: Tensor  # [B, T, D], before it
    embedded: Tensor  # [B, T, D]: the embedding of each id, as the decoder's first block reads it but without positions
    positions: Tensor  # [T] or [B, T]: of each id in its document
    arguments: tuple[Any, ...] = ()  # of a block, behind the states: block(x, *arguments, **keywords)
    keywords: Mapping[str, Any] = field(default_factory=dict)
    part: ContextPart | None = None  # of which rows these are some tokens, where ranks share them
    ahead: tuple[Tensor, ...] | None = None  # [B, T, D]: the embedding 1, 2, .. tokens on; None: of the next in a row
    added: Tensor | None = None  # [], to the mean of the next tokens' losses by the decoder itself: a router's loss

    def detached(self) -> "Trunk":
        """The same without a way back into the decoder: no gradient reaches it."""
        return replace(
            self,
            hidden=self.hidden.detach(),
            unnormed=self.unnormed.detach(),
            embedded=self.embedded.detach(),
            arguments=_detached(self.arguments),
            keywords=_detached(dict(self.keywords)),
            ahead=_detached(self.ahead),
            added=None,
        )


def _detached(value: Any) -> Any:
    """The same with its tensors detached: positions may be learned too."""
    if isinstance(value, Tensor):
        return value.detach()
    if type(value) in (tuple, list):
        return type(value)(_detached(each) for each in value)
    if type(value) is dict:
        return {name: _detached(each) for name, each in value.items()}
    return value


class Backbone(CausalLM, ABC):
    """A CausalLM that modules of multi-token prediction can stand behind."""

    @abstractmethod
    def trunk(self, ids: Tensor, *, document: Tensor | None = None) -> Trunk:
        """What the decoder makes of ids [B, T]; attention stays within a document [B, T]."""

    def trunk_for(
        self,
        ids: Tensor,  # [B, T]
        targets: Targets,  # [B, T]
        *,
        document: Tensor | None = None,  # [B, T]
        depth: int = 0,
    ) -> Trunk:
        """`trunk` as the decoder's own loss of these targets reads the ids: here as without them.

        Args:
            depth: how many modules will stand behind it.
        """
        return self.trunk(ids, document=document)

    @property
    @abstractmethod
    def scoring_head(self) -> ScoringHead:
        """The head, which owns the loss."""

    @property
    @abstractmethod
    def width(self) -> int:
        """D: of the hidden states."""

    @abstractmethod
    def new_block(self, index: int) -> nn.Module:
        """A block of the decoder's own kind, freshly drawn: block(x, *trunk.arguments, **trunk.keywords).

        Args:
            index: its place among the modules, from 0: of its keys and values in their cache.
        """

    @abstractmethod
    def new_norm(self) -> nn.Module:
        """A norm of width D of the decoder's own kind."""

    @abstractmethod
    def module_style(self, family: str | None = None, *, kind: Kind, depth: int) -> MultiTokenStyle:
        """How modules behind the decoder are, of a family; None: of the one that suits the decoder.

        Raises:
            ArgumentError: there is no such family, or it cannot hold the decoder or so many modules.
        """

    @abstractmethod
    def draw(self, modules: nn.Module) -> None:
        """Initialise modules that stand behind the decoder as its own were, from torch's global generator."""

    def draft_reader(self, *, rows: int, room: int, depth: int) -> DraftReader:
        """A DraftReader of so many rows: here one that reads anew, for a decoder whose cache is not known.

        Args:
            room: the most ids of a row, at most `max_seq_len`.
            depth: modules that draft.
        """
        return AnewDraftReader(lambda ids: self.trunk(ids), rows=rows)
