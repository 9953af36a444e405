"""Every page of the built site in a browser: console, requests, axe-core, width on a phone, both themes.

`make docs` first, then `python -m tests.nightly.site`. `--shots FOLDER` saves each page wide, on a phone and dark;
`--pages course` looks only at those whose path has that in it. Status 1 where anything is wrong, 77 without a browser.
"""

import argparse
import sys
import time
from pathlib import Path

from tests.browser.conftest import CHROMIUM
from tests.site.pages_in_a_browser import PHONE, WIDE, faults_of, show

BUILT = Path("build/docs/html")
SHOTS = (("wide", WIDE, False), ("phone", PHONE, False), ("dark", WIDE, True))


def main() -> int:
    """The process's exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--site", type=Path, default=BUILT)
    parser.add_argument("--shots", type=Path)
    parser.add_argument("--pages", default="")
    chosen = parser.parse_args()
    if CHROMIUM is None:
        print("no chromium is on PATH: apt-get install chromium")
        return 77
    files = [
        file for file in sorted(chosen.site.rglob("*.html")) if chosen.pages in file.relative_to(chosen.site).as_posix()
    ]
    if not files:
        print(f"no page in {chosen.site}: make docs")
        return 1
    from playwright.sync_api import sync_playwright

    began, wrong = time.monotonic(), 0
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"])
        page = browser.new_context(offline=True).new_page()
        for file in files:
            name = file.relative_to(chosen.site).as_posix()
            faults = faults_of(page, file)
            wrong += bool(faults)
            print(f"{name}: {'fine' if not faults else ''}", *faults, sep="\n  " if faults else "")
            if chosen.shots:
                save_shots(page, file, chosen.shots / name.replace("/", "-").removesuffix(".html"))
        browser.close()
    print(f"{len(files)} pages, {wrong} with faults, {time.monotonic() - began:.0f} s")
    return int(wrong > 0)


def save_shots(page, file: Path, stem: Path) -> None:
    """STEM-wide.png, STEM-phone.png, STEM-dark.png: the whole page."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    for name, width, dark in SHOTS:
        show(page, file, width=width, dark=dark)
        page.screenshot(path=f"{stem}-{name}.png", full_page=True)


if __name__ == "__main__":
    sys.exit(main())
