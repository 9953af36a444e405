"""A tokenizer that says which characters each token stands for: `tokenizers.Tokenizer`, bare or inside transformers'.

transformers is not imported: its fast tokenizers are known by the `tokenizers.Tokenizer` that they hold.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tokenizers import Tokenizer

from lmhead.errors import ArgumentError, ArgumentTypeError


@dataclass(frozen=True, slots=True, kw_only=True)
class FastTokenizer:
    """The tokenizer, what a template may call its special tokens, and the templates that it brings."""

    backend: Tokenizer
    special_tokens: dict[str, str]  # such as bos_token
    template: str | None
    tool_template: str | None  # where another one is meant for conversations with tools

    @staticmethod
    def of(
        tokenizer: object, *, chat_template: str | None, special_tokens: Mapping[str, str] | None
    ) -> "FastTokenizer":
        """What labelling needs of a tokenizer; what is given explicitly wins.

        Raises:
            ArgumentTypeError: the tokenizer is slow, or none.
            ArgumentError: there is no chat template.
        """
        backend = tokenizer if isinstance(tokenizer, Tokenizer) else getattr(tokenizer, "backend_tokenizer", None)
        if not isinstance(backend, Tokenizer):
            raise ArgumentTypeError(
                "tokenizer must be a tokenizers.Tokenizer or a fast tokenizer of transformers, got "
                f"{type(tokenizer).__name__}: a slow one does not say which characters a token stands for; load it "
                "with AutoTokenizer.from_pretrained(..., use_fast=True)"
            )
        named = {
            str(name): str(token) for name, token in (getattr(tokenizer, "special_tokens_map", None) or {}).items()
        }
        own = getattr(tokenizer, "chat_template", None)
        template, tool_template = (chat_template, None) if chat_template is not None else _templates(own)
        if template is None and tool_template is None:
            raise ArgumentError(
                "chat_template must be given for a tokenizer that brings none, got None: give the Jinja text as "
                "chat_template=..."
            )
        return FastTokenizer(
            backend=_unlimited(backend),
            special_tokens=named | dict(special_tokens or {}),
            template=template,
            tool_template=tool_template,
        )

    def source(self, with_tools: bool) -> str:
        """The template for a conversation with or without tools."""
        found = self.tool_template if with_tools and self.tool_template is not None else self.template
        if found is None:
            raise ArgumentError("chat_template must be given for conversations without tools, got one for tools alone")
        return found

    def added_tokens(self) -> dict[int, str]:
        """Tokens that the tokenizer never splits, special or not, by id."""
        return {number: token.content for number, token in self.backend.get_added_tokens_decoder().items()}

    def control_tokens(self) -> set[str]:
        """Those of the added tokens that are special."""
        return {token.content for token in self.backend.get_added_tokens_decoder().values() if token.special}


def _templates(own: Any) -> tuple[str | None, str | None]:
    """The template of a transformers tokenizer, and the one for tools where it has several."""
    if isinstance(own, Mapping):
        return own.get("default"), own.get("tool_use")
    return own, None


def _unlimited(backend: Tokenizer) -> Tokenizer:
    """The tokenizer without truncation and padding: they would change what is labelled without a word."""
    if backend.truncation is None and backend.padding is None:
        return backend
    free = Tokenizer.from_str(backend.to_str())
    free.no_truncation()
    free.no_padding()
    return free
