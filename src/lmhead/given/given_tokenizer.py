"""Any tokenizer that people have, as an inspection needs it: text of ids, how many there are, special ids, files."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from lmhead.data.tokenizer.tokenizer_files import TokenizerFiles, read_tokenizer
from lmhead.errors import ArgumentTypeError
from lmhead.inspection.batch.special_ids import SpecialIds
from lmhead.inspection.tokens.token_text import TokenText
from lmhead.labels.id_count import id_count


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenTokenizer:
    """A tokenizer, whatever it is."""

    name: str
    size: int  # one more than the largest id
    text: TokenText
    special: SpecialIds
    backend: Tokenizer | None = None  # None: it is written in Python
    files: TokenizerFiles | None = None  # what labels rows; None: it is written in Python
    content: str  # all that it is, as text

    @staticmethod
    def of(tokenizer: object) -> "GivenTokenizer":
        """Of a path or a name on the Hub, TokenizerFiles, or an object of tokenizers or transformers.

        Raises:
            ArgumentTypeError: it is none of these.
            InputError: there is none at the path, or it is slow.
        """
        if isinstance(tokenizer, GivenTokenizer):
            return tokenizer
        if isinstance(tokenizer, str | Path):
            tokenizer = read_tokenizer(str(tokenizer))
        if isinstance(tokenizer, TokenizerFiles):
            return _of_files(tokenizer, tokenizer.shared_backend(), SpecialIds.of(tokenizer))
        special = SpecialIds.of(tokenizer)  # refuses what is none
        backend: object = tokenizer
        if not isinstance(tokenizer, Tokenizer):
            backend = getattr(tokenizer, "backend_tokenizer", None)
        name = str(getattr(tokenizer, "name_or_path", "") or type(tokenizer).__name__)
        if isinstance(backend, Tokenizer):
            return _of_files(_files(tokenizer, backend, name), backend, special)
        return _of_python(tokenizer, name, special)

    def header(self) -> dict[str, Any]:
        """For a record."""
        sha256 = hashlib.sha256(self.content.encode("utf-8", "surrogatepass")).hexdigest()
        return {"name": self.name, "vocab_size": self.size, "sha256": sha256}

    def same_tokens(self, other: "GivenTokenizer") -> bool:
        """Whether every id that both have is the same token in both."""
        if self.content == other.content:
            return True
        shared = min(self.size, other.size)
        return all(self.text.spelled(number) == other.text.spelled(number) for number in range(shared))


def _of_files(files: TokenizerFiles, backend: Tokenizer, special: SpecialIds) -> GivenTokenizer:
    return GivenTokenizer(
        name=files.source,
        size=id_count(backend),
        text=TokenText.of(backend),
        special=special,
        backend=backend,
        files=files,
        content=files.json,
    )


def _files(tokenizer: object, backend: Tokenizer, name: str) -> TokenizerFiles:
    """What would lie on the disk of a tokenizer that came as an object."""
    own = getattr(tokenizer, "chat_template", None)
    templates = own if isinstance(own, Mapping) else {"default": own}
    named = getattr(tokenizer, "special_tokens_map", None) or {}
    return TokenizerFiles(
        json=backend.to_str(),
        chat_template=templates.get("default"),
        tool_template=templates.get("tool_use"),
        special_tokens={key: str(token) for key, token in named.items() if key.endswith("_token")},
        source=name,
    )


def _of_python(tokenizer: Any, name: str, special: SpecialIds) -> GivenTokenizer:
    needed = ("convert_ids_to_tokens", "added_tokens_decoder", "all_special_ids", "get_vocab")
    lacks = [method for method in needed if not hasattr(tokenizer, method)]
    if lacks:
        raise ArgumentTypeError(
            f"tokenizer must be one of transformers or tokenizers, got {type(tokenizer).__name__} without {lacks[0]}"
        )
    vocabulary = tokenizer.get_vocab()
    return GivenTokenizer(
        name=name,
        size=id_count(tokenizer),
        text=TokenText.of_python(tokenizer),
        special=special,
        content=json.dumps(vocabulary, sort_keys=True),
    )
