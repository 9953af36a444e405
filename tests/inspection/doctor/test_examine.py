"""Files that somebody broke: each thing that is wrong is found, with its place, its words and what to do."""

import json
import re

import pytest
from tests.inspection.doctor.patients import GOOD, assistant, chat, system, tokenizer, user, write
from tests.labels.chat.chat_templates import CHATML, LLAMA_3, MISTRAL, NO_TERMINATOR, QWEN_3
from tokenizers import Tokenizer, models, pre_tokenizers

from lmhead.data.formats.sample import ChatSample, TextSample, TokenSample
from lmhead.data.labelling.chat_config import ChatConfig
from lmhead.data.labelling.recipe import Recipe
from lmhead.data.rows.row import Place
from lmhead.errors import ArgumentError, InputError
from lmhead.inspection.doctor.examine import examine


@pytest.fixture
def file(tmp_path, monkeypatch):
    """Writes rows to a file in the current folder, and gives its name."""
    monkeypatch.chdir(tmp_path)
    return lambda rows, name="chat.jsonl": write(tmp_path / name, rows)


def test_good_data_has_no_finding(file):
    report = examine(file(GOOD), tokenizer())
    assert report.findings == ()
    assert (report.ok, report.rows, report.labelled, report.refused) == (True, 2, 2, 0)
    assert str(report).endswith("nothing wrong found")


