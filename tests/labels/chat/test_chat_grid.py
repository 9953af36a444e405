"""Real templates and kinds of conversation, labelled and judged.

The suite takes some pairs; `pytest --hypothesis-profile nightly tests/labels/chat/test_chat_grid.py -s` takes all
of them and prints what became of each.
"""

from collections import Counter
from functools import cache

import pytest
from hypothesis import settings
from jinja2.exceptions import TemplateError as JinjaError
from tests.labels.chat.chat_cases import CASES, TEMPLATES, WEATHER, tokenizer_for
from tests.labels.chat.chat_judge import SPECIAL, faults, is_kept, python_faults, render
from tests.labels.chat.chat_renders import renders
from tests.labels.chat.chat_templates import GOOD
from tests.labels.chat.wide_cases import LONG_TRACE, WIDE_CASES, tools_of

from lmhead.errors import ConversationError
from lmhead.labels.chat.labeler import ChatLabeler

FILES = sorted(TEMPLATES.rglob("*.jinja"))
SAMPLE, WIDE_SAMPLE = 8, 24  # in the suite every template meets one case in so many, and every case some templates


def judged(source, messages, tools, **options):
    """What became of one conversation: unrenderable, labelled, the kind of a refusal, or a list of faults."""
    try:
        text = render(source, messages, tools)
    except (JinjaError, TypeError, ValueError, KeyError):
        text = next(renders(source, messages, tools), None)
    if text is None:
        return "unrenderable"
    tokenizer = tokenizer_for(source, text)
    label = ChatLabeler(tokenizer, chat_template=source, special_tokens=SPECIAL, **options)
    try:
        example = label(messages, tools)
    except ConversationError as error:
        texts = [text, *renders(source, messages, tools)]
        kept = any(is_kept(each, messages, tools) and not python_faults(messages, each) for each in texts)
        return f"refused: {error.kind}" if kept else "refused, and the template drops the text"
    train_reasoning = options.get("train_reasoning", True)
    return faults(source, tokenizer, example, messages, tools, train_reasoning=train_reasoning) or "labelled"


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", GOOD)
def test_templates_written_for_the_tests(name, case):
    result = judged(GOOD[name], CASES[case], tools_of(case))
    assert isinstance(result, str), result
    dropping = case == "tools" or (name, case) == ("mistral", "system")
    assert result == "labelled" or (dropping and "drops the text" in result) or (name, case) in UNTOLD, result


UNTOLD = {("mistral", "assistant first")}  # nothing tells the beginning of the text from the beginning of a turn


def test_real_templates_are_labelled_right_or_refused():
    counts = tally(CASES, SAMPLE)
    kept = sum(count for result, count in counts.items() if result == "labelled" or result.startswith("refused:"))
    assert counts["labelled"] >= 0.97 * kept, counts


def test_real_templates_are_right_or_refuse_whatever_people_write():
    tally(WIDE_CASES, WIDE_SAMPLE)


def test_reasoning_that_is_not_learnt_is_never_learnt():
    cases = {name: case for name, case in (CASES | WIDE_CASES).items() if name in THINKING}
    counts = tally(cases, WIDE_SAMPLE, train_reasoning=False)
    assert counts["labelled"] > 0


THINKING = (
    "single",
    "inline",
    "field",
    "tools",
    "thought and call",
    "thinking block",
    "thinking between",
    "empty last",
)


def test_long_traces():
    if settings.get_current_profile_name() != "nightly":
        pytest.skip("takes long")
    tally({"trace of 100": LONG_TRACE}, SAMPLE, tools=[WEATHER])


def tally(cases, sample, tools=None, **options):
    """What became of the cases with real templates, counted; nothing is wrong."""
    if not FILES:
        pytest.skip(f"no templates in {TEMPLATES}")
    sample = 1 if settings.get_current_profile_name() == "nightly" else sample
    results = {
        (file, case): judged(source(file), messages, tools or tools_of(case), **options)
        for row, file in enumerate(FILES)
        for column, (case, messages) in enumerate(cases.items())
        if (row + column) % sample == 0
    }
    wrong = {f"{file.stem}, {case}": result for (file, case), result in results.items() if isinstance(result, list)}
    assert wrong == {}
    for (file, case), result in results.items():
        if result.startswith("refused:"):
            print(f"{file.relative_to(TEMPLATES)}, {case}: {result}")
    counts = Counter(results.values())
    print(*sorted(counts.items()), sep="\n")
    return counts


@cache
def source(file):
    return file.read_text(encoding="utf-8")
