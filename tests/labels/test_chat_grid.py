"""Real templates and ten kinds of conversation, labelled and judged.

The suite takes a sample; `pytest --hypothesis-profile nightly tests/labels/test_chat_grid.py -s` takes all of them and
prints what became of each.
"""

from collections import Counter

import pytest
from hypothesis import settings
from jinja2.exceptions import TemplateError as JinjaError
from tests.labels.chat_cases import CASES, TEMPLATES, tokenizer_for, tools_of
from tests.labels.chat_judge import SPECIAL, faults, own_texts, render
from tests.labels.chat_templates import GOOD

from lmhead.errors import ConversationError
from lmhead.labels.chat import ChatLabeler

FILES = sorted(TEMPLATES.rglob("*.jinja"))
SAMPLE = 4  # every fourth template in the suite


def judged(source, case):
    """What became of one conversation: unrenderable, labelled, the kind of a refusal, or a list of faults."""
    messages, tools = CASES[case], tools_of(case)
    try:
        text = render(source, messages, tools)
    except (JinjaError, TypeError, ValueError):
        return "unrenderable"
    tokenizer = tokenizer_for(source, text)
    try:
        example = ChatLabeler(tokenizer, chat_template=source, special_tokens=SPECIAL)(messages, tools)
    except ConversationError as error:
        kept = all(own in text for message in messages for own in own_texts(message)) and (
            not tools or "zephyr" in text
        )
        return f"refused: {error.kind}" if kept else "refused, and the template drops the text"
    return faults(source, tokenizer, example, messages, tools) or "labelled"


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", GOOD)
def test_templates_written_for_the_tests(name, case):
    result = judged(GOOD[name], case)
    assert isinstance(result, str), result
    dropping = case == "tools" or (name, case) == ("mistral", "system")
    assert result == "labelled" or (dropping and "drops the text" in result) or (name, case) in UNTOLD, result


UNTOLD = {("mistral", "assistant first")}  # nothing tells the beginning of the text from the beginning of a turn


def test_real_templates_are_labelled_right_or_refused():
    if not FILES:
        pytest.skip(f"no templates in {TEMPLATES}")
    whole = settings.get_current_profile_name() == "nightly"
    files = FILES if whole else FILES[::SAMPLE]
    results = {(file, case): judged(file.read_text(encoding="utf-8"), case) for file in files for case in CASES}
    wrong = {f"{file.stem}, {case}": result for (file, case), result in results.items() if isinstance(result, list)}
    assert wrong == {}
    counts = Counter(results.values())
    for (file, case), result in results.items():
        if result.startswith("refused:"):
            print(f"{file.relative_to(TEMPLATES)}, {case}: {result}")
    print(*sorted(counts.items()), sep="\n")
    kept = sum(count for result, count in counts.items() if result == "labelled" or result.startswith("refused:"))
    assert counts["labelled"] >= 0.97 * kept, counts
