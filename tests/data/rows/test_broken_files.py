"""Files as strangers write them: each is refused with the place, the rule, what it got, and what to change."""

import gzip
import pickle
import re
from pathlib import Path

import pytest

from lmhead.data.formats.formats import read_samples
from lmhead.errors import InputError

_OF_PYTHON = r"is not JSON: .*? at (line \d+ )?column \d+"  # what the json module says differs between its versions


def refusal(file: str, content: str | bytes) -> str:
    Path(file).write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(InputError) as caught:
        list(read_samples([file]))
    message = str(pickle.loads(pickle.dumps(caught.value)))
    assert "\n" not in message
    assert message.startswith(file)
    message.encode()
    return re.sub(_OF_PYTHON, "is not JSON", message.removeprefix(file))


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("comma.jsonl", '{"text": "a"},\n{"text": "a"},\n', ", line 1 is not JSON: drop the comma behind the object"),
        ("inner.jsonl", '{"messages": [],}', ", line 1 is not JSON: drop the comma before the bracket that closes"),
        (
            "innerlist.jsonl",
            '{"messages": [1,]}',
            ", line 1 is not JSON: drop the comma before the bracket that closes",
        ),
        (
            "array.jsonl",
            '[{"text": "a"}]',
            (
                ', line 1 must be an object such as {"messages": [...]}, got a list: a file that is one JSON list '
                "must be called .json"
            ),
        ),
        (
            "pretty.jsonl",
            '{\n  "text": "a"\n}',
            ", line 1 is not JSON: a file that is one JSON value over several lines must be called .json",
        ),
        (
            "single.jsonl",
            "{'text': 'a'}",
            (
                ", line 1 is not JSON: strings stand between double quotes; write rows with json.dumps, not with str "
                "or repr"
            ),
        ),
        (
            "nan3.jsonl",
            '{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": NaN}]}',
            (
                ", line 1: messages[1].content must be a string or a list of blocks, got nan: write it as a string, "
                "and nothing at all as null"
            ),
        ),
        (
            "utf16.jsonl",
            b'\xff\xfe{\x00"\x00t\x00e\x00x\x00t\x00"\x00:\x00 \x00"\x00a\x00"\x00}\x00',
            ", line 1 is UTF-16: byte 0xff at position 0; convert it to UTF-8, or leave it out",
        ),
        (
            "latin.jsonl",
            b'{"text": "caf\xe9"}',
            (
                ", line 1 is not UTF-8: byte 0xe9 at position 13; convert it to UTF-8, leave it out, or give "
                "errors='replace'"
            ),
        ),
        (
            "half.jsonl",
            '{"text": "a \\ud83d b"}',
            (
                ", line 1: text must be Unicode text, got \\ud83d at character 2, half of a pair: mend the row, "
                "leave it out, or give errors='replace'"
            ),
        ),
        ("empty.jsonl", "", " is empty: it holds no rows; leave it out"),
        (
            "emptyobj.jsonl",
            "{}",
            (
                ", line 1: a row must have the columns of a format, got no column that is not null: the formats are "
                "messages (messages), sharegpt (conversations), prompt_completion (prompt, completion), alpaca "
                "(instruction, output), tokens (input_ids), text (text), responses (input, output)"
            ),
        ),
        (
            "control.jsonl",
            '{"text": "a\tb"}',
            ", line 1 is not JSON: inside a string a line end is written \\n and a tab \\t",
        ),
        ("escape.jsonl", '{"text": "C:\\dir"}', ", line 1 is not JSON: inside a string a backslash is written \\\\"),
        (
            "notgz.jsonl.gz",
            '{"text": "a"}',
            " must be packed by gzip, got Not a gzipped file (b'{\"'): rename it without .gz, or download it again",
        ),
        (
            "zip.jsonl",
            b'PK\x03\x04\x14\x00 rows.jsonl{"text": "a"}\n{"text": "b"}\n',
            " must be the text that its name says, got a zip archive: unpack it",
        ),
        (
            "packed.jsonl",
            b"\x1f\x8b\x08\x00",
            " must be the text that its name says, got packed by gzip: let its name end with .gz",
        ),
        (
            "parquet.jsonl",
            b"PAR1\x15",
            " must be the text that its name says, got a Parquet file: let its name end with .parquet",
        ),
        (
            "rol.jsonl",
            '{"messages": [{"rol": "user", "content": "a"}]}',
            ", line 1: messages[0] must have a role, got the keys rol, content: rename rol to role",
        ),
        (
            "caps.jsonl",
            '{"Messages": []}',
            ", line 1: a row must have the columns of a format, got the columns Messages: did you mean messages?",
        ),
        (
            "nocol.jsonl",
            '{"id": 1, "body": "x"}',
            (
                ", line 1: a row must have the columns of a format, got the columns id, body: the formats are "
                "messages (messages), sharegpt (conversations), prompt_completion (prompt, completion), alpaca "
                "(instruction, output), tokens (input_ids), text (text), responses (input, output)"
            ),
        ),
        (
            "pref.jsonl",
            '{"prompt": "a", "chosen": "b", "rejected": "c"}',
            (
                ", line 1: a row must have the columns of a format, got the columns prompt, chosen, rejected: these "
                "are preferences; keep the chosen answer, as messages or completion"
            ),
        ),
        (
            "qa.jsonl",
            '{"question": "a", "answer": "b"}',
            (
                ", line 1: a row must have the columns of a format, got the columns question, answer: rename them, "
                "columns='prompt=question,completion=answer', or write messages"
            ),
        ),
        (
            "content.jsonl",
            '{"content": "a"}',
            (
                ", line 1: a row must have the columns of a format, got the columns content: rename it, "
                "columns='text=content'"
            ),
        ),
        (
            "promptonly.jsonl",
            '{"prompt": "a"}',
            (
                ", line 1: a row must have the columns of a format, got the columns prompt: prompt_completion has "
                "completion as well"
            ),
        ),
        (
            "instronly.jsonl",
            '{"instruction": "a", "input": "b"}',
            (
                ", line 1: a row must have the columns of a format, got the columns instruction, input: alpaca has "
                "output as well"
            ),
        ),
        (
            "role.jsonl",
            '{"messages": [{"role": "usr", "content": "a"}]}',
            (
                ", line 1: messages[0].role must be one of system, developer, user, assistant, tool, ipython, got "
                "'usr': did you mean user?"
            ),
        ),
        (
            "role3.jsonl",
            '{"messages": [{"role": "User", "content": "a"}]}',
            (
                ", line 1: messages[0].role must be one of system, developer, user, assistant, tool, ipython, got "
                "'User': did you mean user?"
            ),
        ),
        (
            "norole.jsonl",
            '{"messages": [{"content": "a"}]}',
            (
                ", line 1: messages[0] must have a role, got the keys content: one of system, developer, user, "
                "assistant, tool, ipython"
            ),
        ),
        (
            "fromrole.jsonl",
            '{"messages": [{"from": "human", "value": "a"}]}',
            (
                ", line 1: messages[0] must have a role, got the keys from, value: the format sharegpt has from and "
                "value"
            ),
        ),
        (
            "nullcontent.jsonl",
            '{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": null}]}',
            (
                ", line 1: messages[1].content must be given where there are no tool_calls, got null: give it a text "
                '("" for none), or tool_calls'
            ),
        ),
        (
            "nocontent.jsonl",
            '{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "contents": "x"}]}',
            (
                ", line 1: messages[1].content must be given where there are no tool_calls, got the keys role, "
                "contents: rename contents to content"
            ),
        ),
        (
            "textkey.jsonl",
            '{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "text": "x"}]}',
            (
                ", line 1: messages[1].content must be given where there are no tool_calls, got the keys role, text: "
                "rename text to content"
            ),
        ),
        (
            "numcontent.jsonl",
            '{"messages": [{"role": "user", "content": 3}]}',
            (
                ", line 1: messages[0].content must be a string or a list of blocks, got 3: write it as a string, "
                "and nothing at all as null"
            ),
        ),
        (
            "dictcontent.jsonl",
            '{"messages": [{"role": "user", "content": {"a": 1}}]}',
            (
                ", line 1: messages[0].content must be a string or a list of blocks, got an object: write an object "
                "as a string of JSON, a block as a list of one"
            ),
        ),
        (
            "emptymsgs.jsonl",
            '{"messages": []}',
            ", line 1: messages must hold at least one message, got an empty list: leave the row out",
        ),
        (
            "strmsgs.jsonl",
            '{"messages": "user: hi"}',
            (
                ", line 1: messages must be JSON where it is a string, got 'user: hi': Expecting value at character "
                "0; write it with json.dumps, or not as a string"
            ),
        ),
        (
            "msgstr.jsonl",
            '{"messages": ["hi"]}',
            (
                ', line 1: messages[0] must be an object with role and content, got \'hi\': write {"role": "user", '
                '"content": "..."}'
            ),
        ),
        (
            "dictmsgs.jsonl",
            '{"messages": {"user": "hi"}}',
            (
                ', line 1: messages must be a list of messages, got an object: write [{"role": "user", "content": '
                '"..."}, ...]'
            ),
        ),
        (
            "args.jsonl",
            (
                '{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "tool_calls": [{"function": '
                '{"name": "f", "arguments": "{city: 1}"}}]}]}'
            ),
            (
                ", line 1: messages[1].tool_calls[0].function.arguments must be JSON where it is a string, got "
                "'{city: 1}': Expecting property name enclosed in double quotes at character 1; write it with "
                "json.dumps, or not as a string"
            ),
        ),
        (
            "args2.jsonl",
            (
                '{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "tool_calls": [{"function": '
                '{"name": "f", "arguments": "[1]"}}]}]}'
            ),
            (
                ", line 1: messages[1].tool_calls[0].function.arguments must be an object, or one as a string of "
                "JSON, got a list: name each argument"
            ),
        ),
        (
            "noname.jsonl",
            (
                '{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "tool_calls": [{"function": '
                '{"arguments": {}}}]}]}'
            ),
            (
                ", line 1: messages[1].tool_calls[0].function must have a name, got the keys arguments: name the "
                "function that is called"
            ),
        ),
        (
            "usercall.jsonl",
            (
                '{"messages": [{"role": "user", "content": "x", "tool_calls": [{"function": {"name": "f", '
                '"arguments": {}}}]}]}'
            ),
            (
                ", line 1: messages[0].role must be assistant where there are tool_calls, got user: calls belong to "
                "the assistant's message that makes them"
            ),
        ),
        (
            "train.jsonl",
            ('{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "train": "no"}]}'),
            ", line 1: messages[1].train must be true or false, got 'no': write one of them, without quotes",
        ),
        (
            "weight.jsonl",
            ('{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "weight": -1}]}'),
            ", line 1: messages[1].weight must be a finite number >= 0, got -1: 0 leaves it out, 1 is usual",
        ),
        (
            "weight3.jsonl",
            ('{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "weight": [1]}]}'),
            ", line 1: messages[1].weight must be a finite number >= 0, got a list: 0 leaves it out, 1 is usual",
        ),
        (
            "trainuser.jsonl",
            ('{"messages": [{"role": "user", "content": "a", "train": true}, {"role": "assistant", "content": "b"}]}'),
            (
                ", line 1: messages[0].train must be false for the role user, got true: only an assistant's message "
                "is learnt; leave it out"
            ),
        ),
        (
            "kw.jsonl",
            (
                '{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}], '
                '"chat_template_kwargs": [1]}'
            ),
            ', line 1: chat_template_kwargs must be an object, got a list: write {"enable_thinking": false}',
        ),
        (
            "sys.jsonl",
            (
                '{"messages": [{"role": "system", "content": "a"}, {"role": "user", "content": "a"}, {"role": '
                '"assistant", "content": "b"}], "system": "b"}'
            ),
            (", line 1: system must say what the first message says, got another system prompt: keep one of the two"),
        ),
        (
            "from.jsonl",
            '{"conversations": [{"from": "humman", "value": "x"}]}',
            (
                ", line 1: conversations[0].from must be human, gpt, system, tool, function_call or observation, got "
                "'humman': did you mean human?"
            ),
        ),
        (
            "value.jsonl",
            '{"conversations": [{"from": "human", "vlaue": "x"}]}',
            ", line 1: conversations[0].value must be a string, got the keys from, vlaue: rename vlaue to value",
        ),
        (
            "fcall.jsonl",
            '{"conversations": [{"from": "function_call", "value": "f(1)"}]}',
            (
                ", line 1: conversations[0].value must be JSON where it is a string, got 'f(1)': Expecting value at "
                "character 0; write it with json.dumps, or not as a string"
            ),
        ),
        (
            "value3.jsonl",
            '{"conversations": [{"from": "human", "value": 5}]}',
            ", line 1: conversations[0].value must be a string, got 5: write it in quotes, as a text",
        ),
        (
            "convstr.jsonl",
            '{"conversations": [["human", "x"]]}',
            (
                ', line 1: conversations[0] must be an object with role and content, got a list: write {"role": '
                '"user", "content": "..."}'
            ),
        ),
        (
            "pc.jsonl",
            '{"prompt": "a", "completion": ""}',
            ", line 1: completion must hold something to learn, got an empty string: leave the row out",
        ),
        (
            "pc2.jsonl",
            '{"prompt": "a", "completion": [{"role": "assistant", "content": "x"}]}',
            (
                ", line 1: completion must be a string where prompt is one, got a list: write the prompt as messages "
                "too, or the completion as a string"
            ),
        ),
        (
            "pc3.jsonl",
            '{"prompt": [{"role": "user", "content": "x"}], "completion": [{"role": "user", "content": "x"}]}',
            ", line 1: completion must hold an assistant's message, got the roles user: it is what is learnt",
        ),
        (
            "pc4.jsonl",
            '{"prompt": 5, "completion": "x"}',
            ', line 1: prompt must be a list of messages, got 5: write [{"role": "user", "content": "..."}, ...]',
        ),
        (
            "emptytext.jsonl",
            '{"text": ""}',
            ", line 1: text must hold something to learn, got none in any row: give rows with some",
        ),
        ("numtext.jsonl", '{"text": 5}', ", line 1: text must be a string, got 5: write it in quotes, as a text"),
        (
            "alp.jsonl",
            '{"instruction": "a", "output": ""}',
            ", line 1: output must hold something to learn, got an empty string: leave the row out",
        ),
        (
            "ids.jsonl",
            '{"input_ids": [1,2,3], "labels": [1,2]}',
            (
                ", line 1: labels must have as many entries as input_ids, 3, got 2: labels stand beside the ids, one "
                "each, and are not shifted"
            ),
        ),
        (
            "ids2.jsonl",
            '{"input_ids": ["a"]}',
            ", line 1: input_ids must be a list of integers, got 'a' in it: write what the tokenizer gave",
        ),
        (
            "ids3.jsonl",
            '{"input_ids": [1.5]}',
            ", line 1: input_ids must be a list of integers, got 1.5 in it: write what the tokenizer gave",
        ),
        (
            "ids4.jsonl",
            '{"input_ids": [[1,2],[3,4]]}',
            ", line 1: input_ids must be a list of integers, got a list of lists: write one row for each text",
        ),
        (
            "ids5.jsonl",
            '{"input_ids": []}',
            ", line 1: input_ids must hold at least one id, got an empty list: leave the row out",
        ),
        (
            "ids6.jsonl",
            '{"input_ids": [1,2,3], "attention_mask": [1,0,1]}',
            (
                ", line 1: attention_mask must hide padding at the ends alone, got a 0 between two 1: tokens in the "
                "middle of a text cannot be hidden; say what is not learnt with labels"
            ),
        ),
        (
            "ids7.jsonl",
            '{"input_ids": [1,2], "completion_mask": [0,2]}',
            ", line 1: completion_mask must be of 0 and 1, got 2: 1 is a token that counts",
        ),
        (
            "ids8.jsonl",
            '{"input_ids": [1,2,3], "position_ids": [0,1,0]}',
            (
                ", line 1: position_ids must tell of one document, got 2 in one row: write a row for each document; "
                "lmhead packs them itself"
            ),
        ),
        (
            "ids8.jsonl",
            '{"input_ids": [1,2,3], "position_ids": [[1,2,1],[1,2,1],[1,2,1]]}',
            (
                ", line 1: position_ids must tell of one document, got 2 in one row: write a row for each document; "
                "lmhead packs them itself"
            ),
        ),
        (
            "ids8.jsonl",
            '{"input_ids": [1,2,3], "seq_lengths": [1,1,1]}',
            (
                ", line 1: seq_lengths must tell of one document, got 3 in one row: write a row for each document; "
                "lmhead packs them itself"
            ),
        ),
        (
            "ids8.jsonl",
            '{"input_ids": [1,2,3], "seq_lengths": [4]}',
            (
                ", line 1: seq_lengths must rise from 0 to the number of tokens, 3, got [0, 4]: write what fits the "
                "row, or leave the column out"
            ),
        ),
        (
            "ids9.jsonl",
            '{"input_ids": [1,2,3], "labels": [1,2,3], "attention_mask": [1,1,0]}',
            (
                ", line 1: labels must be -100 where attention_mask is 0, got an id: padding is not learnt; mask it "
                "by its length, not by its id"
            ),
        ),
        (
            "ids12.jsonl",
            '{"input_ids": [1, null]}',
            ", line 1: input_ids must be a list of integers, got null in it: write what the tokenizer gave",
        ),
        (
            "ids14.jsonl",
            '{"input_ids": [true, false]}',
            ", line 1: input_ids must be a list of integers, got true in it: write what the tokenizer gave",
        ),
        (
            "mixed.jsonl",
            '{"text": "a"}\n{"prompt": "a", "completion": "b"}',
            (
                ", line 2: a row must be text as line 1 of its file is, got prompt_completion: write rows of another "
                "format to another file, or name the format"
            ),
        ),
        (
            "data.xlsx",
            "a,b\n1,2",
            (" must be .jsonl, .json, .csv, .parquet or text, got .xlsx: save its rows as .csv, .jsonl or .parquet"),
        ),
        ("data.txt", "", " is empty: it holds no rows; leave it out"),
        (
            "splits.json",
            '{"train": [{"text": "a"}], "test": [{"text": "a"}]}',
            " must hold one list of rows, got train, test: write each to a file of its own",
        ),
        ("cols.json", '{"a": {"0": 1}}', " must be a JSON list of objects, got an object with a: write [{...}, ...]"),
        ("num.json", "5", " must be a JSON list of objects, got 5: write [{...}, ...]"),
        (
            "bad.json",
            '[\n{"text": "a"},\n{"text": "b",}\n]',
            " is not JSON: drop the comma before the bracket that closes",
        ),
        (
            "strs.json",
            '["a"]',
            ", row 1 must be an object such as {\"messages\": [...]}, got 'a': write its columns by name",
        ),
        ("emptylist.json", "[]", " is empty: it holds no rows; leave it out"),
        (
            "nested.json",
            '{"version": 1, "data": [[{"text": "a"}]]}',
            ', row 1 must be an object such as {"messages": [...]}, got a list: write its columns by name',
        ),
        ("extra.json", '{"text": "a"}]', " is not JSON: nothing may stand behind the object; a line is one object"),
        (
            "pandas.json",
            '{"text": ["a", "b"], "id": [1, 2]}',
            ", row 1: text must be a string, got a list: write what the model is to read or to write",
        ),
    ],
)
def test_a_broken_file_is_refused_with_what_to_change(file: str, content: str | bytes, message: str) -> None:
    assert refusal(file, content) == message


