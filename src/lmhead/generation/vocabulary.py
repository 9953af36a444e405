"""Vocabulary, the ids that are tokens: a model's table may have rows beyond them, and an id may be left out."""

from tokenizers import Tokenizer


def token_ids(tokenizer: Tokenizer) -> frozenset[int]:
    """Every id of the tokenizer, added tokens included.

    Example:
        >>> from tokenizers import models
        >>> sorted(token_ids(Tokenizer(models.WordLevel({"a": 0, "b": 7}, unk_token="a"))))
        [0, 7]
    """
    return frozenset(tokenizer.get_vocab(with_added_tokens=True).values())
