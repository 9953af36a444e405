"""A small tokenizer and recipes with it, and data files of every kind."""

import json

from tests.labels.chat.chat_cases import CASES, WEATHER, assistant, trained, user
from tokenizers import Tokenizer

from lmhead.data.labelling.chat_config import ChatConfig
from lmhead.data.labelling.recipe import Recipe
from lmhead.data.tokenizer.tokenizer_files import TokenizerFiles


def tokenizer(**fields) -> TokenizerFiles:
    backend = Tokenizer.from_str(trained())
    backend.add_special_tokens(["<|endoftext|>"])
    return TokenizerFiles(**{"json": backend.to_str(), **fields})


def recipe(*, max_length=None, files=None, **options) -> Recipe:
    return Recipe.of(files or tokenizer(), ChatConfig(**options), max_length=max_length)


CONVERSATIONS = [
    {"messages": messages, **({"tools": [WEATHER]} if case == "tools" else {})} for case, messages in CASES.items()
]
WEIGHTED = {"messages": [user("Ask"), assistant("Half", weight=0.5), user("Ask"), assistant("None", train=False)]}
UNTRAINED = {"messages": [user("Ask alone")]}  # nothing to train
BROKEN = {"messages": "no list"}  # breaks the format


def write_jsonl(file, rows):
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(file)


def same(one, other) -> bool:
    """Whether two Labelled are equal in everything."""
    if (one.place, one.refusal) != (other.place, other.refusal) or (one.example is None) != (other.example is None):
        return False
    if one.example is None:
        return True
    a, b = one.example, other.example
    weights = [None if x.weight is None else x.weight.tolist() for x in (a, b)]
    arrays = all(getattr(a, n).tolist() == getattr(b, n).tolist() for n in ("ids", "trained", "reason"))
    dtypes = all(getattr(a, n).dtype == getattr(b, n).dtype for n in ("ids", "trained", "reason"))
    return arrays and dtypes and weights[0] == weights[1] and (a.spans, a.notes) == (b.spans, b.notes)