# code, rows, the line that is wrong, the finding's head, its remedy
ASK, REPLY = user("Ask alpha one"), assistant("Reply bravo two")
BROKEN_CHATS = {
    "no answer": (
        [chat(ASK)],
        "error: 1 row has no token that is learnt: messages must hold something to learn, got no token that is "
        "trained: no assistant's message, or none that train_on, train and weight leave (chat.jsonl, line 3) "
        "[nothing_trained]",
        "leave these rows out, or look at what masks them: train, weight and train_on, or the labels",
    ),
    "an empty answer": (
        [chat(ASK, assistant(""))],
        "warning: an assistant's turn is empty in 1 row, messages[1] of the first (chat.jsonl, line 3) [empty_answer]",
        'the model would learn to end at once: leave the row out, or write "train": false in that message',
    ),
    "an answer first": (
        [chat(REPLY, ASK, assistant("Golf"))],
        "warning: an assistant's turn comes before any question in 1 row (chat.jsonl, line 3) [assistant_first]",
        'add what it answers, or write "train": false in that message',
    ),
    "two questions in a row": (
        [chat(ASK, user("Then charlie three"), REPLY)],
        "warning: two turns of one role follow each other in 1 row, in the first messages[0] and [1] of user "
        "(chat.jsonl, line 3) [consecutive_roles]",
        "join them, or find the turn that was lost between them; many chat templates refuse such rows",
    ),
    "a question last": (
        [chat(ASK, assistant("Golf"), user("Then charlie three"))],
        "warning: nothing is learnt of what follows the last answer in 1 row; the first ends with a turn of user "
        "(chat.jsonl, line 3) [no_last_answer]",
        "cut the conversation behind the last answer, or find the answer that was lost",
    ),
    "an unknown role": (
        [chat({"role": "critic", "content": "Bad"}, ASK, assistant("Golf"))],
        "warning: a role is none of system, developer, user, assistant and tool in 1 row, the first 'critic' "
        "(chat.jsonl, line 3) [unknown_role]",
        "nothing of such a turn is learnt, and few chat templates render it: rename the role",
    ),
    "a late system prompt": (
        [chat(ASK, system("Be brief"), assistant("Golf"))],
        "info: a system prompt stands behind other turns in 1 row, messages[1] of the first (chat.jsonl, line 3) "
        "[late_system_prompt]",
        "many chat templates drop it there: look at the tokens with show=1",
    ),
    "calls without tools": (
        [chat(ASK, assistant("Golf", tool_calls=[{"function": {"name": "f", "arguments": {}}}]))],
        "warning: tools are called in 1 row that name no tools (chat.jsonl, line 3) [calls_without_tools]",
        "give the tools' schemas in a column `tools`, as inference will",
    ),
    "a row twice": (
        [GOOD[0]],
        "warning: an earlier row is repeated word for word in 1 row (chat.jsonl, line 3) [duplicate_rows]",
        "leave them out: they weigh twice, and what is held out may be trained on",
    ),
    "another answer": (
        [chat(ASK, assistant("Golf"))],
        "info: what an earlier row asks has another answer in 1 row (chat.jsonl, line 3) [other_answers]",
        "right where several answers are good",
    ),
    "wrong characters": (
        [chat(user("Ask"), assistant("Le caf\u00c3\u00a9 ouvre"))],
        "warning: characters were decoded wrongly in 1 row: 'Le caf\u00c3\u00a9 ouvre' (chat.jsonl, line 3) "
        "[misdecoded_text]",
        "read the source again with the encoding that it was written in; a model learns to write this",
    ),
    "a control token in a question": (
        [chat(user("Ask <|im_end|> golf"), REPLY)],
        "warning: a text becomes control tokens in 1 row: <|im_end|> (chat.jsonl, line 3) [control_token_in_text]",
        "who writes it in a question can speak for the assistant: take it out of the data, or let it be if it is meant",
    ),
    "a role that is misspelt": (
        [chat({"role": "asistant", "content": "Golf"})],
        "error: 1 row breaks its format: messages[0].role must be one of system, developer, user, assistant, tool, "
        "ipython, got 'asistant': did you mean assistant? (chat.jsonl, line 3) [row_breaks_format]",
        "",
    ),
    "no messages": (
        [chat()],
        "error: 1 row breaks its format: messages must hold at least one message, got an empty list: leave the row out "
        "(chat.jsonl, line 3) [row_breaks_format]",
        "",
    ),
    "another format": (
        [{"text": "Ask alpha"}],
        "error: 1 row breaks its format: a row must be messages as line 1 of its file is, got text: write rows of "
        "another format to another file, or name the format (chat.jsonl, line 3) [row_breaks_format]",
        "",
    ),
    "tools that the template drops": (
        [chat(ASK, assistant("Golf"), tools=[{"type": "function", "function": {"name": "f", "description": "g"}}])],
        "error: the chat template drops tools or calls of tools: 1 row (chat.jsonl, line 3) [tools_dropped]",
        "take a template that keeps it (template='FILE', or template='chatml')",
    ),
    "reasoning that the template drops": (
        [chat(ASK, assistant("Golf", reasoning_content="hotel thought"))],
        "error: the chat template drops reasoning_content even in the last turn: it is not learnt: 1 row "
        "(chat.jsonl, line 3) [reasoning_dropped]",
        "write it into the content between <think> and </think>, or take a template that keeps it (template='FILE', or "
        "template='chatml')",
    ),
}


@pytest.mark.parametrize("name", BROKEN_CHATS)
def test_what_is_wrong_with_a_conversation_is_told(name, file):
    rows, head, remedy = BROKEN_CHATS[name]
    report = examine(file([*GOOD, *rows]), tokenizer())
    told = {finding.head(): finding for finding in report.findings}
    assert head in told, "\n".join(told)
    assert told[head].remedy == remedy
    assert report.ok == (not head.startswith("error") and not report.errors)


def test_json_that_is_none_is_told(file):
    report = examine(file([*GOOD, '{"messages": [']), tokenizer())
    assert report["row_breaks_format"].places == ("chat.jsonl, line 3",)
    assert "is not JSON" in report["row_breaks_format"].message


def test_rows_that_break_their_format_alike_are_told_at_once(file):
    misspelt = [chat(user("Ask"), {"role": "asistant", "content": str(number)}) for number in range(7)]
    (finding,) = examine(file([*GOOD, *misspelt]), tokenizer()).errors
    assert finding.count == 7
    assert finding.message.startswith("7 rows break their format: messages[1].role must be one of")
    assert finding.places == tuple(f"chat.jsonl, line {number}" for number in range(3, 8))
    assert "(chat.jsonl, lines 3, 4, 5, 6, 7, ...) [row_breaks_format]" in finding.head()


