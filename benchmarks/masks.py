"""What others' generation masks train, beside what ChatLabeler trains, token by token.

    python -m benchmarks.masks                     templates with `{% generation %}` markers: TRL's, and shared ones
    python -m benchmarks.masks --differences       and each stretch that differs
    PYTHONPATH=src some/venv/bin/python -m benchmarks.masks           a venv that has TRL, but not this package

TRL is not imported: its wheel carries the templates as files. Each is rendered with the ten kinds of conversation of
tests/labels/chat_cases.py, and masked by transformers (`return_assistant_tokens_mask=True`) and by ChatLabeler.
docs/labels.md says of each class of difference what is right.
"""

import argparse
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, files, version
from itertools import groupby
from pathlib import Path
from typing import Any

from jinja2.exceptions import TemplateError as JinjaError
from tests.labels.chat_cases import CASES, TEMPLATES, tokenizer_for, tools_of
from tests.labels.chat_judge import SPECIAL, render
from transformers import PreTrainedTokenizerFast

from lmhead.errors import ConversationError
from lmhead.labels.chat import ChatLabeler
from lmhead.labels.content_form import in_form, wanted_form
from lmhead.labels.template import ChatTemplate

_MARKED = re.compile(r"\{%-?\s*generation\s*-?%\}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One stretch of text that one of the two trains."""

    template: str
    case: str
    ours: bool  # we train it, the markers do not
    side: str  # before, behind or apart: of what both train
    text: str

    @property
    def kind(self) -> str:
        """What it is, in words."""
        if self.ours:
            return {
                "before": "the first character of the answer, which a token of the header swallows",
                "behind": "the token that stops the model, outside of the markers",
                "apart": "something else that we train",
            }[self.side]
        if self.side == "before":
            tag = "think" in self.text
            return (
                "reasoning tags that the prompt gives"
                if tag
                else "the role's header, or its end, that the prompt gives"
            )
        if self.side == "behind":
            return (
                "white space behind the terminator" if not self.text.strip() else "control tokens behind the terminator"
            )
        return "something else that the markers train"


def sources() -> dict[str, str]:
    """Templates with markers by name: TRL's where it is installed, and those of the shared folder."""
    try:
        found = [Path(str(file.locate())) for file in files("trl") or [] if file.suffix == ".jinja"]
    except PackageNotFoundError:
        found = []
    found += sorted(TEMPLATES.glob("*/*.jinja"))
    texts = {file.stem: file.read_text(encoding="utf-8") for file in found}
    return {name: text for name, text in sorted(texts.items()) if _MARKED.search(text)}


def compared(name: str, source: str, case: str) -> list[Difference] | str:
    """The differences of one conversation; a word where there is nothing to compare."""
    messages, tools = CASES[case], tools_of(case)
    try:
        text = render(source, messages, tools)
    except (JinjaError, TypeError, ValueError):
        return "unrenderable"
    backend = tokenizer_for(source, text)
    made: Any = PreTrainedTokenizerFast  # transformers does not annotate it
    tokenizer = made(tokenizer_object=backend, chat_template=source, **SPECIAL)
    shown = in_form(messages, wanted_form(ChatTemplate(source, special_tokens=SPECIAL).render))
    out = tokenizer.apply_chat_template(shown, tools=tools, return_dict=True, return_assistant_tokens_mask=True)
    label = ChatLabeler(backend, chat_template=source, special_tokens=SPECIAL, dropped_text="note")
    try:
        example = label(messages, tools)
    except ConversationError as error:
        return f"refused: {error.kind}"

    def characters(ids: list[int], mask: list[int]) -> list[bool]:
        pieces = [backend.decode([number], skip_special_tokens=False) for number in ids]
        return [bool(trained) for piece, trained in zip(pieces, mask, strict=True) for _ in piece]

    ours = characters(example.ids.tolist(), example.trained.tolist())
    theirs = characters(out["input_ids"], out["assistant_masks"])
    assert len(ours) == len(theirs) == len(text)
    return list(_differences(name, case, text, ours, theirs))


def _differences(name: str, case: str, text: str, ours: list[bool], theirs: list[bool]) -> Iterator[Difference]:
    start = 0
    stretches = [(pair, len(list(group))) for pair, group in groupby(zip(ours, theirs, strict=True))]
    for place, ((we, they), length) in enumerate(stretches):
        if we != they:
            follows = place + 1 < len(stretches) and all(stretches[place + 1][0])
            precedes = place > 0 and all(stretches[place - 1][0])
            side = "before" if follows and not precedes else "behind" if precedes else "apart"
            yield Difference(template=name, case=case, ours=we, side=side, text=text[start : start + length])
        start += length


def main() -> None:
    """Parse the command line, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--differences", action="store_true", help="each stretch that differs, with its template")
    arguments = parser.parse_args()
    found = sources()
    results = {(name, case): compared(name, text, case) for name, text in found.items() for case in CASES}
    fates = Counter(
        result if isinstance(result, str) else "differ" if result else "equal" for result in results.values()
    )
    installed = "not installed" if not any(name.endswith("_training") for name in found) else version("trl")
    print(f"{len(found)} templates with markers (TRL {installed}), {len(results)} conversations")
    print(*(f"{count:6} {fate}" for fate, count in fates.most_common()), sep="\n")
    differences = [one for result in results.values() if isinstance(result, list) for one in result]
    print("\n| who trains it | what | stretches | templates |\n| --- | --- | ---: | ---: |")
    for (ours, kind), group in groupby(sorted(differences, key=_class), key=_class):
        members = list(group)
        print(f"| {'lmhead' if ours else 'markers'} | {kind} | {len(members)} | {len({m.template for m in members})} |")
    if arguments.differences:
        for (text, kind), count in Counter((repr(one.text[:40]), one.kind) for one in differences).most_common():
            names = sorted({one.template for one in differences if repr(one.text[:40]) == text and one.kind == kind})
            print(f"{count:6} {text}: {kind} ({', '.join(names)})")


def _class(difference: Difference) -> tuple[bool, str]:
    return difference.ours, difference.kind


if __name__ == "__main__":
    main()
