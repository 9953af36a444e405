"""A page of the built site in a browser that is offline: what is wrong with it, in lines."""

from pathlib import Path
from typing import Any

from tests.browser.accessibility import violations

PHONE = 360
WIDE = 1280


def faults_of(page: Any, file: Path) -> list[str]:
    """What is wrong with the page of that file, wide and on a phone, light and dark.

    `page` is playwright's, of a context with `offline=True`.
    """
    found: list[str] = []
    listeners = {
        "pageerror": lambda error: found.append(f"exception: {error}"),
        "console": lambda message: found.append(f"console: {message.text}") if message.type == "error" else None,
        "request": lambda request: None if is_of_the_site(request.url) else found.append(f"asks for {request.url}"),
        "requestfailed": lambda request: found.append(f"not there: {request.url}"),
    }
    for event, listener in listeners.items():
        page.on(event, listener)
    for width, dark in ((WIDE, False), (PHONE, True)):
        show(page, file, width=width, dark=dark)
        found += [f"{width} px, {'dark' if dark else 'light'}: {each}" for each in violations(page)]
        found += [f"{width} px: wider than its window: {each}" for each in wider_than_the_window(page)]
    for event, listener in listeners.items():
        page.remove_listener(event, listener)
    return found


def show(page: Any, file: Path, *, width: int, dark: bool, height: int = 900) -> None:
    """Opens it, as a person does whose system is light or dark."""
    page.set_viewport_size({"width": width, "height": height})
    page.emulate_media(color_scheme="dark" if dark else "light", reduced_motion="reduce")
    page.goto(file.resolve().as_uri())


def is_of_the_site(url: str) -> bool:
    return url.startswith(("file:", "data:", "about:", "blob:"))


def wider_than_the_window(page: Any) -> list[str]:
    """Where a reader would have to move the whole page sideways: the elements that reach out of it."""
    return page.evaluate(  # type: ignore[no-any-return]
        """() => {
            const width = document.documentElement.clientWidth;
            if (document.documentElement.scrollWidth <= width) return [];
            return [...document.querySelectorAll("article *")]
                .filter(each => each.getBoundingClientRect().right > width + 1)
                .slice(0, 3).map(each => each.outerHTML.slice(0, 120));
        }"""
    )
