"""Tokenizer and chat template of a run, compared with the copies in a checkpoint, whose sums have been checked."""

import json
from pathlib import Path
from typing import Final

from lmhead.errors import InputError
from lmhead.shown import shell_word

_FILES: Final = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")
_MAY_LACK: Final = "tokenizer_config.json"  # of a run on texts, where the checkpoint alone has one


def require_same_tokenizer(run: Path, checkpoint: Path) -> None:
    """Refuse a run whose tokenizer or template is not the one that its checkpoint was trained with.

    Raises:
        InputError: a file is missing, damaged or edited; the command that puts it back is named.
    """
    for name in _FILES:
        own, kept = run / name, checkpoint / name
        if not kept.is_file() or (name == _MAY_LACK and not own.exists()):
            continue
        what = _difference(own, kept)
        if what is not None:
            raise InputError(
                f"{own} {what}; put back what the run was trained with: "
                f"cp {shell_word(str(kept))} {shell_word(str(own))}"
            )


def _difference(own: Path, kept: Path) -> str | None:
    try:
        found, expected = own.read_bytes(), kept.read_bytes()
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    if found == expected:
        return None
    if own.suffix == ".json":  # the checkpoint's is indented
        try:
            return None if json.loads(found) == json.loads(expected) else "is not what the run began with"
        except (ValueError, RecursionError):
            return "is damaged: it is no JSON"
    return "is not what the run began with"
