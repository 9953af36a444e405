"""From text to ids, and to what is scored: the only place where ids are shifted."""

from lmhead.labels.targets import Reason, Targets, shift_labels

__all__ = ["Reason", "Targets", "shift_labels"]
