"""Reasons in words: why a token is not trained, for a reader who has never met a label of -100.

By the numbers of `lmhead.labels.targets.Reason`, which is not imported: a report reads a record without torch.
"""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class ReasonWords:
    """A reason as it stands beside its pattern, and as a sentence."""

    name: str
    sentence: str


REASON_WORDS: Final[dict[int, ReasonWords]] = {
    0: ReasonWords(name="trained", sentence="The model is asked to write this token, and its error there is its loss."),
    1: ReasonWords(
        name="ignored", sentence="Its label is the ignore index (-100): whoever made the batch left it out."
    ),
    2: ReasonWords(name="end of row", sentence="Nothing follows in the row, so there is nothing to predict."),
    3: ReasonWords(name="first of a document", sentence="Nothing of its document stands before it to predict it from."),
    4: ReasonWords(name="padding", sentence="It fills the row up to the length of the longest, and means nothing."),
    5: ReasonWords(name="weight 0", sentence="It has a target, whose weight is 0: it counts for nothing in the loss."),
    6: ReasonWords(name="overlap", sentence="The window before this one has it too, and it is counted there."),
    16: ReasonWords(name="system", sentence="The system's message: the model reads it, and is not asked to write it."),
    17: ReasonWords(name="user", sentence="The user's words: the model reads them, and is not asked to write them."),
    18: ReasonWords(name="tool", sentence="What a tool answered: the model reads it, and is not asked to write it."),
    19: ReasonWords(
        name="tool schema", sentence="What tools there are: the model reads it, and is not asked to write it."
    ),
    20: ReasonWords(name="other role", sentence="A message of a role that is not trained: the model only reads it."),
    21: ReasonWords(name="template", sentence="The chat template's own text, which inference puts there by itself."),
    22: ReasonWords(name="earlier turn", sentence="An earlier answer of the assistant; only the last one is trained."),
    23: ReasonWords(name="excluded", sentence='An answer of the assistant that the data exclude ("train": false).'),
    24: ReasonWords(name="reasoning", sentence="The assistant's reasoning, which is not trained here."),
    25: ReasonWords(
        name="cut off", sentence="It belongs to a text that was cut: its beginning, or its end, is not here."
    ),
    26: ReasonWords(
        name="prompt", sentence="The prompt of a completion: the model reads it, and is not asked to write it."
    ),
}
