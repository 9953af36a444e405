"""Begin and end of a text: the ids that a tokenizer's files put around it, as transformers reads them."""

import json
from dataclasses import dataclass, replace

from tokenizers import Tokenizer

from lmhead.data.tokenizer.plain_text import PlainText
from lmhead.data.tokenizer.tokenizer_files import ENDS_OF_TEXT, TokenizerFiles
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

        Where there is a chat template, the eos_token ends a turn: a text ends at the usual control token, if there is.

        Raises:
            InputError: nothing is known to end a text.
        """
        end = ends_of_text(files)[-1 if files.chat_template is not None else 0]
        return TextEnds(begin=tuple(PlainText(files.shared_backend()).prefix) or (end,), end=end)


def end_id(files: TokenizerFiles) -> int:
    """The id that ends a text: of the eos_token, or of the usual names, or the first of generation_config.json.

    Raises:
        InputError: there is none.
    """
    number = named_end(files)
    found = [*([] if number is None else [number]), *files.generation_eos]
    if not found:
        raise InputError(
            f"the tokenizer {files.source} has no end-of-text token: name one as eos_token in tokenizer_config.json, "
            f"or add {ENDS_OF_TEXT[0]} to it"
        )
    return found[0]


def named_end(files: TokenizerFiles) -> int | None:
    """The id of the eos_token, or of one of the usual names; None where the tokenizer has none of them."""
    token = files.end_of_text()
    number = None if token is None else files.shared_backend().token_to_id(token)
    return None if number is None else int(number)


def stop_ids(files: TokenizerFiles) -> tuple[int, ...]:
    """Every id that ends a generation: what ends a text, and what generation_config.json says."""
    return tuple(dict.fromkeys([*ends_of_text(files), *files.generation_eos]))


def ends_of_text(files: TokenizerFiles) -> tuple[int, ...]:
    """The ids that end a text: of the eos_token, and of the usual end of a text where that is another control token."""
    backend = files.shared_backend()
    usual = next((token for token in ENDS_OF_TEXT if _is_special(backend, token)), None)
    own = None if usual is None else backend.token_to_id(usual)
    return tuple(dict.fromkeys([end_id(files), *([] if own is None else [own])]))


def generation_stops(files: TokenizerFiles) -> tuple[int, ...]:
    """The ids at which transformers ends a generation: of generation_config.json or config.json, else `stop_ids`.

    Where neither these nor the tokenizer name one, nothing ends it.
    """
    named = files.generation_eos or files.model_eos
    return named if named or files.end_of_text() is None else stop_ids(files)


def prompt_ids(files: TokenizerFiles, prompt: str, *, trained_here: bool = False) -> list[int]:
    """The ids of a text that is gone on with, as transformers makes them: with all that tokenizer.json puts around it.

    Args:
        trained_here: on texts, by a run of this library, older ones of which say nowhere that texts begin with an end.

    Raises:
        InputError: the prompt is empty, and nothing is known to begin or to end a text.
    """
    backend = files.shared_backend()
    ids = list(backend.encode(prompt).ids)
    if ids and (PlainText(backend).prefix or not trained_here):
        return ids
    bos = backend.token_to_id(files.special_tokens.get("bos_token", ""))
    return [TextEnds.of(files).end if bos is None or trained_here else int(bos), *ids]


def with_begin(files: TokenizerFiles) -> TokenizerFiles:
    """The tokenizer that puts by itself before a text what training puts there, so that any reader of it does."""
    backend = files.shared_backend()
    if PlainText(backend).prefix:
        return files
    number = TextEnds.of(files).end
    token = backend.id_to_token(number)
    begin, first, second = (
        {"SpecialToken": {"id": token, "type_id": 0}},
        {"Sequence": {"id": "A", "type_id": 0}},
        {"Sequence": {"id": "B", "type_id": 1}},
    )
    # as JSON: `TemplateProcessing` in Python takes no token with a space or a colon in it
    begins = {
        "type": "TemplateProcessing",
        "single": [begin, first],
        "pair": [begin, first, second],
        "special_tokens": {token: {"id": token, "ids": [number], "tokens": [token]}},
    }
    tree = json.loads(backend.to_str())
    own = tree["post_processor"]
    tree["post_processor"] = begins if own is None else {"type": "Sequence", "processors": [own, begins]}
    return replace(files, json=Tokenizer.from_str(json.dumps(tree)).to_str())


def _is_special(backend: Tokenizer, token: str) -> bool:
    return any(one.content == token and one.special for one in backend.get_added_tokens_decoder().values())
