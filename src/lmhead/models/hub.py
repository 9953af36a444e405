"""A model and its tokenizer as a folder that transformers loads, and back.

    model.safetensors  config.json  generation_config.json  tokenizer.json  tokenizer_config.json

Nothing is downloaded. Files are written one after the other into the folder: who needs all of them or none writes
into a temporary folder and renames that (lmhead.training does).
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from lmhead.errors import ArgumentError, InputError
from lmhead.models.gpt import GPT
from lmhead.models.hf_format import from_hugging_face, to_hugging_face

if TYPE_CHECKING:
    from tokenizers import Tokenizer


def save_pretrained(
    model: GPT,
    folder: Path | str,
    *,
    tokenizer: "Tokenizer | None" = None,
    bos_token_id: int | None = None,
    eos_token_id: int | None = None,
) -> None:
    """Write the files that `AutoModelForCausalLM` and, with a tokenizer, `AutoTokenizer` load from `folder`.

    In float32 transformers' logits equal this model's to 1e-4, and its tokenizer's ids equal `tokenizer`'s. The
    folder is made where it does not exist; files of these names in it are overwritten.

    Raises:
        ArgumentError: a special id is not the tokenizer's, or the tokenizer has more ids than the model.
        OSError: the disk refuses.
    """
    from safetensors.torch import save_file  # here, so that `import lmhead` needs torch alone

    tensors, config = to_hugging_face(model)
    special = {"bos_token_id": bos_token_id, "eos_token_id": eos_token_id}
    if tokenizer is not None:
        _check_tokenizer(tokenizer, model.config.vocab_size, special)
    dtype = str(next(iter(tensors.values())).dtype).removeprefix("torch.")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(
        {name: tensor.contiguous().cpu() for name, tensor in tensors.items()},
        folder / "model.safetensors",
        metadata={"format": "pt"},
    )
    _write(folder / "config.json", {**config, **special, "pad_token_id": None, "dtype": dtype})
    _write(folder / "generation_config.json", {name: id for name, id in special.items() if id is not None})
    if tokenizer is not None:
        tokenizer.save(str(folder / "tokenizer.json"))
        _write(folder / "tokenizer_config.json", _tokenizer_config(tokenizer, special, model.config.max_seq_len))


def load_pretrained(folder: Path | str, *, device: torch.device | str = "cpu") -> GPT:
    """The model in `folder`, in its tensors' dtype and in evaluation mode: ours, or a small Llama, Qwen3 or GPT-2.

    Raises:
        InputError: a file is missing or broken, or the model is one that this decoder cannot be.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    folder = Path(folder)
    config_file, weights_file = folder / "config.json", folder / "model.safetensors"
    for file in (config_file, weights_file):
        if not file.is_file():
            raise InputError(f"{folder} must hold a model, got no {file.name} in it")
    try:
        config = json.loads(config_file.read_text(encoding="utf-8"))
        tensors = load_file(weights_file)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{config_file} must be JSON, got {error}") from error
    except SafetensorError as error:
        raise InputError(f"{weights_file} must be a safetensors file, got {error}") from error
    return from_hugging_face(tensors, config).to(device).eval()


def _check_tokenizer(tokenizer: "Tokenizer", vocab_size: int, special: dict[str, int | None]) -> None:
    size = tokenizer.get_vocab_size()
    if size > vocab_size:
        raise ArgumentError(f"tokenizer must have at most the model's vocab_size={vocab_size} ids, got {size}")
    for name, id in special.items():
        if id is not None and tokenizer.id_to_token(id) is None:
            raise ArgumentError(f"{name} must be an id of the tokenizer, got {id}")


def _tokenizer_config(tokenizer: "Tokenizer", special: dict[str, int | None], max_seq_len: int) -> dict[str, Any]:
    tokens = {name.removesuffix("_id"): tokenizer.id_to_token(id) for name, id in special.items() if id is not None}
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": max_seq_len,
        "clean_up_tokenization_spaces": False,  # decoding gives back the text as it was
        **tokens,
    }


def _write(file: Path, content: dict[str, Any]) -> None:
    file.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