def test_kinds_of_broken_rows_are_bounded(file):
    rows = [{"messages": [ASK], f"{'x' * number}": 1, "tools": "[" * number} for number in range(1, 4)]
    rows += [{"messages": [{"role": f"asistan{letter}", "content": "a"}]} for letter in "abcdefghijklmnopqrst"]
    report = examine(file([*GOOD, *rows]), tokenizer())
    assert sum(finding.count for finding in report.errors if finding.code == "row_breaks_format") <= len(rows)
    assert len(report.errors) <= 14


def test_skipped_rows_are_a_warning(file):
    path = file([*GOOD, chat(ASK)])
    assert examine(path, tokenizer(), config=ChatConfig(on_error="skip"))["nothing_trained"].severity == "warning"


def test_an_answer_that_many_rows_share_is_told(file):
    rows = [chat(user(f"Ask {number}"), assistant("Sorry")) for number in range(12)]
    finding = examine(file(rows), tokenizer())["repeated_answer"]
    assert (finding.severity, finding.count) == ("info", 12)
    assert finding.message == "12 rows, 100%, have one and the same answer: 'Sorry'"


def test_the_length_that_removes_an_answer_is_told(file):
    long = chat(user("Ask " * 300), assistant("Golf"))
    report = examine(file([*GOOD, long]), tokenizer(), length=64, config=ChatConfig(overflow="truncate_end"))
    sample = ChatSample(place=Place(source="chat.jsonl", number=3, unit="line"), messages=long["messages"])
    example = Recipe.of(tokenizer(), ChatConfig()).labeler()(sample)
    assert re.fullmatch(
        r"error: cut to 64 tokens at the end, nothing is left to learn of 1 row: its first token to learn is token "
        rf"{example.trained.argmax() + 1} of {len(example)} \(chat.jsonl, line 3\) \[answer_truncated\]",
        report["answer_truncated"].head(),
    )
    assert report["too_long"].severity == "warning"
    assert report.statistics.cut.rows == report.statistics.cut.answers == 1
    start = examine(file([*GOOD, long]), tokenizer(), length=64, config=ChatConfig(overflow="truncate_start"))
    assert "answer_truncated" not in start
    assert start.statistics.cut.trained == 0


def test_rows_that_would_be_refused_as_too_long_are_an_error(file):
    path = file([*GOOD, chat(user("Ask " * 300), assistant("Golf"))])
    finding = examine(path, tokenizer(), length=64)["too_long"]
    assert finding.severity == "error"
    assert finding.message.startswith("1 row of more than 64 tokens, the longest ")
    assert " at chat.jsonl, line 3: they are refused; cut, they would lose " in finding.message
    assert examine(path, tokenizer(), length=64, config=ChatConfig(on_error="skip"))["too_long"].severity == "warning"


def test_a_system_prompt_that_the_template_drops_is_told_with_its_rows(file):
    report = examine(file(GOOD), tokenizer(MISTRAL, eos="</s>"))
    assert report["system_prompt_dropped"].head() == (
        "error: the chat template drops the system prompt: 1 row (chat.jsonl, line 2) [system_prompt_dropped]"
    )
    assert report["refused_dropped_text"].count == 1
    assert report.labelled == 1
    noted = examine(file(GOOD), tokenizer(MISTRAL, eos="</s>"), config=ChatConfig(dropped_text="note"))
    assert (noted.labelled, noted.refused) == (2, 0)
    assert "message_dropped" not in noted, "the template's own finding says it"
    assert "system_prompt_dropped" in noted


def test_what_concerns_no_row_is_not_told(file):
    report = examine(file(GOOD[:1]), tokenizer(MISTRAL, eos="</s>"))
    assert report.findings == ()


def test_earlier_reasoning_that_is_dropped_is_an_info(file):
    thinking = chat(
        ASK,
        assistant("Golf", reasoning_content="hotel"),
        user("Then"),
        assistant("Delta", reasoning_content="india"),
    )
    (finding,) = examine(file([*GOOD, thinking]), tokenizer(QWEN_3)).findings
    assert (finding.code, finding.severity, finding.places) == (
        "reasoning_dropped_earlier",
        "info",
        ("chat.jsonl, line 3",),
    )


