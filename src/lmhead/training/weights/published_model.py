"""A model with its tokenizer as a folder that transformers loads, or PEFT where adapters were trained, and back."""

import json
from pathlib import Path
from typing import Any, Literal

import torch

from lmhead.data.tokenizer.run_tokenizer import GENERATION_FILE, RunTokenizer
from lmhead.errors import InputError
from lmhead.models.causal_lm import CausalLM
from lmhead.models.gpt import GPT
from lmhead.models.multi_token.multi_token_model import MultiTokenModel
from lmhead.models.transformers.formats.hf_format import OtherModelError, OtherTypeError
from lmhead.models.transformers.formats.json_object import read_json_object
from lmhead.models.transformers.formats.pretrained import load_pretrained, save_pretrained
from lmhead.models.transformers.formats.weight_files import holds_safetensors, holds_weights
from lmhead.models.transformers.lora import holds_adapters
from lmhead.models.transformers.pretrained_causal_lm import PretrainedCausalLM


def write_model(folder: Path, model: CausalLM, tokenizer: RunTokenizer) -> None:
    """Fill a folder with the model, its tokenizer and chat template, and the ids that end a generation.

    A MultiTokenModel's modules lie beside its model, under the names of a family whose modules engines draft from.
    """
    if isinstance(model, GPT) or (isinstance(model, MultiTokenModel) and isinstance(model.main, GPT)):
        save_pretrained(
            model,
            folder,
            tokenizer=tokenizer.backend,
            bos_token_id=tokenizer.bos_id,
            eos_token_id=tokenizer.eos_ids,
            pad_token_id=tokenizer.pad_id,
        )
    else:
        main, modules = (model.main, model) if isinstance(model, MultiTokenModel) else (model, None)
        assert isinstance(main, PretrainedCausalLM)
        main.save(folder, modules=modules)
        (folder / "tokenizer.json").write_text(tokenizer.backend.to_str(pretty=True), encoding="utf-8")
        for file in folder.glob("*.safetensors"):  # safetensors' own are for their owner alone, whatever the umask says
            file.chmod((folder / "tokenizer.json").stat().st_mode)
        _write_ends(folder / GENERATION_FILE, tokenizer)
    for name, text in tokenizer.files.items():
        if name != GENERATION_FILE:  # which says what the tokenizer stopped at before
            (folder / name).write_text(text, encoding="utf-8")


def read_model(
    folder: Path,
    *,
    device: torch.device,
    dtype: torch.dtype | None = None,
    quantize: Literal["4bit", "8bit"] | None = None,
) -> CausalLM:
    """The model in a folder, in evaluation mode: this library's decoder where that can be it, else transformers'.

    With its modules of multi-token prediction, where it has some.

    Where there is no such folder, it is a name on the Hub.

    Args:
        dtype: of the weights beside which adapters were trained; None: as they are stored.
        quantize: how these were held in training.

    Raises:
        InputError: there is none, or it is damaged, or neither loads it.
    """
    if holds_adapters(str(folder)) or not folder.is_dir():
        return PretrainedCausalLM.load(folder, device=device, dtype=dtype, quantize=quantize).with_saved_modules()
    refusal = ""
    if holds_safetensors(folder) or not holds_weights(folder):
        try:
            return load_pretrained(folder, device=device)
        except OtherModelError as error:
            if not isinstance(error, OtherTypeError):
                refusal = f"{error.message.marked}; and as a model of transformers: "
    try:
        return PretrainedCausalLM.load(folder, device=device).with_saved_modules()
    except InputError as error:
        raise InputError(f"{refusal}{error.message.marked}") from error


def _write_ends(file: Path, tokenizer: RunTokenizer) -> None:
    """Let a generation_config.json, whatever else it says, name what ended answers and texts in training."""
    said: dict[str, Any] = read_json_object(file) if file.is_file() else {}
    ends = list(tokenizer.eos_ids)
    named = {"bos_token_id": tokenizer.bos_id, "eos_token_id": ends, "pad_token_id": tokenizer.pad_id}
    said |= {name: number for name, number in named.items() if number is not None}
    file.write_text(json.dumps(said, indent=2) + "\n", encoding="utf-8")
