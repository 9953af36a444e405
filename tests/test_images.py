"""The images of the documentation: there, light and dark, small, made by docs/images/make.py, shown on a page."""

import importlib.util
import re
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).parent.parent
IMAGES = ROOT / "docs" / "images"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
LINK = re.compile(r'(?:srcset|src)="([^"]+\.png)"')


def make():
    """docs/images/make.py as a module: docs/ is no package."""
    spec = importlib.util.spec_from_file_location("make_images", IMAGES / "make.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def linked(page):
    return [(page.parent / link).resolve() for link in LINK.findall(page.read_text(encoding="utf-8"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_image_of_a_page_is_there_light_and_dark(page):
    files = linked(page)
    assert [file for file in files if not file.exists()] == []
    names = {file.name for file in files}
    assert {name.replace("-light.", "-dark.") for name in names} == {name for name in names if "-dark." in name}


def test_every_image_is_shown_on_a_page():
    assert set(IMAGES.glob("*.png")) == {file for page in PAGES for file in linked(page)}


def test_every_image_says_in_words_what_it_shows():
    for page in PAGES:
        for image in re.findall(r"<img\b[^>]*>", page.read_text(encoding="utf-8")):
            assert re.search(r'alt="[^"]{20,}"', image), f"{page.name}: {image}"


@pytest.mark.parametrize("file", sorted(IMAGES.glob("*.png")), ids=lambda file: file.name)
def test_an_image_is_small_and_no_wider_than_a_page_needs(file):
    assert file.stat().st_size < 200_000
    with Image.open(file) as image:
        assert image.width <= 2600


def test_the_figures_are_drawn_by_the_blocks_of_their_page(tmp_path):
    made = make()
    page = made.FIGURES_PAGE.read_text(encoding="utf-8")
    names = [name for name, figure in made.drawn_figures(page, "dark") if figure.get_facecolor()[0] < 0.1]
    assert names == [file.stem.removesuffix("-light") for file in linked(made.FIGURES_PAGE) if "-light" in file.name]
    assert len(names) == 11


def test_a_block_belongs_to_the_image_that_is_shown_next():
    page = (
        '```python\na = 1\n```\n<img src="images/one-light.png">\n<!-- invisible-code-block: python\nb = 2\n-->\ntext'
    )
    assert list(make().blocks(page)) == [("a = 1\n", "one"), ("b = 2\n", None)]
