"""A model and its tokenizer as a folder that transformers loads, and back.

    model.safetensors  config.json  generation_config.json  tokenizer.json  tokenizer_config.json

Nothing is downloaded. Files are written one after the other into the folder: who needs all of them or none writes
into a temporary folder and renames that (lmhead.training does).
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lmhead.errors import ArgumentError, InputError, require_path
from lmhead.labels.id_count import id_count
from lmhead.models.gpt import GPT, require_gpt
from lmhead.models.multi_token.multi_token_model import MultiTokenModel
from lmhead.models.transformers.formats.family_config import without_family
from lmhead.models.transformers.formats.hf_format import described_by
from lmhead.models.transformers.formats.json_object import read_json_object
from lmhead.models.transformers.formats.multi_token_declaration import declaration_of
from lmhead.models.transformers.formats.multi_token_format import from_checkpoint, to_checkpoint
from lmhead.models.transformers.formats.weight_files import ONE_FILE, read_weights

if TYPE_CHECKING:
    from tokenizers import Tokenizer


def save_pretrained(
    model: GPT | MultiTokenModel,
    folder: Path | str,
    *,
    tokenizer: "Tokenizer | None" = None,
    bos_token_id: int | None = None,
    eos_token_id: int | Sequence[int] | None = None,
    pad_token_id: int | None = None,
) -> None:
    """Write the files that `AutoModelForCausalLM` and, with a tokenizer, `AutoTokenizer` load from `folder`.

    In float32 transformers' logits equal this model's to 1e-4, and its tokenizer's ids equal `tokenizer`'s. The
    folder is made where it does not exist; files of these names in it are overwritten.

    Args:
        eos_token_id: of several, each ends a generation, and the first is the tokenizer's eos_token.

    Raises:
        ArgumentError: a special id is not the tokenizer's, or the tokenizer has more ids than the model.
        OSError: the disk refuses.

    Example:
        >>> import tempfile
        >>> folder = tempfile.mkdtemp()
        >>> save_pretrained(GPT(vocab_size=4, embed_dim=4, num_heads=2, num_layers=2), folder)
        >>> load_pretrained(folder).vocab_size
        4
    """
    if not isinstance(model, MultiTokenModel):
        require_gpt("model", model)
    require_path("folder", folder)
    tensors, config = to_checkpoint(model)
    ends = [eos_token_id] if eos_token_id is None or isinstance(eos_token_id, int) else list(eos_token_id)
    special = {"bos_token_id": bos_token_id, "eos_token_id": ends[0], "pad_token_id": pad_token_id}
    written = special | {"eos_token_id": ends[0] if len(ends) == 1 else ends}
    if tokenizer is not None:
        _check_tokenizer(tokenizer, model.vocab_size, special)
    dtype = str(next(iter(tensors.values())).dtype).removeprefix("torch.")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    _write_tensors(folder / ONE_FILE, tensors)
    _write_json(folder / "config.json", {**config, **written, "dtype": dtype})
    _write_json(folder / "generation_config.json", {name: id for name, id in written.items() if id is not None})
    if tokenizer is not None:
        # not Tokenizer.save, which raises a bare Exception where the disk refuses
        (folder / "tokenizer.json").write_text(tokenizer.to_str(pretty=True), encoding="utf-8")
        _write_json(folder / "tokenizer_config.json", _tokenizer_config(tokenizer, special, model.max_seq_len))


def load_pretrained(folder: Path | str, *, device: torch.device | str = "cpu") -> GPT | MultiTokenModel:
    """The model in `folder`, in its tensors' dtype and in evaluation mode: ours, or a small Llama, Qwen3 or GPT-2.

    With the modules of multi-token prediction beside it where config.json declares some. Weights are one
    model.safetensors, or shards with model.safetensors.index.json.

    Raises:
        OtherModelError: the model is one that this decoder cannot be.
        InputError: a file is missing or broken.
    """
    require_path("folder", folder)
    folder = Path(folder)
    config_file = folder / "config.json"
    try:
        if not config_file.is_file():
            raise InputError(f"{folder} must hold a model, got no {config_file.name} in it")
        config = read_json_object(config_file)
        with _named(folder):
            declaration_of(config)
            described_by(without_family(config))  # before the weights are read, which takes its time
        tensors = read_weights(folder)
    except OSError as error:
        raise InputError(f"cannot read {str(folder)[:200]}: {error.strerror or error}; give another folder") from error
    with _named(folder):
        return from_checkpoint(tensors, config).to(device).eval()


@contextmanager
def _named(folder: Path) -> Iterator[None]:
    """Errors of a model name its folder."""
    try:
        yield
    except InputError as error:
        raise type(error)(f"{folder} must hold a model that fits together: {error}") from error


def _check_tokenizer(tokenizer: "Tokenizer", vocab_size: int, special: dict[str, int | None]) -> None:
    size = id_count(tokenizer)
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


def _write_json(file: Path, content: dict[str, Any]) -> None:
    file.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _write_tensors(file: Path, tensors: dict[str, Tensor]) -> None:
    from safetensors import SafetensorError  # here, so that `import lmhead` needs torch alone
    from safetensors.torch import save_file

    file.touch()
    mode = file.stat().st_mode  # what the umask asks for; safetensors puts a file that only its owner may read here
    try:
        save_file(
            {name: tensor.contiguous().cpu() for name, tensor in tensors.items()}, file, metadata={"format": "pt"}
        )
    except SafetensorError as error:
        raise OSError(f"cannot write {file}: {error}") from error
    if file.stat().st_mode != mode:
        file.chmod(mode)
