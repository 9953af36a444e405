"""Begin and end of a text: the ids that a tokenizer's files put around it, as transformers reads them."""

from dataclasses import dataclass, replace

from tokenizers import Tokenizer
from tokenizers.processors import Sequence, TemplateProcessing

from lmhead.data.plain_text import PlainText
from lmhead.data.tokenizer_files import ENDS_OF_TEXT, TokenizerFiles
from lmhead.errors import InputError


@dataclass(frozen=True, slots=True, kw_only=True)
class TextEnds:
    """What stands around a document in training; what stands before a prompt is `begin` too."""

    begin: tuple[int, ...]
    end: int

    @staticmethod
    def of(files: TokenizerFiles) -> "TextEnds":
        """What tokenizer.json puts before a text, and the eos_token. Where it puts nothing, the end of one text begins
        the next.

        Raises:
            InputError: nothing is known to end a text.
        """
        end = end_id(files)
        return TextEnds(begin=tuple(PlainText(files.backend()).prefix) or (end,), end=end)


def end_id(files: TokenizerFiles) -> int:
    """The id that ends a text: of the eos_token, or of the usual names, or the first of generation_config.json.

    Raises:
        InputError: there is none.
    """
    token = files.end_of_text()
    number = None if token is None else files.backend().token_to_id(token)
    found = [*([] if number is None else [int(number)]), *files.generation_eos]
    if not found:
        raise InputError(
            f"the tokenizer {files.source} has no end-of-text token: name one as eos_token in tokenizer_config.json, "
            f"or add {ENDS_OF_TEXT[0]} to it"
        )
    return found[0]


def stop_ids(files: TokenizerFiles) -> tuple[int, ...]:
    """Every id that ends a generation: what ends a text, and what generation_config.json says."""
    return tuple(dict.fromkeys([*ends_of_text(files), *files.generation_eos]))


def ends_of_text(files: TokenizerFiles) -> tuple[int, ...]:
    """The ids that end a text: of the eos_token, and of the usual end of a text where that is another control token."""
    backend = files.backend()
    usual = next((token for token in ENDS_OF_TEXT if _is_special(backend, token)), None)
    own = None if usual is None else backend.token_to_id(usual)
    return tuple(dict.fromkeys([end_id(files), *([] if own is None else [own])]))


def with_begin(files: TokenizerFiles) -> TokenizerFiles:
    """The tokenizer that puts by itself before a text what training puts there, so that any reader of it does."""
    backend = files.backend()
    if PlainText(backend).prefix:
        return files
    number = end_id(files)
    token = backend.id_to_token(number)
    begins = TemplateProcessing(single=[token, "$A"], pair=[token, "$A", "$B:1"], special_tokens=[(token, number)])
    own = backend.post_processor
    backend.post_processor = begins if own is None else Sequence([own, begins])
    return replace(files, json=backend.to_str())


def _is_special(backend: Tokenizer, token: str) -> bool:
    return any(one.content == token and one.special for one in backend.get_added_tokens_decoder().values())
