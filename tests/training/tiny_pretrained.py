"""Tiny models that this library's decoder cannot be, with a tokenizer, as folders that transformers wrote."""

from pathlib import Path
from typing import Any

import torch

from lmhead.data.tokenizer.train_tokenizer import train_tokenizer

TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{{ '[A]' if m.role == 'assistant' else '[U]' }}{{ m.content }}[E]"
    "{% endfor %}{% if add_generation_prompt %}[A]{% endif %}"
)

SPECIAL = {"pad_token_id": 0, "bos_token_id": 0, "eos_token_id": 3}  # of the tokenizer below


def write_gemma2(folder: Path, *, template: str | None = TEMPLATE, vocab_size: int = 320, **sizes: Any) -> Path:
    """A Gemma 2 with caps, tied embeddings and a window of 32 tokens in every other layer."""
    transformers = __import__("transformers")
    torch.manual_seed(0)
    options = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "head_dim": 16, "sliding_window": 32}
    options |= {"num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 512}
    config = transformers.Gemma2Config(vocab_size=vocab_size, **SPECIAL, **{**options, **sizes})
    transformers.Gemma2ForCausalLM(config).save_pretrained(folder)
    write_tokenizer(folder, template=template)
    return folder


def write_tokenizer(folder: Path, *, template: str | None = TEMPLATE, size: int = 280) -> None:
    """A byte-level BPE, and its template."""
    transformers = __import__("transformers")
    words = ["What is the capital of this? It is that. And how much is 3 + 9? The opposite of wet is dry."] * 2
    backend = train_tokenizer(words, size, control_tokens=("[U]", "[A]", "[E]"))
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token="[E]", bos_token="<|endoftext|>", pad_token="<|endoftext|>"
    )
    tokenizer.chat_template = template
    tokenizer.save_pretrained(folder)


def write_mamba(folder: Path) -> Path:
    """A Mamba, whose state runs through a row: nothing tells it where a document ends."""
    transformers = __import__("transformers")
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 4, "time_step_rank": 4}
    config = transformers.MambaConfig(vocab_size=320, **SPECIAL, **sizes)
    transformers.MambaForCausalLM(config).save_pretrained(folder)
    write_tokenizer(folder)
    return folder