def test_a_missing_end_is_told_once(file):
    report = examine(file(GOOD), tokenizer(NO_TERMINATOR, eos="</s>"))
    assert [finding.code for finding in report.findings] == ["no_end_token", "control_token_split"]


def test_a_prompt_that_is_no_prefix_is_told(file):
    rows = [{"prompt": "Ask alpha ", "completion": "one"}, {"prompt": "Ask", "completion": " alpha"}]
    finding = examine(file(rows), tokenizer())["prompt_not_prefix"]
    assert (finding.count, finding.places) == (1, ("chat.jsonl, line 1",))
    assert finding.message == "the tokens of the prompt do not begin those of prompt and completion in 1 row"
    assert "who masks by the prompt's length masks wrongly" in finding.remedy


def test_a_rendered_conversation_in_a_text_is_told(file):
    rows = [{"text": "\n<|im_start|>user\nHi<|im_end|>"}, {"text": "USER: Hi</s>"}, {"text": "Ask alpha"}]
    rows.append({"prompt": "<|im_start|>user\nHi<|im_end|>\n", "completion": "alpha"})
    report = examine(file(rows[:3]), tokenizer())
    assert report["rendered_text"].head() == (
        "error: a text begins with a control token in 1 row, as a rendered conversation does, and is split into "
        "characters there: <|im_start|> (chat.jsonl, line 1) [rendered_text]"
    )
    assert report["control_token_as_text"].head() == (
        "warning: control tokens are written in 1 row, where they stay plain text: </s> (chat.jsonl, line 2) "
        "[control_token_as_text]"
    )
    assert "rendered_text" in examine(file(rows[3:]), tokenizer())


