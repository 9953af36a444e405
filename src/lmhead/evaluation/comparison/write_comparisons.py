"""Comparisons on the disk: comparison.json, comparison.md and comparison.html beside the evaluations' folders."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from lmhead.evaluation.comparison.comparison import Comparison
from lmhead.evaluation.comparison.comparison_html import comparison_page
from lmhead.shown import shown_json
from lmhead.training.run.files import replace_file

COMPARISON_FILE: Final = "comparison"


def write_comparisons(folder: Path, made: Sequence[Comparison]) -> None:
    """All of them as JSON and Markdown; a page for each, by number where there are several.

    Raises:
        InputError: the disk refuses.
    """
    whole = {"comparisons": [each.to_dict() for each in made]}
    text = shown_json(json.dumps(whole, ensure_ascii=False, indent=1, allow_nan=False)) + "\n"
    replace_file(folder / f"{COMPARISON_FILE}.json", text)
    replace_file(folder / f"{COMPARISON_FILE}.md", "\n".join(each.markdown() for each in made))
    for number, each in enumerate(made, 2):
        name = COMPARISON_FILE if len(made) == 1 else f"{COMPARISON_FILE}-{number}"
        replace_file(folder / f"{name}.html", comparison_page(each))
