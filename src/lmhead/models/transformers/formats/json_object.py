"""JSON objects in the files of a model's folder."""

import json
from pathlib import Path
from typing import Any

from lmhead.errors import InputError


def read_json_object(file: Path) -> dict[str, Any]:
    """The object in a file.

    Raises:
        InputError: the file is no UTF-8, no JSON, or no object.
        OSError: the disk refuses.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # no JSON, no UTF-8, integers too long, or nested too deeply
        raise InputError(f"{file} must be JSON, got {error}: fetch or save it anew") from error
    if not isinstance(content, dict):
        raise InputError(f"{file} must be a JSON object, got a {type(content).__name__}: save the model again")
    return content
