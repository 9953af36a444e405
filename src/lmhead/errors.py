"""The exceptions of lmhead, the checks that raise them, and the id that marks an ignored position.

    LmheadError
    ├── ArgumentError        (also ValueError)    an argument breaks its rule
    ├── ArgumentTypeError    (also TypeError)     an argument is of the wrong kind
    ├── InputError           (also ValueError)    a file, a data set or a run folder cannot be used
    ├── ConversationError    (also ValueError)    a conversation cannot be labelled; `kind` says why in one word
    │   ├── TemplateError                         its chat template refuses it, fails on it, or was stopped
    │   └── NotTransparentError                   where its texts went in the rendered text cannot be proven
    ├── NonFiniteError       (also RuntimeError)  a loss or a gradient stopped being finite
    └── LostRankError        (also RuntimeError)  another process of the run ended, or hangs; the message says which

Every message reads "<name> must <rule>, got <value>: <remedy>" and names options as Python does (options.py). The
command line prints it on one line, with its flags for options, and exits with 2; with 1 where a run went wrong by
itself.
"""

from collections.abc import Sequence
from os import PathLike
from typing import Final, Literal

from lmhead.options import Message

IGNORE_INDEX: Final = -100
RefusalKind = Literal[  # docs/data/labels.md tells of each, data/sets/refusals.py what to do about it
    "template",  # the chat template refuses it, fails on it, or was stopped
    "not_transparent",  # where its texts went in the rendered text cannot be proven
    "dropped_text",  # the chat template does not render a text
    "media",  # an image or the like, of which a model of text gets no features
    "python_text",  # an answer would have Python's repr of something
    "printed_block",  # an answer would have a block as JSON
    "json_twice",  # arguments that are JSON would be quoted once more
    "prefill",  # what the prompt gave of an answer is not rendered in one piece with the rest
    "generation_prompt",  # where an answer begins is not told
    "interleaved",  # a turn is not rendered in one piece
    "role",  # nobody knows a role
    "tokens",  # a token reaches over a border, and the tokenizer cannot tokenise the pieces apart
    "too_long",  # longer than max_length
    "nothing_to_train",
    "format",  # the row is none
    "ids_out_of_vocabulary",  # ids that somebody else made: of another tokenizer
    "labels_already_shifted",
    "labels_are_not_input_ids",
]


class LmheadError(Exception):
    """Base of everything that lmhead raises on purpose."""

    def __init__(self, message: str) -> None:
        super().__init__(Message(message))

    @property
    def message(self) -> Message:
        """What `str` shows, and where options stand in it."""
        said: Message = self.args[0]
        return said


class ArgumentError(LmheadError, ValueError):
    """An argument's value breaks the rule that the message names."""


class ArgumentTypeError(LmheadError, TypeError):
    """An argument is of a kind that the function does not take."""


class InputError(LmheadError, ValueError):
    """A file, a data set or a run folder cannot be used as it is."""


class ConversationError(LmheadError, ValueError):
    """A conversation cannot be labelled. What is learnt of it would have to be guessed, or is nothing."""

    def __init__(self, message: str, *, kind: RefusalKind) -> None:
        super().__init__(message)
        self.kind: RefusalKind = kind  # to count refusals by

    def __reduce__(self) -> tuple[object, ...]:
        return _conversation_error, (type(self), self.message, self.kind)


class TemplateError(ConversationError):
    """A chat template refuses a conversation, fails on it, or was stopped by the sandbox."""

    def __init__(self, message: str, *, kind: RefusalKind = "template") -> None:
        super().__init__(message, kind=kind)


class NotTransparentError(ConversationError):
    """With markers in its texts a conversation renders otherwise than without: nothing can be located in it."""

    def __init__(self, message: str, *, kind: RefusalKind = "not_transparent") -> None:
        super().__init__(message, kind=kind)


class NonFiniteError(LmheadError, RuntimeError):
    """A loss or a gradient is NaN or infinite; nothing was updated with it."""


class LostRankError(LmheadError, RuntimeError):
    """Another rank of the run ended, or does not come to what all ranks do together; the message says which."""


def _conversation_error(cls: type[ConversationError], message: str, kind: RefusalKind) -> ConversationError:
    """Rebuilds one that was pickled: labelling runs in several processes."""
    return cls(message, kind=kind)


def require(holds: bool, name: str, rule: str, got: object, remedy: str = "") -> None:
    """Raise ArgumentError "`name` must `rule`, got `got`: `remedy`" unless `holds`."""
    if not holds:
        raise ArgumentError(f"{name} must {rule}, got {got}" + (f": {remedy}" if remedy else ""))


def require_kind(name: str, value: object, kind: type, remedy: str = "") -> None:
    """Raise ArgumentTypeError "`name` must be a `kind`, got <kind of value>: `remedy`" unless it is one."""
    if not isinstance(value, kind):
        what = f"{'an' if kind.__name__[0] in 'AEIO' else 'a'} {kind.__name__}"
        got = type(value).__name__
        raise ArgumentTypeError(f"{name} must be {what}, got {got}" + (f": {remedy}" if remedy else ""))


def require_path(name: str, value: object) -> None:
    """Raise ArgumentTypeError unless `value` is a path: a str or a pathlib.Path."""
    if not isinstance(value, str | PathLike):
        raise ArgumentTypeError(f"{name} must be a path (str or pathlib.Path), got {type(value).__name__}")


def require_paths(name: str, value: object) -> None:
    """Raise ArgumentTypeError unless `value` is a list of paths."""
    if not isinstance(value, Sequence) or not all(isinstance(path, str | PathLike) for path in value):
        other = (
            [type(path).__name__ for path in value if not isinstance(path, str | PathLike)]
            if isinstance(value, Sequence)
            else []
        )
        got = f"a {type(value).__name__}" + (f" with a {other[0]} in it" if other else "")
        raise ArgumentTypeError(f"{name} must be a list of paths, got {got}")


def require_choice(name: str, value: object, choices: Sequence[str]) -> None:
    """Raise ArgumentError unless `value` is one of the words in `choices`."""
    said = f"{', '.join(choices[:-1])} or {choices[-1]}"
    require(isinstance(value, str) and value in choices, name, f"be {said}", repr(value))


def exactly_one(**arguments: object) -> str:
    """The name of the one argument that is not None.

    Raises:
        ArgumentError: none of them or more than one is given.
    """
    given = [name for name, value in arguments.items() if value is not None]
    if len(given) != 1:
        names = " and ".join(arguments)
        raise ArgumentError(
            f"exactly one of {names} must be given, got {' and '.join(given) or 'neither'}: "
            "labels[t] is the token AT t and is shifted here; targets[t] is the token to predict FROM t and is not"
        )
    return given[0]
