"""Options in messages: plain Python for whoever reads a str, and never a mark."""

import ast
import copy
import json
import pickle
import re
from pathlib import Path

import pytest

import lmhead
from lmhead.data.formats.sample import Place
from lmhead.data.labelling.columns import LabelColumns
from lmhead.data.labelling.outcome import Labelled, Refusal
from lmhead.errors import ArgumentError, ConversationError, InputError, require
from lmhead.inspection.finding import Finding
from lmhead.options import Message, Option, option

PACKAGE = Path(lmhead.__file__).parent
PARTS = ("give a larger ", Option("max_length", None), ", or ", Option("overflow", "'truncate_end'"))
PLAIN = "give a larger max_length, or overflow='truncate_end'"


def marked() -> str:
    return f"give a larger {option('max_length')}, or {option('overflow', 'truncate_end')}"


def test_a_message_reads_as_python() -> None:
    message = Message(marked())
    assert (message, message.parts) == (PLAIN, PARTS)
    assert f"{message}" == str(message) == PLAIN


@pytest.mark.parametrize(
    "error",
    [ArgumentError(marked()), InputError(marked()), ConversationError(marked(), kind="too_long")],
    ids=lambda error: type(error).__name__,
)
def test_an_error_shows_no_mark_anywhere_and_keeps_its_options(error: lmhead.LmheadError) -> None:
    copies = [error, pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)]
    for each in copies:
        assert (str(each), each.args, each.message.parts) == (PLAIN, (PLAIN,), PARTS)
        assert repr(each) == f'{type(error).__name__}("{PLAIN}")'
    placed = InputError(f"chat.jsonl, line 3: {error.message.marked}")
    assert str(placed) == f"chat.jsonl, line 3: {PLAIN}"
    assert placed.message.parts == ("chat.jsonl, line 3: give a larger ", *PARTS[1:])


def test_require_names_an_option() -> None:
    with pytest.raises(ArgumentError, match=r"^rows must be >= 1, got 0: give rows=1$") as caught:
        require(False, option("rows"), "be >= 1", 0, f"give {option('rows', 1)}")
    assert [part.name for part in caught.value.message.parts if isinstance(part, Option)] == ["rows", "rows"]


def test_a_finding_shows_no_mark_anywhere_and_keeps_its_options() -> None:
    found = Finding(code="x", severity="error", count=1, message=marked(), remedy=marked(), pattern=marked())
    for finding in (found, found.joined(found), pickle.loads(pickle.dumps(found)), copy.deepcopy(found)):
        assert (finding.message, finding.remedy, finding.pattern) == (PLAIN, PLAIN, PLAIN)
        assert Message(finding.remedy).parts == PARTS
        assert finding.head().parts[1:4] == PARTS[1:]
        assert str(finding) == f"error: {PLAIN} [x]\n    -> {PLAIN}"
        assert "\x00" not in repr(finding) + json.dumps(finding.to_dict())


def test_a_refusal_keeps_its_options_through_arrays_and_json() -> None:
    row = Labelled(
        place=Place(source="a.jsonl", number=1, unit="line"),
        refusal=Refusal(kind="too_long", message=Message(marked())),
    )
    columns = LabelColumns.of([row])
    assert b"\\u0000" not in columns.arrays["extras"].tobytes()
    refusal = columns.row(0).refusal
    assert refusal is not None
    assert (refusal, refusal.message.parts) == (row.refusal, PARTS)


def test_text_of_data_is_no_option() -> None:
    for text in ("\x00rows\x00", "\x000123456789abcdef\x00rows\x000123456789abcdef\x00", "rows=3", PLAIN):
        message = Message(f"got {text}")
        assert (message, message.parts) == (f"got {text}", (f"got {text}",))


def test_below_the_command_line_no_flag_is_named_but_in_whole_commands() -> None:
    for file in sorted(PACKAGE.rglob("*.py")):
        if (PACKAGE / "cli") in file.parents or file.name == "options.py":
            continue
        nodes = list(ast.walk(ast.parse(file.read_text())))
        within = {id(part) for node in nodes if isinstance(node, ast.JoinedStr) for part in ast.walk(node)}
        for node in nodes:
            if isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and id(node) not in within):
                text = ast.unparse(node)
                if re.search(r"(^|[\s('\"`])--[a-z{]", text):
                    assert re.search(r"(lmhead [a-z]+|tensorboard|trackio [a-z]+) ", text), f"{file.name}: {text}"


def test_every_option_is_named_in_what_becomes_a_message() -> None:
    """Notes are told as they are: what is marked in one has to be made a Message first."""
    for file in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in {"note", "say", "self._note", "print"}:
                for argument in node.args:
                    text = ast.unparse(argument)
                    assert not re.search(r"\boption\(|\.marked\b", text) or text.startswith("Message("), file.name
