"""Screenshots of the pages that lmhead writes: a run is trained, inspected and photographed, in an offline browser.

Minutes on two cores. It needs chromium and playwright (`pip install -e '.[test]'`), as tests/browser does.
"""

import json
import os
import shutil
import subprocess
import sys
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from PIL import Image

import lmhead
from lmhead.evaluation.documents.document_options import DocumentOptions

ROOT = Path(__file__).parent.parent.parent
WIDTH, HEIGHT = 1180, 960  # of a window, in points
SCALE = 1.5  # pixels a point
STEPS = 120  # few: a model that knows everything has no losses to look at


def photographed_pages(work: Path | None) -> dict[str, Image.Image]:
    """Images by name: `inspect`, `report` and `card`, light and dark.

    Args:
        work: a folder for the data and the run, which is taken as it is where there is one; None: a passing one.

    Raises:
        RuntimeError: there is no chromium.
    """
    if work is None:
        with TemporaryDirectory() as folder:
            return photographed_pages(Path(folder))
    work.mkdir(parents=True, exist_ok=True)
    run = work / "runs" / "chat"
    if not run.exists():
        _train(work)
    _run(work, "-m", "lmhead", "report", "runs/chat")
    before = Path.cwd()
    os.chdir(work)  # so that the page names files as a reader would
    seen = lmhead.inspect("chat.jsonl", "runs/chat")
    seen.save("inspect.html")
    _evaluate()
    os.chdir(before)
    return _photographed(
        {
            "inspect": (work / "inspect.html", _worst(seen)),
            "report": (run / "report.html", ""),
            "card": (work / "card.html", ""),
        }
    )


def _train(work: Path) -> None:
    made = ROOT / "examples" / "make_chat.py"
    _run(work, str(made), "train.jsonl", "--count", "1500")
    _run(work, str(made), "chat.jsonl", "--count", "60", "--seed", "1")
    model = ("--embed-dim", "128", "--num-layers", "3", "--vocab-size", "600", "--seed", "0")
    often = ("--steps", str(STEPS), "--eval-every", "15", "--sample-every", "30")
    _run(work, "-m", "lmhead", "train", "--data", "train.jsonl", "--out", "runs/chat", *model, *often)


def _evaluate() -> None:
    """The card of the run, by what the questions are of."""
    rows = [json.loads(line) for line in Path("chat.jsonl").read_text(encoding="utf-8").splitlines()]
    for row in rows:
        first = next(message["content"] for message in row["messages"] if message["role"] == "user")
        row["topic"] = "sums" if "plus" in first else "capitals" if "capital" in first else "others"
    Path("topics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    found = lmhead.evaluate("runs/chat", "topics.jsonl", how=DocumentOptions(source_key="topic"))
    found.card.save("card.html")


def _run(work: Path, *arguments: str) -> None:
    subprocess.run([sys.executable, *arguments], cwd=work, check=True, stdout=subprocess.DEVNULL)


def _worst(seen: lmhead.Inspection) -> str:
    """The link to the token that is worst predicted among those of the first documents, which are seen at once."""
    worst = []
    for number, row in enumerate(seen.rows[:2]):
        assert row.scores is not None
        nll = np.where(row.targets == lmhead.IGNORE_INDEX, -1.0, row.scores.nll)
        worst.append((nll.max(), number, int(nll.argmax()) + 1))  # the token AT t + 1 is what t predicts
    _, number, token = max(worst)
    return f"#d{number}-t{token}"


def _photographed(pages: dict[str, tuple[Path, str]]) -> dict[str, Image.Image]:
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        raise RuntimeError("screenshots need chromium: apt-get install chromium")
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
    taken = {}
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=[*sandbox, "--disable-dev-shm-usage"])
        for name, (file, fragment) in pages.items():
            for theme in ("light", "dark"):
                taken[f"{name}-{theme}"] = _photograph(browser, file.as_uri() + fragment, theme)
        browser.close()
    return taken


def _photograph(browser: Any, address: str, theme: str) -> Image.Image:
    context = browser.new_context(
        color_scheme=theme,
        viewport={"width": WIDTH, "height": HEIGHT},
        device_scale_factor=SCALE,
        offline=True,
    )
    page = context.new_page()
    page.goto(address)
    page.wait_for_timeout(500)  # a link scrolls to its token
    page.evaluate("scrollTo(0, 0)")
    page.wait_for_timeout(500)  # drawn when seen
    taken = Image.open(BytesIO(page.screenshot()))
    context.close()
    return taken
