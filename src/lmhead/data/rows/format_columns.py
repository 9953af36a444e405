"""The columns by which the formats of rows are told apart: each format has all of its columns, each under one name."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

CONVERSATIONS: Final = ("conversations", "conversation")
COMPLETIONS: Final = ("completion", "response")
OUTPUTS: Final = ("output", "response")
RESPONSES: Final = "responses"
TEXT: Final = "text"  # the format of which texts are trained end to end, unlabelled
COLUMNS: Final[dict[str, tuple[tuple[str, ...], ...]]] = {  # the first that a row has is its format
    "messages": (("messages",),),
    "sharegpt": (CONVERSATIONS,),
    "prompt_completion": (("prompt",), COMPLETIONS),
    "alpaca": (("instruction",), OUTPUTS),
    "tokens": (("input_ids",),),
    TEXT: (("text",),),
    RESPONSES: (("input",), ("output",)),  # of items: two texts under these names are no format
}
MASKS: Final = ("completion_mask", "assistant_masks", "assistant_tokens_mask", "loss_mask")  # 1: a token is learnt
MARKS: Final = ("label", "kto_tag")  # true or false: whether a row is a good answer, as data for KTO has it
_BESIDE: Final = (
    "system",
    "tools",
    "functions",
    "chat_template_kwargs",
    "input",
    "context",
    "history",
    "instructions",
    *MARKS,
)
OF_TOKENS: Final = ("labels", *MASKS, "attention_mask", "position_ids", "seq_lengths")
READ: Final = tuple(
    dict.fromkeys([name for names in COLUMNS.values() for each in names for name in each] + [*_BESIDE, *OF_TOKENS])
)  # every column that some format reads


def name_of_format(columns: Iterable[str]) -> str | None:
    """The first format that has these columns; None where there is none."""
    return next((name for name in COLUMNS if has_columns(name, columns)), None)


def has_columns(name: str, columns: Iterable[str]) -> bool:
    """Whether a row has the columns of a format. Names without values are not those of OpenAI's responses."""
    there = set(columns)
    if not all(there & set(names) for names in COLUMNS[name]):
        return False
    return name != RESPONSES or (isinstance(columns, Mapping) and _holds_items(columns["output"]))


def holds_rows(row: Mapping[str, Any]) -> bool:
    """Whether an object of a .json file is a row, by its columns and what they hold: any JSON may have messages."""
    name = name_of_format({column: value for column, value in row.items() if value is not None})
    if name is None:
        return False
    values = [next(row[column] for column in names if row.get(column) is not None) for names in COLUMNS[name]]
    if name in ("messages", "sharegpt"):
        return all(map(are_messages, values))
    kinds = {TEXT: str, "alpaca": str, "tokens": list}.get(name, str | list)
    return all(isinstance(value, kinds) for value in values)


def are_messages(value: object) -> bool:
    """Whether it is a list of messages, one at least."""
    if not isinstance(value, list) or not value:
        return False
    return all(isinstance(item, dict) and ("role" in item or "from" in item) for item in value)


def _holds_items(value: object) -> bool:
    """Whether it is a list of items of OpenAI's responses."""
    if not isinstance(value, list) or not value:
        return False
    return all(isinstance(item, dict) and isinstance(item.get("type"), str) for item in value)
