"""The tokenizer of a run as it is saved: what encodes, the ids that begin, end and pad, and the chat template."""

import json
from dataclasses import dataclass, field, replace
from typing import Any

from tokenizers import Tokenizer

from lmhead.data.tokenizer.text_ends import TextEnds, ends_of_text, named_end, with_begin
from lmhead.data.tokenizer.tokenizer_files import TokenizerFiles

TEMPLATE_FILE = "chat_template.jinja"
CONFIG_FILE = "tokenizer_config.json"
GENERATION_FILE = "generation_config.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunTokenizer:
    """A tokenizer with what belongs to it."""

    backend: Tokenizer
    ends: TextEnds  # around a document in training
    bos_id: int
    eos_ids: tuple[int, ...]  # what ends a text or an answer, the usual one first
    pad_id: int | None = None
    files: dict[str, str] = field(default_factory=dict)  # beside tokenizer.json, by name; transformers reads them too

    @staticmethod
    def of_text(files: TokenizerFiles, *, max_seq_len: int) -> "RunTokenizer":
        """Of a run on texts: what begins them in training begins them wherever the tokenizer is used.

        Raises:
            InputError: nothing is known to end a text.
        """
        made = RunTokenizer.of_files(with_begin(files), max_seq_len=max_seq_len)
        if files.chat_template is None:
            made = replace(made, eos_ids=(made.ends.end,))
        if files.special_tokens or files.chat_template or named_end(files) is None:
            return made
        return replace(made, bos_id=made.ends.begin[-1], files={})  # a tokenizer.json alone says nothing more

    @staticmethod
    def of_files(files: TokenizerFiles, *, max_seq_len: int, terminators: tuple[int, ...] = ()) -> "RunTokenizer":
        """Of a tokenizer that brings a chat template, or special tokens by name.

        Args:
            terminators: the control tokens that end what an assistant says; end-of-text ends it too.
        """
        backend, ends = files.backend(), TextEnds.of(files)
        ids = {name: backend.token_to_id(token) for name, token in files.special_tokens.items()}
        bos, pad = ids.get("bos_token"), ids.get("pad_token")
        begin = ends.begin[-1] if bos is None else bos
        # what ends a generation of the model that training starts from ends none of what is learnt here
        eos = tuple(dict.fromkeys([*terminators, *ends_of_text(files)]))
        texts = _texts(files, max_seq_len)
        # a run that is resumed has no other file to read from what its tokenizer was said to stop at
        stops = files.generation_eos or files.model_eos or (ends_of_text(files) if named_end(files) is None else ())
        if stops:
            texts[GENERATION_FILE] = json.dumps({"eos_token_id": list(stops)}) + "\n"
        return RunTokenizer(backend=backend, ends=ends, bos_id=begin, eos_ids=eos, pad_id=pad, files=texts)


def _texts(files: TokenizerFiles, max_seq_len: int) -> dict[str, str]:
    """tokenizer_config.json and the template, as transformers writes them and `read_tokenizer` reads them."""
    config: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": max_seq_len,
        "clean_up_tokenization_spaces": False,  # decoding gives back the text as it was
        **files.special_tokens,
    }
    added = {"add_bos_token": files.add_bos, "add_eos_token": files.add_eos}
    config |= {name: value for name, value in added.items() if value is not None}
    named = {"default": files.chat_template, "tool_use": files.tool_template}
    templates = {name: text for name, text in named.items() if text is not None}
    if "tool_use" in templates:  # more than one: transformers reads them from the config by name
        config["chat_template"] = [{"name": name, "template": text} for name, text in templates.items()]
    texts = {CONFIG_FILE: json.dumps(config, indent=2) + "\n"}
    if list(templates) == ["default"]:
        texts[TEMPLATE_FILE] = templates["default"]
    return texts
