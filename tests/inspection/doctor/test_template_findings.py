"""What chat templates do is found by asking them, and told with what to do about it."""

from collections import Counter

import pytest
from hypothesis import settings
from tests.inspection.doctor.patients import GOOD, assistant, chat, tokenizer, user, write
from tests.labels.chat.chat_cases import TEMPLATES, tokenizer_for
from tests.labels.chat.chat_judge import SPECIAL
from tests.labels.chat.chat_templates import (
    ALWAYS_PROMPTS,
    CHATML,
    LLAMA_3,
    MISTRAL,
    NO_TERMINATOR,
    OTHER_LAST_TERMINATOR,
    PROMPT_THINKS,
    QWEN_3,
    READS_ITS_TEXT,
)
from tokenizers import Tokenizer, models
from tokenizers.processors import TemplateProcessing

from lmhead.data.labelling.chat_config import ChatConfig
from lmhead.data.labelling.recipe import Recipe
from lmhead.data.tokenizer.tokenizer_files import TokenizerFiles
from lmhead.inspection.doctor.examine import examine
from lmhead.inspection.doctor.examined_template import ExaminedTemplate
from lmhead.inspection.doctor.probe import Reasoning, TemplateFacts, probe

DATED = CHATML.replace(
    "{%- for", "{{- '<|im_start|>system\\nIt is ' + strftime_now('%d %B %Y') + '<|im_end|>\\n' }}\n{%- for", 1
)
REFUSES = CHATML.replace(
    "{%- for message in messages %}",
    "{%- for message in messages %}\n"
    "{%- if message.role == 'system' %}{{- raise_exception('no system role') }}{%- endif %}\n"
    "{%- if message.role == 'tool' %}{{- raise_exception('no tools') }}{%- endif %}\n"
    "{%- if (message.role == 'user') != (loop.index0 % 2 == 0) %}{{- raise_exception('roles must alternate') "
    "}}{%- endif %}",
)
LAST_USER_HAS_SYSTEM = """\
{%- for message in messages %}
    {%- if message.role == 'user' %}
        {%- if loop.last and messages[0].role == 'system' %}
            {{- '[INST] ' + messages[0].content + '\n\n' + message.content + '[/INST]' }}
        {%- else %}
            {{- '[INST] ' + message.content + '[/INST]' }}
        {%- endif %}
    {%- elif message.role == 'assistant' %}
        {{- ' ' + message.content + eos_token }}
    {%- endif %}
{%- endfor %}
"""  # as Mistral's of version 3: the system prompt is put before the last question, if a question is last
DROPS_REASONING = CHATML.replace("message.content +", "message.content.split('</think>')[-1] +")
HEADER_WITHOUT_PROMPT = CHATML.replace("<|im_start|>assistant\n' }}", "<|im_start|>model\n' }}")
WANTS_BLOCKS = CHATML.replace("message.content +", "message.content[0].text +")


def facts(template: str, **fields) -> TemplateFacts:
    return probe(ExaminedTemplate(Recipe.of(tokenizer(template, **fields), ChatConfig(date="2026-01-31"))))


def found(template: str, **fields) -> dict[str, str]:
    """code -> head, of the template alone."""
    return {finding.code: finding.head() for finding in examine(None, tokenizer(template, **fields)).findings}


def test_chatml_has_nothing_but_what_it_leaves_out():
    assert facts(CHATML) == TemplateFacts(
        tools="dropped",
        reasoning={"field": Reasoning(last=True, earlier=True), "inline": Reasoning(last=False, earlier=False)},
        end_of_last="<|im_end|>",
        end_of_earlier="<|im_end|>",
        first_token="<|im_start|>",
    )


