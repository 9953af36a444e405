"""Number of ids that an embedding needs for a tokenizer: its largest id and one, whatever holes are below."""

from typing import Any


def id_count(tokenizer: Any) -> int:
    """One more than the largest id of a `tokenizers.Tokenizer` or a tokenizer of transformers, added tokens included.

    Not `get_vocab_size()` or `len()`: these count tokens, and ids may have holes where tokens were removed or reserved.

    Example:
        >>> from tokenizers import Tokenizer, models
        >>> id_count(Tokenizer(models.WordLevel({"a": 0, "b": 7})))
        8
    """
    return max(tokenizer.get_vocab().values(), default=-1) + 1  # both kinds count added tokens in by default
