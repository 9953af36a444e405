"""The page of tokens in a browser: milliseconds to the first tokens, and the longest frame while it is scrolled.

    python -m benchmarks.page           # 50,000 tokens: a table, and JSON in results/page.json
    python -m benchmarks.page --quick   # 3,000 tokens, nothing saved: does it run?

Debian's chromium, headless, by playwright, on a file that is written here. "first tokens": from the start of the
navigation until tokens are drawn. A frame is what passes between two callbacks of requestAnimationFrame while the page
scrolls by 100 pixels a frame, or jumps by a tenth of its height. "processor": of the main thread alone, the longest
task by then; this one can be read on a machine that is busy with other things.
"""

import argparse
import json
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any, Final

from playwright.sync_api import Browser, sync_playwright
from tests.browser.token_records import long_record

from benchmarks.harness import Report
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


NAMES: Final = {
    "paint": "first paint, ms",
    "tokens": "first tokens, ms",
    "wheel": "longest frame, scrolling, ms",
    "typical": "median frame, scrolling, ms",
    "jumps": "longest frame, jumping, ms",
    "processor": "longest task scrolling, processor, ms",
}


def main(arguments: Sequence[str] | None = None) -> None:
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--tokens", type=int, default=50_000)
    flags.add_argument("--rounds", type=int, default=7)
    flags.add_argument("--quick", action="store_true")
    chosen = flags.parse_args(arguments)
    report = report_of(3_000, 1) if chosen.quick else report_of(chosen.tokens, chosen.rounds)
    print(report.table())
    if not chosen.quick:
        print(f"\nwrote {report.save()}")


def report_of(tokens: int, rounds: int) -> Report:
    """The page with so many tokens, opened and scrolled so many times."""
    report = Report(name="page", title=f"the page of {tokens:,} tokens", columns=("", "median", "worst"))
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        file = Path(folder) / "report.html"
        file.write_text(token_page(long_record(tokens)), encoding="utf-8")
        chromium = shutil.which("chromium") or shutil.which("google-chrome")
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-dev-shm-usage"])
        found = [measured(browser, file) for _ in range(rounds)]
        browser.close()
        report.notes.append(f"{file.stat().st_size / 1e6:.1f} MB; {rounds} rounds.")
    for key, name in NAMES.items():
        values = [each[key] for each in found]
        report.rows.append((name, f"{median(values):.1f}", f"{max(values):.1f}"))
    report.goal("first tokens, ms, median", median(each["tokens"] for each in found), at_most=1000)
    frames = [max(each["wheel"], each["jumps"]) for each in found]
    report.goal("the longest frame while scrolling, ms, median", median(frames), at_most=100)
    report.measured["rounds"] = found
    return report


def measured(browser: Browser, file: Path) -> dict[str, float]:
    """Milliseconds of one opening of the page, by the keys of NAMES."""
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
        "paint": paint,
        "tokens": drawn,
        "wheel": max(wheel),
        "typical": median(wheel),
        "jumps": max(jumps),
        "processor": processor,
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
