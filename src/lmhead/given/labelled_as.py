"""How rows are labelled for a model: as its run labelled, where nobody says otherwise."""

from dataclasses import fields, replace

from lmhead.data.labelling.chat_config import ChatConfig
from lmhead.given.given_model import GivenModel


def labelled_as(config: ChatConfig, given: GivenModel | None) -> tuple[ChatConfig, tuple[str, ...]]:
    """(the options, where nobody gave another one those of the model's run; what has to be said of that)."""
    own, default = None if given is None else given.chat, ChatConfig()
    if given is None or own is None:
        return config, ()
    taken = {
        field.name: value
        for field in fields(ChatConfig)
        if (value := getattr(own, field.name)) != getattr(default, field.name) == getattr(config, field.name)
    }
    told = ", ".join(f"{name}={value!r}" for name, value in taken.items() if name != "date")  # which every run has
    notes = (f"rows are labelled as {given.name} labelled its own: {told}",) if told else ()
    return replace(config, **taken), notes
