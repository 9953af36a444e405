"""The images of the documentation, made by what the documentation says: python docs/images/make.py [--only figures]

Figures: the blocks of docs/seeing/figures.md are run, with the light theme and with the dark one. Each leaves `figure`,
which is saved under the name of the image that the page shows next. Pages: pages.py.
"""

import argparse
import re
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

IMAGES = Path(__file__).parent
FIGURES_PAGE = IMAGES.parent / "seeing" / "figures.md"
DOTS_PER_INCH = 200  # 1600 pixels: sharp on a screen of two pixels a point
COLORS = 256  # a palette of them, so that a file is small


def blocks(page: str) -> Iterator[tuple[str, str | None]]:
    """(code, name of the image that is shown before the next block) of each block, hidden ones too."""
    pattern = r"(?:^```python\n(.*?)^```$)|(?:^<!-- invisible-code-block: python\n(.*?)^-->$)"
    found = list(re.finditer(pattern, page, re.MULTILINE | re.DOTALL))
    ends = [*(block.start() for block in found[1:]), len(page)]
    for block, end in zip(found, ends, strict=True):
        shown = re.search(r'src="(?:\.\./)*images/([\w-]+)-light\.png"', page[block.end() : end])
        yield block[1] or block[2], shown and shown[1]


def drawn_figures(page: str, theme: str) -> Iterator[tuple[str, Any]]:
    """(name, Figure) of each image of a page, whose code says `theme = "light"`."""
    names: dict[str, Any] = {}
    for code, name in blocks(page):
        exec(compile(code.replace('theme = "light"', f'theme = "{theme}"'), str(FIGURES_PAGE), "exec"), names)
        if name is not None:
            yield name, names["figure"]


def save_small(image: Image.Image, file: Path) -> None:
    """A PNG of few colours."""
    palette = image.convert("RGB").quantize(COLORS, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    palette.save(file, optimize=True)


def draw_figures(folder: Path) -> None:
    """Every figure of docs/seeing/figures.md, light and dark."""
    page = FIGURES_PAGE.read_text(encoding="utf-8")
    for theme in ("light", "dark"):
        for name, figure in drawn_figures(page, theme):
            stream = BytesIO()
            figure.savefig(stream, format="png", dpi=DOTS_PER_INCH)
            save_small(Image.open(stream), folder / f"{name}-{theme}.png")


def draw_pages(folder: Path, work: Path | None) -> None:
    """Screenshots of the pages, light and dark."""
    from pages import photographed_pages  # beside this file

    for name, image in photographed_pages(work).items():
        save_small(image, folder / f"{name}.png")


def main() -> None:
    """Write the files beside this one."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", choices=("figures", "pages"), help="by default both")
    parser.add_argument("--out", type=Path, default=IMAGES, help="a folder for the images")
    parser.add_argument(
        "--work", type=Path, help="a folder for the run that is photographed; one that is there is taken"
    )
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    if given.only != "pages":
        draw_figures(given.out)
    if given.only != "figures":
        draw_pages(given.out.resolve(), given.work and given.work.resolve())


if __name__ == "__main__":
    main()
