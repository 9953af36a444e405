"""Names that a chat template's arguments may not have: what they mean is said by the conversation, or by nobody."""

from collections.abc import Mapping
from typing import Final

from lmhead.errors import ArgumentError

_OWNED: Final = {  # name -> where what it means is said
    "messages": "the messages of a conversation are what is rendered",
    "tools": "tools stand beside the messages, in a column of their own",
    "add_generation_prompt": "it is on where an answer begins, and nowhere else",
    "continue_final_message": "a conversation is rendered whole",
    "strftime_now": "the date is an option of its own",
    "raise_exception": "it is how a template refuses",
    "self": "take another name",  # Python's
}


def check_names(arguments: Mapping[str, object], name: str) -> None:
    """Raise ArgumentError where one of the arguments, which are called `name`, has another's name."""
    for each in arguments:
        if each in _OWNED:
            raise ArgumentError(f"{name} must be without {each}, got it: {_OWNED[each]}")