def test_nesting_and_numbers_that_python_does_not_read_are_named() -> None:
    assert refusal("deep.jsonl", b'{"text": ' + b"[" * 100_000) == ", line 1 is nested too deeply: leave the row out"
    message = ", line 1 has an integer of thousands of digits: make it a string, or drop the row"
    assert refusal("digits.jsonl", b'{"n": ' + b"9" * 5000 + b"}") == message


def test_a_file_that_was_cut_while_packed_is_called_damaged() -> None:
    packed = gzip.compress(b'{"text": "a line that is long enough to be more than a block"}\n' * 3)
    message = refusal("cut.jsonl.gz", packed[:-12])
    assert re.fullmatch(r" is damaged after line \d: .*; write or download it again", message)


def test_a_file_that_is_no_parquet_is_named() -> None:
    pytest.importorskip("pyarrow")
    assert refusal("t.parquet", b"no").startswith(" is not a Parquet file: ")


@pytest.mark.parametrize("depth", [300, 500, 700, 900, 980])
def test_what_is_read_as_json_may_be_too_deep_for_what_comes_after(depth: int) -> None:
    schema = f'{{"name": "f", "parameters": {{"enum": {"[" * depth}{"]" * depth}}}}}'
    Path("deep.jsonl").write_text(f'{{"messages": [{{"role": "user", "content": "a"}}], "tools": [{schema}]}}')
    found: list[str] = []
    samples = list(read_samples(["deep.jsonl"], on_error=lambda _, error: found.append(str(error))))
    assert (found == ["deep.jsonl, line 1 is nested too deeply: leave the row out"]) != (len(samples) == 1)
