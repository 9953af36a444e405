"""Templates of many styles: never silently wrong, labelled where it can be, refused with a kind otherwise."""

from collections import Counter

import pytest
from jinja2.exceptions import TemplateError as JinjaError
from tests.labels.chat.chat_cases import CASES, tokenizer_for, tools_of
from tests.labels.chat.chat_judge import SPECIAL, faults, own_texts, render, runs
from tests.labels.chat.odd_templates import ODD

from lmhead.errors import ConversationError
from lmhead.labels.chat.labeler import ChatLabeler


def judged(style, case, **options):
    """unrenderable, labelled, dropped (the template leaves out a text), the kind of a refusal, or a list of faults."""
    messages, tools = CASES[case], tools_of(case)
    try:
        text = render(style.source, messages, tools)
    except (JinjaError, TypeError, ValueError):
        return "unrenderable"
    tokenizer = tokenizer_for(style.source, text)
    try:
        example = ChatLabeler(tokenizer, chat_template=style.source, special_tokens=SPECIAL, **options)(messages, tools)
    except ConversationError as error:
        written = style.written or str
        kept = all(written(own) in text for message in messages for own in own_texts(message))
        return error.kind if kept and (not tools or "zephyr" in text) else "dropped"
    found = misplaced(style, tokenizer, example, messages)
    if style.written is None and not style.refused:
        found += faults(style.source, tokenizer, example, messages, tools)
    return found or "labelled"


def misplaced(style, tokenizer, example, messages):
    """What is wrong with the trained stretches, by what is known of the style."""
    stretches = list(runs(tokenizer, example))
    places = [place for place, (trained, _) in enumerate(stretches) if trained]
    turns = [message for message in messages if message["role"] == "assistant"]
    if len(places) != len(turns):
        return [f"{len(places)} trained stretches for {len(turns)} turns"]
    found = []
    for place, turn in zip(places, turns, strict=True):
        run = stretches[place][1]
        before = stretches[place - 1][1] if place else ""
        header = style.header if place or style.first is None else style.first
        if not before.endswith(header):
            found.append(f"{before[-40:]!r} is before {run!r}")
        if style.header.strip() and run.startswith(style.header):
            found.append(f"the header is trained: {run!r}")
        if not run.endswith(style.end) and not (style.open_last and turn is turns[-1]):
            found.append(f"no end is trained: {run!r}")
        written = (style.written or str)(turn["content"])
        if written.strip() not in run:
            found.append(f"{written!r} is not trained: {run!r}")
    return found


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", ODD)
def test_an_odd_template_is_labelled_right_or_refused(name, case):
    style = ODD[name]
    result = judged(style, case)
    expected = style.refused.get(case, style.refused.get("*", "labelled"))
    assert result in (expected, "unrenderable", "dropped") or (result == "labelled" and "*" in style.refused), result
    assert case != "single" or result == expected


@pytest.mark.parametrize("name", [name for name, style in ODD.items() if style.given])
def test_an_odd_template_is_labelled_with_the_header_that_is_given(name):
    results = Counter(str(judged(ODD[name], case, assistant_header=ODD[name].given)) for case in CASES)
    assert results["labelled"] >= 9, results
    assert set(results) <= {"labelled", "dropped"}


@pytest.mark.parametrize("name", ["alpaca without a prompt", "plain names without a prompt"])
def test_a_refusal_for_a_missing_prompt_names_the_header_to_give(name):
    style = ODD[name]
    tokenizer = tokenizer_for(style.source)
    label = ChatLabeler(tokenizer, chat_template=style.source, special_tokens=SPECIAL)
    with pytest.raises(ConversationError, match="give by assistant_header what stands before") as caught:
        label(CASES["single"])
    assert str(caught.value).endswith(f"such as {style.given!r}")


def test_what_a_template_does_with_long_texts_is_not_taken_from_short_ones():
    style = ODD["longer texts get a tag"]
    options = {"chat_template": style.source, "special_tokens": SPECIAL}
    tokenizer = tokenizer_for(style.source)
    label, anew = ChatLabeler(tokenizer, **options), ChatLabeler(tokenizer, **options, keep_probes=False)
    for text in ("short", "long, much longer than the others", "brief", "longer than the last one, by many words"):
        messages = [{"role": "user", "content": "Ask"}, {"role": "assistant", "content": text}]
        assert label(messages).trained.tolist() == anew(messages).trained.tolist()
        learnt = [run for trained, run in runs(tokenizer, label(messages)) if trained]
        assert learnt == [text + ("<|long|>" if len(text) > 30 else "") + "<|im_end|>"]
