"""A real browser: Debian's chromium, headless, by playwright. Without it these tests are skipped, and the end says why.

`.ci/browser` installs chromium where the machine allows it; `make test` calls it.
"""

import os
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
)


def _why_not() -> str | None:
    if CHROMIUM is None:
        return "no chromium is on PATH: apt-get install chromium"
    try:
        import playwright  # noqa: F401
    except ImportError:
        return "playwright is not installed: pip install playwright"
    return None


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """One browser for a worker's tests."""
    why_not = _why_not()
    if why_not is not None:
        pytest.skip(f"no browser: {why_not}")
    from playwright.sync_api import sync_playwright

    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as driver:
        launched = driver.chromium.launch(executable_path=CHROMIUM, args=[*sandbox, "--disable-dev-shm-usage"])
        yield launched
        launched.close()


class Opened:
    """A page of a browser that is offline, with all that it complained of."""

    def __init__(self, page: Any) -> None:
        self.page = page
        self.errors: list[str] = []  # exceptions, console errors, violations of the Content-Security-Policy
        self.requests: list[str] = []  # whatever it asked for beside the file itself
        self.dialogs: list[str] = []
        self._listeners = {
            "pageerror": lambda error: self.errors.append(str(error)),
            "console": lambda message: self.errors.append(message.text) if message.type == "error" else None,
            "request": lambda request: self.requests.append(request.url),
            "dialog": self._dialog,
        }
        for event, listener in self._listeners.items():
            page.on(event, listener)

    def _dialog(self, dialog: Any) -> None:
        self.dialogs.append(dialog.message)
        dialog.dismiss()

    def assert_clean(self) -> None:
        """Nothing ran that should not, nothing was asked for, nothing broke."""
        assert self.errors == []
        assert self.dialogs == []
        assert self.page.evaluate("window.violations") == []
        assert [url for url in self.requests if not url.startswith(("file:", "data:"))] == []
        assert len([url for url in self.requests if url.startswith("file:")]) <= 1 + self.page.evaluate(
            "performance.getEntriesByType('navigation').length"
        )

    def leave(self) -> Any:
        """The browser's page, empty as before, with the pointer in its corner."""
        for event, listener in self._listeners.items():
            self.page.remove_listener(event, listener)
        self.page.mouse.move(0, 0)
        self.page.goto("about:blank")
        return self.page


def _new_page(browser: Any, scale: float) -> Any:
    page = browser.new_context(device_scale_factor=scale, offline=True).new_page()
    page.add_init_script(
        "window.violations = [];"
        "document.addEventListener('securitypolicyviolation', e => window.violations.push("
        "e.violatedDirective + ' ' + e.blockedURI + ' ' + e.sample));"
    )
    return page


@pytest.fixture(scope="session")
def idle_pages() -> dict[float, list[Any]]:
    """Pages that a test has left clean, by scale: the next visit takes chromium a third of what a new page does.

    Visits share a context, and so storage and cookies, of which no page here has any.
    """
    return defaultdict(list)


@pytest.fixture
def open_page(browser: Any, idle_pages: dict[float, list[Any]]) -> Iterator[Callable[..., Opened]]:
    """open_page(file, dark=False, width=1280, height=900, fragment="") -> Opened; every one is clean at the end."""
    opened: list[tuple[float, Opened]] = []

    def open_(
        file: Path, *, dark: bool = False, width: int = 1280, height: int = 900, fragment: str = "", scale: float = 1.0
    ) -> Opened:
        page = Opened(idle_pages[scale].pop() if idle_pages[scale] else _new_page(browser, scale))
        opened.append((scale, page))
        page.page.set_viewport_size({"width": width, "height": height})
        page.page.emulate_media(color_scheme="dark" if dark else "light")
        page.page.goto(file.as_uri() + fragment)
        return page

    yield open_
    for _, page in opened:
        page.assert_clean()
    for scale, page in opened:
        idle_pages[scale].append(page.leave())
