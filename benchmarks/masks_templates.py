"""The chat templates at hand: the shared ones, and those that TRL's wheel carries as files. TRL is not imported."""

import re
from importlib.metadata import PackageNotFoundError, files
from operator import itemgetter
from pathlib import Path
from typing import Final

from tests.labels.chat_cases import TEMPLATES

_MARKED: Final = re.compile(r"\{%-?\s*generation\s*-?%\}")


def templates(*, marked: bool, folders: tuple[Path, ...] = ()) -> dict[str, str]:
    """Templates with or without `{% generation %}` markers by name, each text once.

    Args:
        folders: further ones, of *.jinja files.
    """
    shared = [
        *sorted(TEMPLATES.glob("*/*.jinja")),
        *(file for folder in folders for file in sorted(folder.glob("*.jinja"))),
    ]
    named = {f"{file.parent.name}/{file.stem}": file for file in shared} | _of_trl()
    texts = {name: file.read_text(encoding="utf-8") for name, file in named.items()}
    once = {text: name for name, text in reversed(texts.items())}
    return {
        name: text for text, name in sorted(once.items(), key=itemgetter(1)) if bool(_MARKED.search(text)) == marked
    }


def _of_trl() -> dict[str, Path]:
    try:
        found = [Path(str(file.locate())) for file in files("trl") or [] if file.suffix == ".jinja"]
    except PackageNotFoundError:
        return {}
    return {f"TRL/{file.stem}": file for file in sorted(found)}
