"""What others train of a conversation, beside what ChatLabeler trains: the two oracles, stretch by stretch.

    python -m benchmarks.masks                     both oracles; if renderers is missing, that is told
    python -m benchmarks.masks --oracle markers    what transformers makes of `{% generation %}` markers: TRL's
    python -m benchmarks.masks --oracle renderers  masks of `renderers`, programs written by hand
    python -m benchmarks.masks --differences       and each stretch that differs
    python -m benchmarks.masks --wide              all kinds of conversation that others know, not ten alone
    python -m benchmarks.masks --templates DIR     with further templates, of DIR/*.jinja

Neither package belongs to this one's environment. A folder on the path will do; TRL is not imported, its wheel carries
templates as files:

    python -m pip install --target ORACLES --no-deps trl
    python -m pip install --target ORACLES renderers httpx
    PYTHONPATH=src:ORACLES python -m benchmarks.masks

Each template is rendered with the kinds of conversation of tests/labels/chat/chat_cases.py, and each stretch of text
that one alone trains is held against the prompt that inference gives. docs/data/labels.md tells what came of it.
"""

import argparse
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any, Final

from tests.labels.chat.chat_cases import CASES

from benchmarks import masks_of_markers, masks_of_renderers
from benchmarks.masks_compared import WIDE, Difference
from benchmarks.masks_templates import templates

Cases = Mapping[str, list[dict[str, Any]]]
Results = dict[tuple[str, str], list[Difference] | str]  # by template and case; a word where nothing is compared


def of_markers(folders: tuple[Path, ...], cases: Cases = CASES) -> tuple[str, Results]:
    """Templates with markers: a line that says what was compared, and the results."""
    found = templates(marked=True, folders=folders)
    results = {
        (name, case): masks_of_markers.compared(name, text, case) for name, text in found.items() for case in cases
    }
    return f"markers ({masks_of_markers.installed()}): {len(found)} templates with them", results


def of_renderers(folders: tuple[Path, ...], cases: Cases = CASES) -> tuple[str, Results]:
    """Templates that a renderer writes: a line that says what was compared, and the results."""
    try:
        voices = masks_of_renderers.voices()
    except ImportError as error:
        how = "python -m pip install --target ORACLES renderers httpx, and put ORACLES on PYTHONPATH"
        return f"renderers: left out; {error}. {how}", {}
    found = templates(marked=False, folders=folders)
    chosen = {name: masks_of_renderers.best(text, voices) for name, text in found.items()}
    results: Results = {}
    for name, voice in chosen.items():
        if voice is not None:
            compared = masks_of_renderers.compared(name, found[name], voice, cases)
            results |= {(name, case): result for case, result in compared}
    spoken = {name: voice.name for name, voice in chosen.items() if voice is not None}
    silent = sorted({voice.renderer for voice in voices} - {name.split()[0] for name in spoken.values()})
    lines = [
        f"{masks_of_renderers.installed()}: {len(spoken)} of {len(found)} templates are written by one of them",
        *(f"  {name}: {voice}" for name, voice in spoken.items()),
        f"  speak for no template at hand: {', '.join(silent) or 'none'}",
        *(f"  {name} is left out: {reason}" for name, reason in masks_of_renderers.LEFT_OUT.items()),
    ]
    return "\n".join(lines), results


ORACLES: Final[dict[str, Callable[[tuple[Path, ...], Cases], tuple[str, Results]]]] = {
    "markers": of_markers,
    "renderers": of_renderers,
}


def report(oracle: str, results: Results, *, every: bool) -> Iterator[str]:
    """The lines that say how the masks compare; every: each stretch that differs, too."""
    fates = Counter(_fate(result) for result in results.values())
    yield from (f"{count:6} {fate}" for fate, count in fates.most_common())
    found = [one for result in results.values() if isinstance(result, list) for one in result]
    yield "\n| who trains it | what | inference | stretches | templates | speaks against lmhead |"
    yield "| --- | --- | --- | ---: | ---: | --- |"
    for (ours, kind, inference), group in groupby(sorted(found, key=_class), key=_class):
        members = list(group)
        against = "yes" if any(one.speaks_against_us for one in members) else ""
        named = len({one.template for one in members})
        yield f"| {'lmhead' if ours else oracle} | {kind} | {inference} | {len(members)} | {named} | {against} |"
    if every:
        texts = [(one, repr(one.text[:40])) for one in found]
        for (which, text), count in Counter((_class(one), text) for one, text in texts).most_common():
            names = sorted({one.template for one, shown in texts if (_class(one), shown) == (which, text)})
            who, kind, inference = which
            yield f"{count:6} {'lmhead' if who else oracle}: {text}, {kind}, {inference} ({', '.join(names)})"


def _fate(result: list[Difference] | str) -> str:
    if isinstance(result, str):
        return result
    return "differ" if result else "equal"


def _class(difference: Difference) -> tuple[bool, str, str]:
    return difference.ours, difference.kind, difference.inference


def main() -> None:
    """Parse the command line, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--oracle", choices=list(ORACLES), help="this one alone")
    parser.add_argument("--differences", action="store_true", help="each stretch that differs, with its templates")
    parser.add_argument("--wide", action="store_true", help="all kinds of conversation that others know, not ten alone")
    parser.add_argument("--templates", type=Path, nargs="*", default=[], help="folders of further *.jinja files")
    arguments = parser.parse_args()
    for name in [arguments.oracle] if arguments.oracle else ORACLES:
        heading, results = ORACLES[name](tuple(arguments.templates), WIDE if arguments.wide else CASES)
        if arguments.oracle and not results:
            raise SystemExit(f"masks: {heading}")
        print(heading)
        if results:
            print(f"{len(results)} conversations")
            print(*report(name, results, every=arguments.differences), "", sep="\n")


if __name__ == "__main__":
    main()
