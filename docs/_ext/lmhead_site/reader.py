"""A page as the notebook that MyST-NB renders: cells with the outputs that are stored for them."""

import html
import json
from base64 import b64decode
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import nbformat

from lmhead_site.execution import Outputs, stored_outputs
from lmhead_site.page_cells import Cell, cells_of

FIGURE: Final = "application/vnd.lmhead.figure+json"


def read_page(text: str, *, folder: str) -> nbformat.NotebookNode:
    """The notebook of a page; without outputs where none are stored in `folder`."""
    cells = cells_of(text)
    outputs = stored_outputs(cells, Path(folder)) or []
    notebook = nbformat.v4.new_notebook()
    notebook.metadata["source_map"] = [cell.line for cell in cells]
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook.metadata["language_info"] = {"name": "python", "pygments_lexer": "python"}
    with_code = iter(outputs)
    for number, cell in enumerate(cells):
        notebook.cells.append(_as_node(cell, number, with_code, Path(folder)))
    return notebook


def _as_node(cell: Cell, number: int, outputs: Any, folder: Path) -> nbformat.NotebookNode:
    if cell.kind == "text":
        return nbformat.v4.new_markdown_cell(cell.source, id=f"cell-{number}")
    node = nbformat.v4.new_code_cell(cell.source, id=f"cell-{number}")
    node.outputs = [nbformat.from_dict(_shown(output, folder)) for output in next(outputs, Outputs())]
    if cell.kind == "hidden":
        node.metadata["tags"] = ["remove-cell"]
    return node


def _shown(output: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The output; a figure as the picture that themed_images.py takes up."""
    drawn = output.get("data", {}).get(FIGURE)
    if drawn is None:
        return output
    known = drawn if isinstance(drawn, dict) else json.loads(drawn)
    light, dark = (_image_file(known[theme], folder) for theme in ("light", "dark"))
    alt = html.escape(known["description"], quote=True)
    source = f'<source media="(prefers-color-scheme: dark)" srcset="{dark}">'
    picture = f'<picture>\n{source}\n<img alt="{alt}" src="{light}">\n</picture>'
    return {**output, "data": {"text/html": picture}, "metadata": {}}


def _image_file(encoded: str, folder: Path) -> str:
    image = b64decode(encoded)
    file = folder / "figures" / f"{sha256(image).hexdigest()[:16]}.png"
    if not file.exists():
        file.parent.mkdir(exist_ok=True)
        part = file.with_suffix(f".{id(image)}.part")
        part.write_bytes(image)
        part.replace(file)
    return str(file)
