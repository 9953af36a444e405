"""Example: one labelled text: its ids, which of them are learnt, and why each of the others is not.

Everything here is aligned with the ids: entry t speaks of the token AT t. Nothing is shifted before `targets`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch

from lmhead.errors import IGNORE_INDEX, ArgumentError, ArgumentTypeError, require
from lmhead.labels.targets import Reason, Targets

NoteKind = Literal[
    "control_token_in_text",  # the text of a message became a control token
    "generation_prompt_differs",  # at inference the turn would begin with other text than it does here
    "key_dropped",  # the template does not render a key of a message that is neither text nor metadata
    "message_dropped",  # the template did not render a message's text, which was not to be trained
    "no_features",  # an image or the like stands in a prompt: a model of text gets nothing of it but its tokens
    "no_stop",  # what ends a turn is known to stop no generation
    "no_terminator",  # nothing tells the model to end its turn
    "null_dropped",  # the template leaves out an argument that is null
    "printed_block",  # the template writes a block of a prompt as JSON
    "python_text",  # the template writes something as Python does: True for true, a list as its repr
    "reasoning_dropped",  # the template did not render an assistant's reasoning
    "reasoning_guessed",  # text of a content counts as reasoning by one tag alone, that opens or that closes it
    "regions_tokenized_apart",  # a token would have straddled the border of what is trained
    "rendered_text",  # a text without roles begins with a control token, which stays text
    "terminator_differs",  # a turn ends otherwise where it is the last
    "truncated",  # the text was longer than max_length
]


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageSpan:
    """Where one message's tokens are. An assistant's span is its turn: what it has to produce, terminator included."""

    index: int  # of the message in the conversation
    role: str
    start: int  # token
    stop: int  # token, exclusive


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """Something that a reader of the data should know; nothing that makes the labels wrong."""

    kind: NoteKind
    message: int | None = None  # index of the message; None: of the whole conversation
    text: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Example:
    """One text as ids [T], with what is learnt of it. Arrays live in numpy: examples are made, cached and packed there.

    Raises:
        ArgumentError: the arrays differ in length, or `trained` and `reason` contradict each other.

    Example:
        >>> example = Example.of([7, 8, 9], trained=[False, True, True], reason=Reason.USER)
        >>> example.labels().tolist(), [Reason(value).name for value in example.reason]
        ([-100, 8, 9], ['USER', 'SCORED', 'SCORED'])
        >>> example.targets().ids  # shifted
        tensor([   8,    9, -100])
    """

    ids: npt.NDArray[np.int32]  # [T]
    trained: npt.NDArray[np.bool_]  # [T]: the token AT t is learnt
    reason: npt.NDArray[np.uint8]  # [T], values of Reason: why the token AT t is not learnt; SCORED where it is
    weight: npt.NDArray[np.float32] | None = None  # [T], of learning the token AT t; None: 1
    spans: tuple[MessageSpan, ...] = ()
    notes: tuple[Note, ...] = ()

    def __post_init__(self) -> None:
        for name in ("trained", "reason", "weight"):
            array = getattr(self, name)
            if array is not None:
                require(array.shape == self.ids.shape, name, f"have the ids' shape {self.ids.shape}", array.shape)
        # int: numpy asks an enum for attributes that only Python code can deny, and clears whatever error comes out of
        # that, Ctrl-C too.
        if not np.array_equal(self.trained, self.reason == int(Reason.SCORED)):
            raise ArgumentError("reason must be SCORED exactly where trained is true, got a token where it is not")

    @staticmethod
    def of(ids: list[int], *, trained: list[bool], reason: Reason = Reason.IGNORED) -> "Example":
        """An example out of plain lists, with one reason for every token that is not trained.

        Raises:
            ArgumentError: the lists differ in length, or are lists of lists.
            ArgumentTypeError: they are no lists, of ids and of True and False.
        """
        mask = _array("trained", trained, np.bool_)
        return Example(
            ids=_array("ids", ids, np.int32),
            trained=mask,
            reason=np.where(mask, np.uint8(Reason.SCORED), np.uint8(reason)),
        )

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def learnt(self) -> npt.NDArray[np.bool_]:
        """bool [T]: the token AT t is trained, and weighs something; the first is, too, though nothing predicts it."""
        return self.trained if self.weight is None else self.trained & (self.weight != 0)

    def labels(self, ignore_index: int = IGNORE_INDEX) -> npt.NDArray[np.int64]:
        """Labels [T]: the id AT t where it is learnt, else `ignore_index`. Not shifted."""
        return np.where(self.trained, self.ids.astype(np.int64), np.int64(ignore_index))

    def targets(self, ignore_index: int = IGNORE_INDEX) -> Targets:
        """Targets [T] of the next token, with the reason and the weight of each position."""
        return Targets.from_labels(
            torch.from_numpy(self.labels(ignore_index)),
            weight=None if self.weight is None else torch.from_numpy(self.weight),
            reason=torch.from_numpy(self.reason),
            ignore_index=ignore_index,
        )


def _array(name: str, values: object, dtype: type[np.generic]) -> npt.NDArray[Any]:
    """`values` [T] as an array.

    Raises:
        ArgumentTypeError: they are no list of such numbers.
    """
    listed = isinstance(values, Sequence | np.ndarray | torch.Tensor) and not isinstance(values, str | bytes)
    try:
        array = np.asarray(values, dtype=dtype) if listed else None
    except (TypeError, ValueError, OverflowError):
        array = None
    if array is None:
        what = "ids" if dtype is np.int32 else "True and False"
        raise ArgumentTypeError(f"{name} must be a list of {what}, got {type(values).__name__}")
    require(array.ndim == 1, name, "be [T]", array.shape)
    return array
