"""Prefix: what stands before a text that is scored, so that its first token is predicted from something, and why that.

A model that always read a beginning of sequence makes nonsense of a text without one (lm-evaluation-harness #1586: word
perplexity 17,832,760 in place of 39.14). So what is put there is decided here, once, and told.
"""

from dataclasses import dataclass
from typing import Literal

from lmhead.data.tokenizer.plain_text import PlainText
from lmhead.data.tokenizer.text_ends import TextEnds, named_end
from lmhead.data.tokenizer.tokenizer_files import TokenizerFiles
from lmhead.errors import InputError
from lmhead.evaluation.documents.document_options import PrefixPolicy
from lmhead.options import option

Origin = Literal["tokenizer", "run", "bos", "eos", "none"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prefix:
    """Ids before each text. A chat template writes what begins a conversation by itself."""

    ids: tuple[int, ...] = ()
    names: tuple[str, ...] = ()  # of the ids, as the tokenizer calls them
    origin: Origin = "none"  # tokenizer: it puts them there by itself; run: training did; bos, eos: its token

    @staticmethod
    def of(files: TokenizerFiles, policy: PrefixPolicy = "auto", *, trained_here: bool = False) -> "Prefix":
        """The prefix of texts.

        Args:
            trained_here: by a run of this library, of which older ones' tokenizers do not say what training put there.

        Raises:
            InputError: the tokenizer has no such token.

        Example:
            >>> from lmhead.data.tokenizer.train_tokenizer import train_tokenizer
            >>> files = TokenizerFiles(json=train_tokenizer(["ab"] * 9, 258).to_str())
            >>> Prefix.of(files)
            Prefix(ids=(0,), names=('<|endoftext|>',), origin='eos')
        """
        if policy == "none":
            return Prefix()
        backend = files.shared_backend()
        own = tuple(PlainText(backend).prefix)
        bos, eos = backend.token_to_id(files.special_tokens.get("bos_token", "")), named_end(files)
        if policy == "auto":
            if own:
                return _prefix(files, own, "tokenizer")
            if trained_here and eos is not None:
                return _prefix(files, TextEnds.of(files).begin, "run")
        if policy != "eos" and bos is not None:
            return _prefix(files, (bos,), "bos")
        if policy != "bos" and eos is not None:
            return _prefix(files, (eos,), "eos")
        if policy == "auto":
            return Prefix()
        raise InputError(
            f"{option('prefix')} must be a token of the tokenizer, got {policy} for {files.source}, which names none: "
            f"give {option('prefix', 'none')}, which leaves each first token out"
        )

    def told(self) -> str:
        """What the first token of a text is predicted from, in words."""
        if not self.ids:
            return "the first token of each text is not scored: nothing stands before it"
        whence = {
            "tokenizer": "which the tokenizer puts before a text",
            "run": "which training put before a text",
            "bos": "the beginning of sequence",
            "eos": "the end of text, as the tokenizer has no beginning of sequence",
            "none": "",
        }[self.origin]
        return f"the first token of each text is predicted from {' '.join(self.names)}, {whence}"


def _prefix(files: TokenizerFiles, ids: tuple[int, ...], origin: Origin) -> Prefix:
    backend = files.shared_backend()
    return Prefix(ids=ids, names=tuple(backend.id_to_token(number) or "" for number in ids), origin=origin)
