"""The page of tokens in a browser: seconds to the first tokens, and the longest frame while it is scrolled.

    python -m benchmarks.page                   # 50,000 tokens
    python -m benchmarks.page --tokens 500000 --rounds 3

Debian's chromium, headless, by playwright, on a file that is written here. "first tokens": from the start of the
navigation until tokens are drawn. A frame is what passes between two callbacks of requestAnimationFrame while the page
scrolls by 100 pixels a frame, or jumps by a tenth of its height. "processor": of the main thread alone, the longest
task by then; this one can be read on a machine that is busy with other things.
"""

import argparse
import json
import shutil
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from playwright.sync_api import Browser, sync_playwright
from tests.browser.token_records import long_record

from lmhead.report.token_page import token_page

FIRST_TOKENS = """
window.drawn = null;
const watch = () => {
  if (document.querySelector('#tokens-flow .t')) window.drawn = performance.now();
  else requestAnimationFrame(watch);
};
requestAnimationFrame(watch);
"""
SCROLL = """
async ([pixels, frames]) => {
  const times = [];
  let last = performance.now();
  for (let frame = 0; frame < frames; frame++) {
    window.scrollBy(0, pixels);
    await new Promise(requestAnimationFrame);
    const now = performance.now();
    times.push(now - last);
    last = now;
  }
  return times;
}
"""


def main() -> None:
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--tokens", type=int, default=50_000)
    flags.add_argument("--rounds", type=int, default=5)
    chosen = flags.parse_args()
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        file = Path(folder) / "report.html"
        file.write_text(token_page(long_record(chosen.tokens)), encoding="utf-8")
        chromium = shutil.which("chromium") or shutil.which("google-chrome")
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-dev-shm-usage"])
        rounds = [measured(browser, file) for _ in range(chosen.rounds)]
        browser.close()
        print(f"{chosen.tokens:,} tokens, {file.stat().st_size / 1e6:.1f} MB, median (worst) of {chosen.rounds} rounds")
    for name in rounds[0]:
        values = [each[name] for each in rounds]
        print(f"{name:<34} {median(values):8.1f} ({max(values):.1f})")
    print(json.dumps(rounds))


def measured(browser: Browser, file: Path) -> dict[str, float]:
    """Milliseconds, of one opening of the page."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.add_init_script(FIRST_TOKENS)
    page.goto(file.as_uri())
    page.wait_for_function("window.drawn !== null")
    paint = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
    drawn = page.evaluate("window.drawn")
    page.wait_for_timeout(500)
    browser.start_tracing(page=page, categories=["toplevel"])
    wheel = scrolled(page, 100, 300)
    height = page.evaluate("document.documentElement.scrollHeight")
    page.evaluate("window.scrollTo(0, 0)")
    jumps = scrolled(page, height / 10, 10)
    processor = longest_task(browser.stop_tracing())
    page.close()
    return {
        "first paint, ms": paint,
        "first tokens, ms": drawn,
        "longest frame, wheel, ms": max(wheel),
        "median frame, wheel, ms": median(wheel),
        "longest frame, jumps, ms": max(jumps),
        "longest task, processor, ms": processor,
    }


def scrolled(page: Any, pixels: float, frames: int) -> list[float]:
    """Milliseconds of each frame."""
    return [float(time) for time in page.evaluate(SCROLL, [pixels, frames])]


def longest_task(trace: bytes) -> float:
    """Milliseconds of processor time, of the main thread of the page."""
    events = json.loads(trace)["traceEvents"]
    names = [event for event in events if event["name"] == "thread_name"]
    main = {(event["pid"], event["tid"]) for event in names if event["args"]["name"] == "CrRendererMain"}
    tasks = [event for event in events if (event["pid"], event["tid"]) in main and "tdur" in event]
    return float(max(task["tdur"] for task in tasks)) / 1000


if __name__ == "__main__":
    main()
