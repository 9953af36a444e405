"""Tokenizers and files for the doctor's tests."""

import json

from tests.labels.chat.chat_cases import tokenizer_for
from tests.labels.chat.chat_templates import CHATML

from lmhead.data.tokenizer.tokenizer_files import TokenizerFiles

ENDS = {"bos_token": "<s>", "eos_token": "<|im_end|>", "pad_token": "<pad>"}


def tokenizer(template: str | None = CHATML, *, eos: str = "<|im_end|>", **fields) -> TokenizerFiles:
    """A small BPE with a chat template; by default one about which there is nothing to tell."""
    special = fields.pop("special_tokens", ENDS | {"eos_token": eos})
    backend = fields.pop("backend", None) or tokenizer_for(template or "")
    return TokenizerFiles(json=backend.to_str(), chat_template=template, special_tokens=special, source="T", **fields)


def write_tokenizer(folder):
    """`tokenizer()` in a new folder, as a model's."""
    files = tokenizer()
    folder.mkdir()
    (folder / "tokenizer.json").write_text(files.json, encoding="utf-8")
    config = files.special_tokens | {"chat_template": files.chat_template}
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")


def system(text):
    return {"role": "system", "content": text}


def user(text):
    return {"role": "user", "content": text}


def assistant(text, **fields):
    return {"role": "assistant", "content": text, **fields}


def chat(*messages, **columns):
    return {"messages": list(messages), **columns}


GOOD = [
    chat(user("Ask alpha one"), assistant("Reply bravo two")),
    chat(system("Be golf seven"), user("Then charlie three"), assistant("Reply delta four")),
]


def write(path, rows):
    """A JSONL file; a row that is a string is written as it is."""
    lines = [row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path.name
