"""axe-core on a page that is open: what it finds against WCAG 2.2, levels A and AA."""

from typing import Any

LEVELS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]


def violations(page: Any) -> list[str]:
    """Each violation in a line, with the elements concerned."""
    from axe_playwright_python.sync_playwright import Axe

    # preload would ask for style sheets once more, which a page of a folder may not
    options = {"runOnly": LEVELS, "resultTypes": ["violations"], "preload": False}
    found = Axe().run(page, options=options).response["violations"]
    return [
        f"{each['id']}: {[(node['html'][:120], node['failureSummary']) for node in each['nodes'][:3]]}"
        for each in found
    ]
