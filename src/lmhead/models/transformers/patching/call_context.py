"""The modes of torch that an output layer was called in: logits that are made later are made in the same."""

from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True)
class CallContext:
    """Autocast, autograd and inference mode, as they were at a call."""

    kind: str  # of device
    autocast: torch.dtype | None  # None: off
    grad: bool
    inference: bool

    @classmethod
    def current(cls, kind: str) -> "CallContext":
        """As they are now."""
        autocast = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None
        # torch.compile has no inference mode to go back to
        inference = not torch.compiler.is_compiling() and torch.is_inference_mode_enabled()
        return cls(kind, autocast, torch.is_grad_enabled(), inference)

    def autocasts(self) -> torch.autocast:
        """A context with that autocast."""
        return torch.autocast(self.kind, dtype=self.autocast, enabled=self.autocast is not None)
