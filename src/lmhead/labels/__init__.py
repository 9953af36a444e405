"""From text to ids, and to what is scored: the only place where ids are shifted."""

from lmhead.labels.example import Example, MessageSpan, Note
from lmhead.labels.targets import Reason, Targets, shift_labels

__all__ = ["Example", "MessageSpan", "Note", "Reason", "Targets", "shift_labels"]
