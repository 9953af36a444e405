"""Are the ids of two models the same tokens? What a comparison token by token stands on."""

from lmhead.errors import InputError
from lmhead.given.given_model import GivenModel


def require_same_tokenizer(base: GivenModel, model: GivenModel) -> None:
    """Refuse two models whose ids are other tokens.

    Raises:
        InputError: the tokenizers beside them differ; or one has none, and the heads differ in size.
    """
    remedy = "compare models of different tokenizers in bits per byte: lmhead eval A B DATA"
    if base.tokenizer is not None and model.tokenizer is not None:
        if not base.tokenizer.same_tokens(model.tokenizer):
            raise InputError(f"base must have the model's tokenizer, got another one in {base.name}: {remedy}")
    elif base.model.vocab_size != model.model.vocab_size:
        sizes = f"{base.model.vocab_size:,} and {model.model.vocab_size:,} tokens"
        raise InputError(
            f"base must have the model's tokenizer, got heads of {sizes} in {base.name} and {model.name} without a "
            f"tokenizer beside both: {remedy}"
        )