HEADS = {
    "the system prompt is dropped": (
        MISTRAL,
        "error: the chat template drops the system prompt [system_prompt_dropped]",
    ),
    "the system prompt is dropped before an answer": (
        LAST_USER_HAS_SYSTEM,
        "error: the chat template drops the system prompt whenever a conversation ends with an assistant's "
        "turn, as those "
        "do that are trained [system_prompt_dropped]",
    ),
    "the system prompt is refused": (
        REFUSES,
        "info: the chat template refuses system prompts: TemplateRuntimeError: no system role [system_prompt_refused]",
    ),
    "tools are refused": (
        REFUSES,
        "info: the chat template refuses calls of tools: TemplateRuntimeError: no tools [tools_refused]",
    ),
    "turns of one role are refused": (
        REFUSES,
        "info: the chat template refuses turns of one role in a row: TemplateRuntimeError: roles must alternate "
        "[consecutive_roles_refused]",
    ),
    "an assistant first is refused": (
        CHATML + "{%- if messages[0].role == 'assistant' %}{{- raise_exception('ask first') }}{%- endif %}",
        "info: the chat template refuses an assistant's turn first: TemplateRuntimeError: ask first "
        "[assistant_first_refused]",
    ),
    "tools are dropped": (CHATML, "info: the chat template drops tools or calls of tools [tools_dropped]"),
    "reasoning is dropped everywhere": (
        DROPS_REASONING,
        "warning: the chat template drops reasoning between <think> and </think> even in the last turn: it is "
        "not learnt "
        "[reasoning_dropped]",
    ),
    "reasoning is dropped in earlier turns": (
        QWEN_3,
        "info: the chat template drops reasoning between <think> and </think> in all turns but the last "
        "[reasoning_dropped_earlier]",
    ),
    "nothing ends a turn": (
        NO_TERMINATOR,
        "error: the chat template ends an assistant's turn with no control token: the model would not learn to stop "
        "[no_end_token]",
    ),
    "the prompt differs": (
        PROMPT_THINKS,
        r"warning: the chat template prompts otherwise than it trains: inference prompts with "
        r"'<|im_start|>assistant\n<think>\n', the training text has '<|im_start|>assistant\n' before the answer "
        r"[generation_prompt_differs]",
    ),
    "the template writes the date": (
        DATED,
        "warning: the chat template writes today's date: another day gives other tokens, and every row has the day of "
        "its labelling [template_depends_on_date]",
    ),
    "the template writes a prompt": (
        LLAMA_3,
        "info: the chat template writes a system prompt of its own where a conversation has none: 'You are helpful.' "
        "[default_system_prompt]",
    ),
    "the template needs tools": (
        CHATML + "{%- for tool in tools %}{{- '' }}{%- endfor %}{{- '' if tools is not none else none + 1 }}",
        "warning: the chat template fails on conversations without tools [template_wants_tools]",
    ),
    "a control token is split": (
        NO_TERMINATOR,
        "warning: the chat template writes <|user|>, which the tokenizer splits [control_token_split]",
    ),
}


@pytest.mark.parametrize("name", HEADS)
def test_what_a_template_does_is_told(name):
    template, head = HEADS[name]
    findings = examine(None, tokenizer(template)).findings
    assert head in [finding.head() for finding in findings]
    assert all(finding.remedy for finding in findings)


@pytest.mark.parametrize(
    ("template", "code", "start"),
    [
        (
            READS_ITS_TEXT,
            "template_not_provable",
            "messages must render alike with and without markers, got texts that",
        ),
        (
            HEADER_WITHOUT_PROMPT,
            "generation_prompt_disagrees",
            "messages[1] must begin as the template's generation prompt",
        ),
        (
            "{{ messages.nothing.there }}",
            "template_unusable",
            "messages must be such that the chat template renders them",
        ),
        ("{{ messages[0].content }}", "template_drops_answers", "messages[1] must be rendered by the chat template"),
    ],
)
def test_a_template_that_cannot_be_used_is_told_and_why(template, code, start):
    (finding,) = examine(None, tokenizer(template)).errors
    assert finding.code == code
    assert finding.message.startswith(f"the chat template cannot be used even for a question and its answer: {start}")


def test_a_template_that_reads_blocks_alone_is_as_good_as_one_that_reads_strings():
    assert [f.code for f in examine(None, tokenizer(WANTS_BLOCKS)).findings] == [
        f.code for f in examine(None, tokenizer(CHATML)).findings
    ]


def test_a_date_that_is_given_is_no_finding():
    assert "template_depends_on_date" in found(DATED)
    report = examine(None, tokenizer(DATED), config=ChatConfig(date="2026-01-31"))
    assert "template_depends_on_date" not in report


