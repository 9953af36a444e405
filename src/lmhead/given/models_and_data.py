"""Models and data among the words of one command: the leading words that name models are models, the rest is data."""

from collections.abc import Sequence
from pathlib import Path

from lmhead.data.rows.hub_rows import PREFIX
from lmhead.data.rows.streams import is_stream
from lmhead.errors import InputError
from lmhead.models.transformers.formats.weight_files import holds_weights
from lmhead.training.run.checkpoint_sums import is_checkpoint
from lmhead.training.run.run_folder import RunFolder
from lmhead.training.weights.start import is_hub_name


def models_and_data(words: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(models, data): `A B chat.jsonl books/` is two models and two paths.

    Raises:
        InputError: the first word is no model, or a word is neither a model nor there.
    """
    count = next((place for place, word in enumerate(words) if not is_model(word)), len(words))
    models, data = tuple(words[:count]), tuple(words[count:])
    if words and not models:
        raise InputError(
            f"the first word must be a model, got {words[0]}, which {_what(words[0])}: give a run, a checkpoint, a "
            "folder with a model's weights, or a name on the Hub (OWNER/NAME); data come behind it"
        )
    for word in data:
        if is_model(word):
            raise InputError(f"models must stand before the data, got {word} behind {data[0]}")
    return models, data


def is_model(word: str) -> bool:
    """Whether it is a run, a checkpoint, a folder with weights, or a name on the Hub."""
    if word.startswith(PREFIX) or is_stream(word):
        return False
    folder = Path(word)
    if not folder.is_dir():
        return is_hub_name(word)
    run = RunFolder(folder)
    return holds_weights(folder) or is_checkpoint(folder) or run.config_file.is_file() or bool(run.steps())


def _what(word: str) -> str:
    if word.startswith(PREFIX) or is_stream(word):
        return "is data"
    path = Path(word)
    if path.is_dir():
        return "is a folder without weights"
    return "is a file" if path.exists() else "is not there"
