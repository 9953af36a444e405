"""Special ids of a tokenizer, as a batch's checks need them: how many ids there are, which begin, end and pad."""

from dataclasses import dataclass

from lmhead.data.tokenizer.tokenizer_files import TokenizerFiles
from lmhead.errors import ArgumentTypeError
from lmhead.labels.id_count import id_count


@dataclass(frozen=True, slots=True, kw_only=True)
class SpecialIds:
    """Ids of a tokenizer; None where it has no such token, or cannot say."""

    size: int | None = None  # one more than the largest id
    bos: int | None = None
    eos: int | None = None
    pad: int | None = None

    @staticmethod
    def of(tokenizer: object) -> "SpecialIds":
        """Of a transformers tokenizer, or TokenizerFiles; of a `tokenizers.Tokenizer`, which knows no roles, the size
        alone; itself.

        Raises:
            ArgumentTypeError: it is neither.
        """
        if tokenizer is None:
            return SpecialIds()
        if isinstance(tokenizer, SpecialIds):
            return tokenizer
        if isinstance(tokenizer, TokenizerFiles):
            backend, named = tokenizer.shared_backend(), tokenizer.special_tokens
            ids = {name: backend.token_to_id(named.get(f"{name}_token", "")) for name in ("bos", "eos", "pad")}
            return SpecialIds(size=id_count(backend), **ids)
        if hasattr(tokenizer, "get_vocab_size") and hasattr(tokenizer, "get_vocab"):
            return SpecialIds(size=id_count(tokenizer))
        if not hasattr(tokenizer, "eos_token_id") or not hasattr(tokenizer, "__len__"):
            raise ArgumentTypeError(
                f"tokenizer must be one of transformers or tokenizers, got {type(tokenizer).__name__}"
            )
        return SpecialIds(
            size=id_count(tokenizer) if hasattr(tokenizer, "get_vocab") else len(tokenizer),
            bos=getattr(tokenizer, "bos_token_id", None),
            eos=tokenizer.eos_token_id,
            pad=getattr(tokenizer, "pad_token_id", None),
        )
