"""What a message and its blocks say of its training, in the words of any trainer -> `train` and `weight`."""

from collections.abc import Mapping
from typing import Any, Final

from lmhead.data.rows.row import Place
from lmhead.data.rows.row_error import broken
from lmhead.errors import ArgumentError, InputError
from lmhead.labels.conversation.turn_flags import FLAGS, WHOLE_ALONE, said

KEYS: Final = frozenset(FLAGS)


def training_of(place: Place, name: str, message: Mapping[str, Any]) -> dict[str, Any]:
    """`train` and `weight`, of whatever flags a message has.

    Raises:
        InputError: one breaks its rule, or two contradict each other.
    """
    if KEYS.isdisjoint(message):
        return {}
    try:
        train, weight = said(message, name)
    except ArgumentError as error:
        raise InputError(f"{place}: {error}") from None
    return {key: value for key, value in (("train", train), ("weight", weight)) if value is not None}


def take_flags_of_blocks(place: Place, name: str, message: dict[str, Any]) -> None:
    """Take `train` and `weight` out of the blocks of a message, where all of them say the same.

    Raises:
        InputError: they do not, or one breaks its rule.
    """
    content = message.get("content")
    if not isinstance(content, list | tuple):
        return
    blocks = [block for block in content if block is not None]
    flags = [{key: block[key] for key in KEYS & block.keys()} if isinstance(block, Mapping) else {} for block in blocks]
    if not any(value is not None for each in flags for value in each.values()):
        return
    role = {"role": message["role"]}
    trainings = [training_of(place, f"{name}.content[{i}]", {**each, **role}) for i, each in enumerate(flags)]
    own: dict[str, Any] = {key: message[key] for key in ("train", "weight") if key in message}
    if message["role"] != "assistant":  # nothing of it is learnt, and no block says that it is
        trainings = [own]
    if any(each != (own or trainings[0]) for each in trainings):
        raise broken(place, f"{name}.content", "say one thing of its training", "blocks that differ", WHOLE_ALONE)
    message |= trainings[0]
    message["content"] = [
        {key: block[key] for key in block if key not in KEYS} if isinstance(block, Mapping) else block
        for block in blocks
    ]
