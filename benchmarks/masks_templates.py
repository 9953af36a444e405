"""The chat templates at hand: the shared ones, and those that TRL's wheel carries as files. TRL is not imported."""

import re
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, files
from operator import itemgetter
from pathlib import Path
from typing import Final

from tests.labels.chat.chat_cases import TEMPLATES

from lmhead.errors import ArgumentError
from lmhead.labels.template.chat_template import ChatTemplate

_MARKED: Final = re.compile(r"\{%-?\s*generation\s*-?%\}")


def templates(*, marked: bool, folders: tuple[Path, ...] = ()) -> dict[str, str]:
    """Templates with or without `{% generation %}` markers by name, each text once.

    Args:
        folders: further ones, of *.jinja files.

    Raises:
        SystemExit: one of these is no template.
    """
    named = _by_folder(TEMPLATES.glob("*/*.jinja")) | _of_trl()
    for name, file in _by_folder(file for folder in folders for file in folder.glob("*.jinja")).items():
        named.setdefault(name, _checked(file))
    texts = {name: file.read_text(encoding="utf-8") for name, file in named.items()}
    once = {text: name for name, text in reversed(texts.items())}
    return {
        name: text for text, name in sorted(once.items(), key=itemgetter(1)) if bool(_MARKED.search(text)) == marked
    }


def _by_folder(files: Iterable[Path]) -> dict[str, Path]:
    return {f"{file.parent.name}/{file.stem}": file for file in sorted(files)}


def _checked(file: Path) -> Path:
    try:
        ChatTemplate(file.read_text(encoding="utf-8"))
    except (ArgumentError, UnicodeDecodeError) as error:
        raise SystemExit(f"masks: {file} must be a chat template, got an error: {error}") from error
    return file


def _of_trl() -> dict[str, Path]:
    try:
        found = [Path(str(file.locate())) for file in files("trl") or [] if file.suffix == ".jinja"]
    except PackageNotFoundError:
        return {}
    return {f"TRL/{file.stem}": file for file in sorted(found)}