def test_a_prompt_that_differs_is_told_of_the_rows_where_it_does(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    thinking = [
        chat(user(f"Ask {number}"), assistant(f"<think>\nhotel {number}\n</think>\n\nReply {number}"))
        for number in range(3)
    ]
    assert examine(write(tmp_path / "all.jsonl", thinking), tokenizer(PROMPT_THINKS)).warnings == ()
    report = examine(write(tmp_path / "some.jsonl", [*thinking, GOOD[0]]), tokenizer(PROMPT_THINKS))
    assert report["generation_prompt_differs"].places == ("some.jsonl, line 4",)
    assert report["generation_prompt_differs"].message.endswith("before the answer: 1 row")


def test_the_clock_is_asked_not_the_source():
    quiet = CHATML + "{%- if false %}{{- strftime_now('%Y') }}{%- endif %}"
    assert not facts(quiet).dated
    assert facts(DATED).dated


def test_where_generation_stops_is_compared_with_what_ends_a_turn():
    assert found(CHATML, eos="</s>")["eos_differs"] == (
        "warning: the chat template ends a turn with <|im_end|>, and generation stops at </s> alone: it would "
        "go on behind "
        "the answer [eos_differs]"
    )
    number = tokenizer(CHATML).backend().token_to_id("<|im_end|>")
    assert "eos_differs" not in found(CHATML, eos="</s>", generation_eos=(number,))
    assert "eos_differs" not in found(CHATML)
    nameless = found(CHATML, special_tokens={})["eos_differs"]
    assert "and no eos_token tells generation where to stop: it would go on" in nameless


def test_chatml_that_is_built_in_stops_at_its_own_end_where_nothing_is_said():
    backend = tokenizer(CHATML).backend()
    assert set(found(None, backend=backend, special_tokens={})) == {"no_chat_template"}
    assert "eos_differs" in found(None, backend=backend, special_tokens={"eos_token": "</s>"})


OPENS_NEXT = (  # as GLM: no token ends a turn, and generation stops at the one that opens a question
    "{%- for m in messages %}{{- '<|user|>' if m.role == 'user' else '<|assistant|>' }}{{- '\\n' + m.content }}"
    "{%- endfor %}{%- if add_generation_prompt %}{{- '<|assistant|>' }}{%- endif %}"
)


def test_a_template_that_stops_at_what_opens_a_question_is_told_to_write_it_behind_the_last_turn():
    number = tokenizer(OPENS_NEXT).backend().token_to_id("<|user|>")
    files = tokenizer(OPENS_NEXT, generation_eos=(number,))
    finding = examine(None, files)["no_end_token"]
    assert "with no control token, and others with <|user|>: only these teach to stop" in finding.message
    assert "let the template write <|user|> behind the last turn too" in finding.remedy
    assert "one that starts from nothing" in finding.remedy
    assert "eos_differs" not in found(OPENS_NEXT, generation_eos=(number,))


def test_rows_that_end_at_no_stop_are_told_where_the_template_does_not_tell(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ends = CHATML.replace("'<|im_end|>'", "('<|eot_id|>' if messages | length == 6 else '<|im_end|>')")
    number = tokenizer(ends).backend().token_to_id("<|im_end|>")
    path = write(tmp_path / "some.jsonl", [GOOD[0], chat(*[user("Ask"), assistant("Now")] * 3)])
    finding = examine(path, tokenizer(ends, generation_eos=(number,)))["no_stop"]
    assert finding.places == ("some.jsonl, line 2",)
    assert "ends with <|eot_id|>, at which no generation stops: it stops at <|im_end|>" in finding.message
    assert "add that token's id to eos_token_id of generation_config.json" in finding.remedy


def test_two_ends_of_a_turn_are_told_and_harmless_where_both_stop():
    assert found(OTHER_LAST_TERMINATOR, eos="<|end|>")["terminator_differs"] == (
        "warning: the chat template ends the last turn with <|return|>, and earlier ones with <|end|>; "
        "generation stops at "
        "<|end|> alone [terminator_differs]"
    )
    backend = tokenizer(OTHER_LAST_TERMINATOR).backend()
    both = tuple(backend.token_to_id(token) for token in ("<|end|>", "<|return|>"))
    assert found(OTHER_LAST_TERMINATOR, generation_eos=both)["terminator_differs"].startswith("info: ")


def test_padding_that_is_the_end_is_told_with_its_consequence():
    assert found(CHATML, special_tokens={"eos_token": "<|im_end|>", "pad_token": "<|im_end|>"})["pad_equals_eos"] == (
        "warning: padding and the end of a turn are one token, <|im_end|>: a collator that masks padding by its "
        "id hides "
        "the end from the loss, and the model does not learn to stop [pad_equals_eos]"
    )
    assert "pad_equals_eos" not in found(CHATML)


def with_bos(template):
    backend = tokenizer_for(template)
    backend.post_processor = TemplateProcessing(
        single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", backend.token_to_id("<s>"))]
    )
    return backend


def test_a_bos_of_template_and_tokenizer_is_one_too_many():
    assert found(ALWAYS_PROMPTS, backend=with_bos(ALWAYS_PROMPTS), eos="<|turn_end|>")["double_bos"] == (
        "warning: the chat template writes <s>, and the tokenizer adds another: a rendered text that is "
        "tokenised begins "
        "with two [double_bos]"
    )
    assert "double_bos" not in found(ALWAYS_PROMPTS, eos="<|turn_end|>")
    assert "double_bos" in found(ALWAYS_PROMPTS, eos="<|turn_end|>", add_bos=True), "transformers adds it"


def test_a_bos_that_only_the_tokenizer_writes_is_an_info():
    assert found(CHATML, backend=with_bos(CHATML))["no_bos"].startswith(
        "info: the tokenizer puts <s> before a text, and the chat template writes none"
    )


def test_a_tokenizer_without_a_template_gets_chatml_and_is_told_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    backend = Tokenizer(models.WordLevel({"Ask": 0, "?": 1}, unk_token="?"))
    report = examine(write(tmp_path / "chat.jsonl", GOOD), tokenizer(None, backend=backend))
    assert report["no_chat_template"].head() == (
        "info: the tokenizer brings no chat template: ChatML is used [no_chat_template]"
    )
    assert report["new_tokens"].head() == (
        "warning: the tokenizer has no <|im_start|> and no <|im_end|>, which ChatML needs: new ids are given "
        "[new_tokens]"
    )
    named = examine("chat.jsonl", tokenizer(MISTRAL), config=ChatConfig(template="chatml"))
    assert "new_tokens" in named, "whether ChatML was asked for or not"
    assert "no_chat_template" not in named
    assert report.template == "ChatML, which is built in"


def test_severities_follow_the_rows(tmp_path, monkeypatch):
    """Refused turns of one role are an info of the template, and an error where rows have them."""
    monkeypatch.chdir(tmp_path)
    rows = [*GOOD[:1], chat(user("Ask"), user("Then"), assistant("Reply"))]
    report = examine(write(tmp_path / "chat.jsonl", rows), tokenizer(REFUSES))
    assert report["consecutive_roles_refused"].severity == "error"
    assert report["consecutive_roles_refused"].places == ("chat.jsonl, line 2",)
    assert report["refused_template"].places == ("chat.jsonl, line 2",)
    assert "system_prompt_refused" not in report


# What is known of the 119 templates that are here, of the 194 that were looked at (7, 10, 27 and 22 of those).
KNOWN = {
    "drops the system prompt before an answer": {
        "mistral_v2v3",
        "mistral_v3_tekken",
        "pixtral",
        "mistralai-Mistral-Nemo-Instruct-2407",
    },
    "drops reasoning": {
        "deepseek_v3",
        "deepseek-ai-DeepSeek-V3.1",
        "deepseek-ai-DeepSeek-R1-Distill-Qwen-32B",
        "llama-cpp-deepseek-r1",
    },
    "ends no turn": {"llava", "metharme", "GLM-4.6", "llama-cpp-rwkv-world"},
    "ends turns otherwise": {"openai-gpt-oss-120b", "gptoss"},
    "prompts otherwise": {"Qwen-QwQ-32B", "deepseek-ai-DeepSeek-R1-Distill-Llama-8B"},
    "has a date": {"meta-llama-Llama-3.2-3B-Instruct", "openai-gpt-oss-120b", "gptoss"},
    "refuses system prompts": {"gemma", "google-gemma-2-2b-it"},
    "wants tools": {"NousResearch-Hermes-3-Llama-3.1-8B-tool_use"},
}
COUNTS = {
    "drops the system prompt before an answer": 4,
    "drops reasoning": 9,
    "ends no turn": 9,
    "prompts otherwise": 27,
    "refuses system prompts": 3,
    "has a date": 9,
    "wants tools": 3,
    "cannot be used": 2,
}


def test_the_real_templates_do_what_is_known_of_them():
    """The suite looks at those that are named; `--hypothesis-profile nightly` counts all."""
    files = sorted(TEMPLATES.rglob("*.jinja"))
    if not files:
        pytest.skip(f"no templates in {TEMPLATES}")
    whole = settings.get_current_profile_name() == "nightly"
    named = set().union(*KNOWN.values())
    seen = {file: habits(file.read_text(encoding="utf-8")) for file in files if whole or file.stem in named}
    for habit, stems in KNOWN.items():
        found = {file.stem for file, those in seen.items() if habit in those}
        assert found >= stems, habit
    if whole:
        counts = Counter(habit for those in seen.values() for habit in those)
        assert {habit: counts[habit] for habit in COUNTS} == COUNTS


def habits(source: str) -> set[str]:
    files = TokenizerFiles(json=tokenizer_for(source).to_str(), chat_template=source, special_tokens=SPECIAL)
    seen = probe(ExaminedTemplate(Recipe.of(files, ChatConfig(date="2026-01-31"))))
    inline = seen.reasoning.get("inline")
    has = {
        "drops the system prompt before an answer": seen.system == "dropped" and seen.system_before_answer,
        "drops reasoning": inline is not None and inline.last,
        "ends no turn": bool(seen.unended),
        "ends turns otherwise": seen.end_of_last != seen.end_of_earlier,
        "prompts otherwise": bool(seen.prompt_differs),
        "has a date": seen.dated,
        "refuses system prompts": seen.system == "refused",
        "wants tools": seen.wants_tools,
        "cannot be used": seen.failure is not None,
    }
    return {habit for habit, does in has.items() if does}


def test_an_answer_that_opens_a_conversation_has_no_prompt_to_agree_with(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = [chat(assistant("Reply"), user("Ask"), assistant("Golf"))]
    report = examine(write(tmp_path / "chat.jsonl", rows), tokenizer(QWEN_3))
    assert [finding.code for finding in report.findings] == ["assistant_first"]
