from datetime import datetime

import pytest
from tests.labels.chat.chat_cases import CASES, assistant, call, tokenizer_for, tools_of, trained, user
from tests.labels.chat.chat_judge import SPECIAL, faults, render
from tokenizers import Tokenizer

from lmhead.data.tokenizer.chatml import CHATML, CHATML_TOKENS, missing_tokens, with_chatml
from lmhead.labels.chat.labeler import ChatLabeler
from lmhead.labels.template.chat_template import ChatTemplate

NOTED = {"imitated": {"control_token_in_text"}, "white space": {"regions_tokenized_apart"}}


def labelled(messages, tools=None):
    tokenizer = with_chatml(tokenizer_for(CHATML, str(messages)))
    example = ChatLabeler(tokenizer, chat_template=CHATML, special_tokens=SPECIAL)(messages, tools)
    return tokenizer, example


def text(messages, **options):
    return ChatTemplate(CHATML).render(messages, **options)


@pytest.mark.parametrize("case", CASES)
def test_no_kind_of_conversation_is_refused_or_labelled_wrong(case):
    messages, tools = CASES[case], tools_of(case)
    tokenizer, example = labelled(messages, tools)
    assert faults(CHATML, tokenizer, example, messages, tools) == []
    assert {note.kind for note in example.notes} == NOTED.get(case, set())


@pytest.mark.parametrize("case", CASES)
def test_the_generation_prompt_is_how_a_turn_begins(case):
    messages, tools = CASES[case], tools_of(case)
    whole = text(messages, tools=tools)
    for index, message in enumerate(messages):
        if message["role"] == "assistant":
            assert whole.startswith(text(messages[:index], tools=tools, add_generation_prompt=True)) or (index == 0)


@pytest.mark.parametrize("case", CASES)
def test_transformers_renders_the_same(case):
    messages, tools = CASES[case], tools_of(case)
    for prompt in (False, True):
        expected = render(CHATML, messages, tools, prompt)
        assert text(messages, tools=tools, add_generation_prompt=prompt) == expected


def test_reasoning_is_kept_in_every_turn():
    rendered = text(CASES["field"])
    assert "<|im_start|>assistant\n<think>\nhotel thought\n</think>\n\nReply bravo two<|im_end|>" in rendered
    assert "<think>\nindia thought\n</think>\n\nReply delta four<|im_end|>" in rendered


def test_a_turn_without_reasoning_has_no_tags():
    assert text(CASES["single"]) == (
        "<|im_start|>user\nAsk alpha one<|im_end|>\n<|im_start|>assistant\nReply bravo two<|im_end|>\n"
    )


def test_calls_and_answers_are_kept():
    rendered = text(CASES["tools"], tools=tools_of("tools"))
    assert (
        '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Parisjuliet"}}\n</tool_call><|im_end|>' in rendered
    )
    assert "<|im_start|>tool\nkilo degrees<|im_end|>" in rendered
    assert "zephyr" in rendered.split("<|im_end|>")[0]


def test_tools_go_into_the_systems_message_where_there_is_one():
    system = {"role": "system", "content": "Be golf seven"}
    rendered = text([system, *CASES["tools"]], tools=tools_of("tools"))
    assert rendered.startswith("<|im_start|>system\nBe golf seven\n\n# Tools")
    assert rendered.count("<|im_start|>system") == 1


def test_arguments_as_a_string_of_json_are_written_as_they_are():
    spelled = call("x")
    spelled["function"]["arguments"] = '{"city":  "Rome"}'
    rendered = text([user("Ask"), assistant("Let me see", tool_calls=[call("Oslo"), spelled])])
    assert 'Let me see\n<tool_call>\n{"name": "get_weather", "arguments": {"city": "Oslo"}}\n</tool_call>\n' in rendered
    assert '"arguments": {"city":  "Rome"}}' in rendered


def test_blocks_of_text_are_one_text():
    assert text([user([{"type": "text", "text": "one "}, {"type": "text", "text": "two"}])]) == text([user("one two")])


def test_blocks_of_anything_else_are_refused():
    with pytest.raises(Exception, match="content must be text, got a block of type image"):
        text([user([{"type": "image", "image": "x"}])])


def test_the_date_changes_nothing():
    one, other = (ChatTemplate(CHATML, now=datetime(year, 1, 1)) for year in (2001, 2031))
    assert one.render(CASES["system"]) == other.render(CASES["system"])
    assert "now" not in CHATML


def test_its_tokens_are_added_where_they_are_missing():
    plain = Tokenizer.from_str(trained())
    before = plain.get_vocab_size()
    assert missing_tokens(plain) == CHATML_TOKENS
    chatml = with_chatml(plain)
    assert chatml.get_vocab_size() == before + 2
    assert plain.get_vocab_size() == before, "the tokenizer itself stays as it is"
    assert chatml.encode("<|im_start|>").ids == [before]
    assert missing_tokens(chatml) == ()
    assert with_chatml(chatml).get_vocab_size() == before + 2


def test_a_token_that_is_there_keeps_its_id_and_becomes_special():
    plain = Tokenizer.from_str(trained())
    plain.add_tokens(["<|im_end|>"])
    number = plain.token_to_id("<|im_end|>")
    assert missing_tokens(plain) == ("<|im_start|>",)
    chatml = with_chatml(plain)
    assert chatml.token_to_id("<|im_end|>") == number
    assert chatml.get_added_tokens_decoder()[number].special