def test_a_text_that_nothing_ends_is_told(file):
    backend = Tokenizer(models.WordLevel({"Ask": 0, "alpha": 1, "?": 2}, unk_token="?"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    nameless = tokenizer(NO_TERMINATOR, backend=backend, special_tokens={})
    finding = examine(file([{"text": "Ask alpha"}, {"text": "alpha Ask"}]), nameless)["end_not_trained"]
    assert (finding.severity, finding.count) == ("error", 2)
    assert finding.message.startswith("nothing ends the text or completion of 2 rows: the tokenizer has no end-of-text")


def test_text_alone_says_nothing_of_chat_templates(file):
    report = examine(file([{"text": "Ask alpha one"}]), tokenizer(NO_TERMINATOR))
    assert report.findings == ()
    assert report.template is None


X = -100


def ids(*rows, **columns):
    return [{"input_ids": list(row), **columns} for row in rows]


def test_labels_that_are_shifted_are_told_without_a_tokenizer(file):
    rows = [{"input_ids": [5, 6, 7, 8, 9, 10], "labels": [6, 7, 8, 9, 10, X]} for _ in range(2)]
    report = examine(file(rows))
    assert report["labels_already_shifted"].head() == (
        "error: 10 labels are the token after their own: a model that shifts labels would learn the token after the "
        "next (chat.jsonl, lines 1, 2) [labels_already_shifted]"
    )
    assert (report.tokenizer, report.labelled, report.refused) == (None, 0, 2)


def test_findings_about_ids_add_up_over_the_parts(file, monkeypatch):
    monkeypatch.setattr("lmhead.inspection.doctor.token_audit._MOST_ROWS", 2)
    rows = [{"input_ids": [5, 6, 7, 8, 9, number], "labels": [6, 7, 8, 9, number, X]} for number in range(20, 27)]
    finding = examine(file(rows))["labels_already_shifted"]
    assert (finding.count, len(finding.places)) == (35, 5)
    assert finding.message.startswith("35 labels are the token after their own")


def test_a_first_token_that_is_predicted_from_another_document_is_told(file):
    names = tokenizer()
    bos, end = (names.backend().token_to_id(token) for token in ("<s>", "<|im_end|>"))
    row = {"input_ids": [bos, 10, 11, end, bos, 12, end], "position_ids": [0, 1, 2, 3, 0, 1, 2]}
    finding = examine(file([row | {"labels": row["input_ids"]}]), names)["boundary_scored"]
    assert (finding.severity, finding.count, finding.places) == ("error", 1, ("chat.jsonl, line 1",))


def test_two_beginnings_in_a_row_of_ids_are_told(file):
    names = tokenizer()
    bos = names.backend().token_to_id("<s>")
    finding = examine(file(ids([bos, bos, 10, 11])), names)["double_bos"]
    assert finding.message == "1 texts begin with two beginning-of-sequence tokens"


def test_ids_of_another_tokenizer_are_told(file):
    report = examine(file(ids([5, 6, 7_000_000])), tokenizer())
    assert report["ids_out_of_vocabulary"].count == 1


def test_an_end_that_is_never_learnt_is_told_and_one_that_is_learnt_anywhere_is_not(file, monkeypatch):
    monkeypatch.setattr("lmhead.inspection.doctor.token_audit._MOST_ROWS", 1)
    names = tokenizer()
    end = names.backend().token_to_id("<|im_end|>")
    masked = {"input_ids": [5, 6, 7, end], "labels": [X, 6, 7, X]}
    assert examine(file([masked, masked]), names)["end_not_trained"].count == 2
    learnt = {"input_ids": [5, 6, 8, end], "labels": [X, 6, 8, end]}
    assert "end_not_trained" not in examine(file([masked, learnt]), names)


def test_a_mask_says_what_is_learnt(file):
    rows = ids([5, 6, 7, 8], [5, 6, 7, 9], completion_mask=[0, 0, 1, 1])
    report = examine(file(rows))
    assert report.statistics.reasons == {"learnt": 4, "ignored": 4}
    assert "everything_trained" not in report
    assert "everything_trained" in examine(file(ids([5, 6, 7, 8], [5, 6, 7, 9])))


def test_a_row_of_ids_that_is_none_does_not_hide_the_others(file):
    shifted = {"input_ids": [5, 6, 7, 8, 9, 10], "labels": [6, 7, 8, 9, 10, X]}
    report = examine(file([shifted, {"input_ids": ["a"], "labels": ["b"]}, shifted]))
    assert report["labels_already_shifted"].places == ("chat.jsonl, line 1", "chat.jsonl, line 3")
    assert report["row_breaks_format"].places == ("chat.jsonl, line 2",)


def test_statistics_are_hand_counted(file):
    rows = [{"input_ids": list(range(5, 5 + size)), "labels": [X] * (size - 1) + [4 + size]} for size in (4, 6, 10)]
    sums = examine(file(rows), length=8).statistics
    assert (sums.rows, sums.tokens, sums.trained) == (3, 20, 3)
    assert sums.reasons == {"ignored": 17, "learnt": 3}
    assert sums.lengths == {"p5": 4, "p50": 6, "p90": 10, "p99": 10, "max": 10}
    assert (sums.cut.rows, sums.cut.tokens, sums.cut.trained, sums.cut.answers) == (1, 2, 1, 1)
    assert (sums.packing.rows, sums.packing.useful, sums.packing.unpacked) == (3, 18 / 24, 18 / 24)
    assert examine(file(rows), length=16).statistics.packing.rows == 2


def test_the_first_token_of_a_text_is_learnt_by_nobody(file):
    sums = examine(file(ids([5, 6, 7], [5, 6]))).statistics
    assert sums.reasons == {"learnt": 3, "first_token": 2}
    assert sums.trained == 3


def test_a_part_of_the_rows_is_spread_and_always_the_same(file):
    rows = [chat(user(f"Ask {number}"), assistant(f"Reply {number}")) for number in range(50)]
    path = file([*rows, "{"])
    one, other = (examine(path, tokenizer(), rows=5, show=9) for _ in range(2))
    assert (one.rows, one.examined, one.labelled) == (51, 5, 5)
    assert [place for place, _ in one.tables] == [place for place, _ in other.tables]
    numbers = [int(place.split()[-1]) for place, _ in one.tables]
    assert numbers == sorted(numbers)
    assert numbers[-1] > 10
    assert one["row_breaks_format"].places == ("chat.jsonl, line 51",), "found in all rows"
    assert "; 5 of them examined, spread over all, the same in every run" in str(one)


def test_several_files_and_formats_are_counted(file):
    paths = [file(GOOD), file([{"text": "Ask alpha"}], "more.jsonl")]
    report = examine(paths, tokenizer())
    assert report.formats == {"messages": 2, "text": 1}
    assert "chat.jsonl, more.jsonl: 3 rows (messages 2, text 1)" in str(report)


def test_rows_of_two_formats_are_told(file):
    finding = examine(file([row | {"text": "Ask alpha"} for row in GOOD]), tokenizer())["another_format_too"]
    assert finding.head() == "info: text could be read of 2 rows too, and what is read is messages [another_format_too]"
    assert finding.remedy == "if text is meant, say so: format='text'"


def test_samples_are_taken_as_files_are():
    place = Place(source="mine", number=1)
    report = examine([TextSample(place=place, text="Ask alpha \ufffd")], tokenizer())
    assert report["misdecoded_text"].places == ("mine, row 1",)
    shifted = TokenSample(place=place, ids=[5, 6, 7, 8, 9, 10], labels=[6, 7, 8, 9, 10, X])
    assert "labels_already_shifted" in examine([shifted])


def test_samples_that_are_none_are_refused_and_no_error():
    place = Place(source="mine", number=1)
    for messages in ([{"content": "no role"}], [None], [{"role": "user", "content": 3}], []):
        report = examine([ChatSample(place=place, messages=messages)], tokenizer())
        assert report["row_breaks_format"].places == ("mine, row 1",)


def test_rows_that_need_a_tokenizer_say_so(file):
    with pytest.raises(InputError) as error:
        examine(file(GOOD))
    assert str(error.value) == (
        "tokenizer must be given for rows that are no ids, got none for chat.jsonl, line 1: give a "
        "tokenizer.json, the folder of a model or of a run, or a name on the Hub"
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"length": 1}, "length must be >= 2 tokens, got 1"),
        ({"rows": 0}, "rows must be >= 1, got 0"),
        ({"show": -1}, "show must be >= 0, got -1"),
    ],
)
def test_options_are_checked(options, message, file):
    with pytest.raises(ArgumentError, match=message):
        examine(file(GOOD), tokenizer(), **options)


