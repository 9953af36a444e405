"""What lies beside a model's weights and has to stay with it: its tokenizer and its chat template."""

import shutil
from pathlib import Path
from typing import Final

TOKENIZER_FILES: Final = (
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
    *("chat_template.jinja", "chat_template.json", "tokenizer.model", "spiece.model", "sentencepiece.bpe.model"),
    *("vocab.json", "merges.txt", "vocab.txt", "processor_config.json", "preprocessor_config.json"),
)
_TEMPLATES: Final = "additional_chat_templates"


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
