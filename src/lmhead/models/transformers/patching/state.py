"""What a patched model remembers between its hooks and its output layer, in plain attributes: copies take it along."""

import warnings
from typing import TYPE_CHECKING, Literal, final

import torch

from lmhead.ops.problem import TokenStatistics

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor, nn

    from lmhead.models.transformers.patching.head_override import HeadOverride
    from lmhead.models.transformers.patching.lazy_logits import LazyLogits
    from lmhead.models.transformers.patching.proof import Proof

Logits = Literal["eval", "always", "never"]
ATTRIBUTE = "_lmhead_patch"


@final
class Watch:
    """What the op took and what made logits, while something is proven."""

    def __init__(self) -> None:
        self.taken: list[LazyLogits] = []
        self.dense: list[str] = []


@final
class PatchState:
    """Nothing here is a counter: one would compile the model anew at each step."""

    def __init__(self, *, logits: Logits, labels_at: int | None) -> None:
        self.logits: Logits = logits
        self.labels_at = labels_at  # the place of `labels` among the forward's arguments
        self.recording = False  # the output layer gives lazy logits
        self.handing_out = False  # and they stay in the output; a cross entropy of them is 0
        self.paused = False  # the model is stock for a while: of the proof
        self.entered = False  # the model was called, and its forward runs
        self.called = False  # the output layer was, in this forward
        self.statistics: TokenStatistics | None = None  # of the last forward
        self.override: HeadOverride | None = None
        self.proof: Proof | None = None
        self.watch: Watch | None = None
        self.probe: Callable[[Tensor], Tensor] | None = None  # what the head gets for its hidden states: of the proof
        self.told: set[str] = set()

    def took_loss(self, statistics: TokenStatistics, logits: "LazyLogits") -> None:
        """The op has computed a loss of these logits."""
        self.statistics = statistics
        if self.watch is not None:
            self.watch.taken.append(logits)

    def made_dense(self, asked: str) -> None:
        """The logits are made, since `asked` needs them."""
        if self.watch is not None:
            self.watch.dense.append(asked)
            return
        self.tell(
            f"the patched model makes its logits, which {asked!r} asks for: the loss is right, and no memory is saved; "
            "torch.nn.functional.cross_entropy of logits [N, V] and ids [N] alone does without, and accuracy is in "
            "lmhead.last_statistics(model)"
        )

    def tell(self, line: str) -> None:
        """Warn, once."""
        if torch.compiler.is_compiling() or line in self.told:
            return
        self.told.add(line)
        warnings.warn(line, stacklevel=2)


def state_of(model: "nn.Module") -> PatchState | None:
    """The state of a patched model; None of another."""
    state: PatchState | None = vars(model).get(ATTRIBUTE)
    return state
