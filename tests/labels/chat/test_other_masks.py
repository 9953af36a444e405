"""Masks that others make of `{% generation %}` markers: where they differ from ours, it is for a known reason.

`python -m benchmarks.masks` prints them all; docs/data/labels.md explains each.
"""

import pytest
from benchmarks.masks_of_markers import compared, sources
from tests.labels.chat.chat_cases import CASES, assistant, tokenizer_for, user
from tests.labels.chat.chat_judge import SPECIAL
from transformers import PreTrainedTokenizerFast

MARKED = """\
{%- for message in messages %}
    {{- '<|im_start|>' + message.role + '\\n' }}
    {%- if message.role == 'assistant' %}
        {%- generation %}{{- message.content + '<|im_end|>' }}{%- endgeneration %}
    {%- else %}
        {{- message.content + '<|im_end|>' }}
    {%- endif %}
    {{- '\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}
"""
SOURCES = sources()
TRL = [name for name in SOURCES if name.startswith("TRL/")]


@pytest.mark.parametrize("case", [case for case in CASES if case not in ("tools", "white space")])
def test_markers_that_stand_where_inference_does_give_our_mask(case):
    assert compared("marked", MARKED, case) == []


def test_a_header_and_a_line_break_inside_of_the_markers_are_named():
    source = MARKED.replace("' + message.role + '\\n' }}", "' }}").replace(
        "message.content + '<|im", "message.role + '\\n' + message.content + '<|im"
    )
    source = source.replace("+ '<|im_end|>' }}{%- endg", "+ '<|im_end|>\\n' }}{%- endg").replace(
        "    {{- '\\n' }}\n", ""
    )
    found = {(one.kind, one.inference, one.speaks_against_us) for one in compared("marked", source, "single")}
    assert found == {
        ("the role's header", "gives it", False),
        ("white space behind the terminator", "has stopped before", False),
    }


@pytest.mark.parametrize("name", [name for name in SOURCES if name not in TRL] or [None])
def test_shared_templates_speak_nowhere_against_ours(name):
    if name is None:
        pytest.skip("no shared templates with generation markers")
    check(name)


@pytest.mark.parametrize("name", TRL or [None])
def test_trls_templates_speak_nowhere_against_ours(name):
    if name is None:
        pytest.skip("TRL is not installed: its wheel carries the templates that it patched by hand")
    check(name)


def check(name):
    results = [compared(name, SOURCES[name], case) for case in CASES]
    assert [one for result in results if not isinstance(result, str) for one in result if one.speaks_against_us] == []
    words = {result for result in results if isinstance(result, str)}
    # Transformers takes a message's nulls out, and DeepSeek's template shows a call beside a null alone. Diffusion
    # Gemma's writes a header behind a tool's answer, and prompts without it.
    refused = {"the template refuses it", "lmhead refuses it: dropped_text", "lmhead refuses it: generation_prompt"}
    assert words <= {*refused, "the texts differ"}


def test_transformers_trains_all_that_follows_where_a_marked_stretch_ends_with_the_first_token():
    source = (
        "{% for m in messages %}{% if m.role == 'assistant' %}{% generation %}{{ '<|' + m.content + '|>' }}"
        "{% endgeneration %}{% else %}{{ m.content }}{% endif %}{% endfor %}"
    )
    messages = [assistant("yes"), user("What is two plus two?")]
    backend = tokenizer_for("<|yes|>")
    theirs = PreTrainedTokenizerFast(tokenizer_object=backend, chat_template=source, **SPECIAL)
    mask = theirs.apply_chat_template(messages, return_dict=True, return_assistant_tokens_mask=True)["assistant_masks"]
    assert len(mask) > 5
    assert set(mask) == {1}  # the question is trained: token 0 is taken for no token