def test_nothing_at_all_is_refused():
    with pytest.raises(ArgumentError, match="tokenizer must be given where there is no data, got None"):
        examine(None)


def test_json_has_it_all(file):
    report = examine(file([*GOOD, chat(ASK)]), tokenizer(LLAMA_3, eos="<|eot_id|>"), show=1)
    tree = json.loads(json.dumps(report.to_dict()))
    assert tree["ok"] is False
    assert tree["findings"][0]["code"] == "nothing_trained"
    assert tree["findings"][0]["places"] == ["chat.jsonl, line 3"]
    assert "pattern" not in tree["findings"][0]
    assert tree["statistics"]["reasons"]["learnt"] > 0


@pytest.mark.parametrize("width", [80, 120])
def test_no_line_is_wider_than_the_terminal(width, file):
    rows = [row for rows, _, _ in BROKEN_CHATS.values() for row in rows]
    text = examine(file([*GOOD, *rows]), tokenizer(MISTRAL), length=16).text(width)
    assert max(map(len, text.splitlines())) <= width


@pytest.mark.usefixtures("quick_processes")
def test_workers_find_the_same(file):
    path = file([*GOOD, chat(ASK), chat(user("Ask <|im_end|> golf"), REPLY)])
    alone, two = (examine(path, tokenizer(CHATML), config=ChatConfig(workers=workers)) for workers in (1, 2))
    assert alone.findings == two.findings
    assert alone.statistics == two.statistics
