"""A folder with a model of transformers or with adapters, and what lies beside them: tokenizer and chat template."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from lmhead.models.transformers.quiet import quiet_transformers

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel

TOKENIZER_FILES: Final = (
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
    *("chat_template.jinja", "chat_template.json", "tokenizer.model", "spiece.model", "sentencepiece.bpe.model"),
    *("vocab.json", "merges.txt", "vocab.txt", "processor_config.json", "preprocessor_config.json"),
)
_TEMPLATES: Final = "additional_chat_templates"


def save_folder(model: "PreTrainedModel | PeftModel", folder: Path, *, max_shard_size: str) -> None:
    """Write the files that transformers loads; of adapters those that PEFT loads.

    Raises:
        OSError: the disk refuses.
    """
    from safetensors import SafetensorError

    with quiet_transformers():
        try:
            if hasattr(model, "peft_config"):
                model.save_pretrained(
                    str(folder), save_embedding_layers=False
                )  # those that are trained are saved anyway
            else:
                _mend_generation_config(model)
                model.save_pretrained(str(folder), max_shard_size=max_shard_size)
        except SafetensorError as error:
            raise OSError(f"cannot write {folder}: {error}") from error


def _mend_generation_config(model: Any) -> None:
    """Say that it samples where it says how: transformers loads a file without that, and may not save it again."""
    config = getattr(model, "generation_config", None)
    if config is None:
        return
    try:
        config.validate(strict=True)
    except ValueError:
        config.do_sample = True


def copy_source_files(source: str, folder: Path) -> None:
    """Copy a source's tokenizer files into `folder`, those that are not there; of a name on the Hub, the cached ones.

    Raises:
        OSError: the disk refuses.
    """
    for name in TOKENIZER_FILES:
        found = _file_of(source, name)
        if found is not None and not (folder / name).exists():
            shutil.copyfile(found, folder / name)
    templates = Path(source) / _TEMPLATES
    if templates.is_dir() and not (folder / _TEMPLATES).exists():
        shutil.copytree(templates, folder / _TEMPLATES)


def _file_of(source: str, name: str) -> Path | None:
    if Path(source).is_dir():
        file = Path(source) / name
        return file if file.is_file() else None
    from huggingface_hub import try_to_load_from_cache

    cached = try_to_load_from_cache(source, name)
    return Path(cached) if isinstance(cached, str) else None
