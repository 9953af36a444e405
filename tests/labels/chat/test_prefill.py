"""What the prompt gave of an answer already is not learnt, and the rest goes on where it ends."""

import pytest
from tests.labels.chat.chat_cases import ASK, TEMPLATES, assistant, tokenizer_for, user
from tests.labels.chat.chat_judge import SPECIAL
from tests.labels.chat.chat_templates import CHATML, LLAMA_3, PROMPT_THINKS, QWEN_3

from lmhead.errors import ArgumentError, ArgumentTypeError, ConversationError
from lmhead.labels.chat.labeler import ChatLabeler
from lmhead.labels.targets import Reason


def labeler(source=CHATML, **options):
    return ChatLabeler(tokenizer_for(source), chat_template=source, special_tokens=SPECIAL, **options)


def learnt(label, messages):
    example = label(messages)
    return label._tokenizer.backend.decode(example.ids[example.trained].tolist(), skip_special_tokens=False)


def begun(text, rest):
    return [ASK, assistant(text + rest, prefill=text)]


@pytest.mark.parametrize("source", [CHATML, LLAMA_3, QWEN_3])
def test_an_answer_goes_on_behind_what_the_prompt_gave(source):
    assert learnt(labeler(source), begun("The answer is", " four.")).startswith(" four.<|")


@pytest.mark.parametrize(
    "name", ["Qwen-Qwen2.5-7B-Instruct", "google-gemma-2-2b-it", "mistralai-Mistral-Nemo-Instruct-2407"]
)
def test_it_does_so_in_real_templates(name):
    file = TEMPLATES / "llamacpp" / f"{name}.jinja"
    if not file.is_file():
        pytest.skip(f"no {file}")
    assert learnt(labeler(file.read_text(encoding="utf-8")), begun("The answer is", " four.")).startswith(" four.<")


def test_the_prompts_part_has_a_reason_of_its_own_and_the_border_is_no_token():
    example = labeler()(begun("The ans", "wer is four."))
    text = labeler()._tokenizer.backend
    given = example.ids[example.reason == Reason.PROMPT].tolist()
    assert text.decode(given) == "The ans"
    (span,) = [span for span in example.spans if span.role == "assistant"]
    assert text.decode(example.ids[span.start : span.stop].tolist(), skip_special_tokens=False).startswith("The answer")


def test_white_space_on_both_sides_of_the_border_stays():
    assert learnt(labeler(), begun("one \n", "\n two")) == "\n two<|im_end|>"
    assert learnt(labeler(), begun("  ", "two")) == "two<|im_end|>"
    assert learnt(labeler(), begun("all of it", "")) == "<|im_end|>"


def test_a_prefill_that_begins_the_reasoning():
    messages = begun("<think>\nSo", " it is.\n</think>\n\nFour.")
    assert learnt(labeler(QWEN_3), messages) == " it is.\n</think>\n\nFour.<|im_end|>"
    assert learnt(labeler(QWEN_3, train_reasoning=False), messages) == "Four.<|im_end|>"
    assert learnt(labeler(PROMPT_THINKS), begun("<think>\n", "So.\n</think>\n\nFour.")) == (
        "So.\n</think>\n\nFour.<|im_end|>"
    )


def test_the_border_counts_in_the_turn_that_has_it_alone():
    messages = [*begun("The answer is", " four."), user("And then"), assistant("The answer is five.")]
    assert learnt(labeler(), messages) == " four.<|im_end|>The answer is five.<|im_end|>"


def test_a_prefill_that_the_template_tears_apart_or_changes_is_refused():
    moved = begun("<think>\nSo.\n</think>\n\nThe", " answer")
    tears = QWEN_3.replace("{{- '<think>\n' + r", "{{- '<thoughts>\n' + r")
    for source, messages in ((tears, moved), (CHATML.replace("message.content", "message.content | upper"), moved)):
        with pytest.raises(ConversationError, match=r"messages\[1\].prefill must be rendered in one piece") as caught:
            labeler(source)(messages)
        assert caught.value.kind == "prefill"


def test_a_prefill_has_rules():
    for message in (assistant("Four.", prefill="Five"), user("Four.") | {"prefill": "Four"}):
        with pytest.raises(ArgumentError, match=r"messages\[1\].prefill must be what the content .* begins with"):
            labeler()([ASK, message])
    with pytest.raises(ArgumentTypeError, match=r"messages\[1\].prefill must be a string, got int"):
        labeler()([ASK, assistant("4", prefill=4)])
    assert learnt(labeler(), [ASK, assistant("Four.", prefill="")]) == "Four.<|im_end|>"
