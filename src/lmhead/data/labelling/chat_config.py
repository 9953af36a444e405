"""ChatConfig: how rows become labelled tokens, as flags and YAML say it. Imports no torch."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatConfig:
    """What is trained of a conversation, and what becomes of one that cannot be labelled."""

    format: str | None = None
    """Of the rows: messages, sharegpt, prompt_completion, alpaca, text, tokens. None: recognised by the columns."""
    columns: str | None = None
    """What columns are to be called: messages=dialogue,tools=functions makes the data's dialogue our messages."""
    template: str | None = None
    """A Jinja file to use as the chat template. None: the tokenizer's own, or ChatML where it has none."""
    template_arguments: str = "{}"
    """JSON of names that the template reads: {"enable_thinking": false}."""
    date: str | None = None
    """What a template that asks for the date is told, YYYY-MM-DD. None: today."""
    train_on: Literal["all", "last"] = "all"
    """All of the assistant's turns or the last one, where a message does not say."""
    train_reasoning: bool = True
    """Whether the assistant's reasoning is learnt."""
    assistant_header: str | None = None
    """What stands right before an assistant's text, for a template whose generation prompt does not tell."""
    dropped_text: Literal["refuse", "note"] = "refuse"
    """What a conversation gets of which the template leaves out a text that is not trained."""
    overflow: Literal["refuse", "truncate_end", "truncate_start"] = "refuse"
    """What a conversation gets that is longer than a row."""
    on_error: Literal["stop", "skip"] = "stop"
    """What a row gets that cannot be labelled: the run stops before training, or the row is left out and counted."""
    workers: int | None = None
    """Processes that label. None: as many as there are cores, where the data is worth it."""
    cache: str | None = None
    """A folder for labelled data, found again by the content of data, template, tokenizer and options. None: none."""
