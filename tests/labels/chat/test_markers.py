"""Where markers stand, and that they can be read back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.labels.chat.chat_cases import WEATHER, assistant, call, user

from lmhead.errors import NotTransparentError
from lmhead.labels.chat.atoms import Atoms
from lmhead.labels.chat.markers import LEVELS, Marker, check_transparent

EDGES = LEVELS[0]
INNER = next(level for level in LEVELS if level.inset)


def shown(text, level=EDGES, literals=frozenset(), **fields):
    """A content with its markers as bars."""
    marked = Marker(literals).marked([assistant(text, **fields)], None, level, avoid="")
    bars = {chr(marked.first + number): "|" for number in range(2 * len(marked.parts))}
    return marked.messages[0]["content"].translate(str.maketrans(bars))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hello", "|Hello|"),
        ("  two words \n", "  |two words| \n"),
        ("<think>\na\n</think>\n\nb", "<think>\n|a|\n</think>\n\n|b|"),
        ("x <b>", "|x| <b>"),
        ("<b></b>", "|<b></b>|"),
        (" \n", " \n||"),
        ("", "||"),
        ("a < b", "|a < b|"),
    ],
)
def test_markers_stand_next_to_text_inside_of_tags(text, expected):
    assert shown(text) == expected


def test_inner_markers_leave_the_first_and_the_last_character():
    assert shown("Hello", INNER) == "H|ell|o"
    assert shown("a", INNER) == "a"


def test_what_a_template_looks_for_is_a_tag():
    assert shown("say /no_think", literals=frozenset({"/no_think", "say"})) == "|say| /no_think"


def test_an_empty_content_beside_calls_has_no_markers():
    assert shown("", tool_calls=[call("Paris")]) == ""


def test_every_text_of_calls_and_tools_is_marked_and_no_keyword():
    marked = Marker(frozenset()).marked([assistant("", tool_calls=[call("Paris")])], [WEATHER], EDGES, avoid="")
    assert [part.leaf.text for part in marked.parts] == [
        *("get_weather", "city", "Paris"),
        *("get_weather", "Tells the weather, zephyr.", "city", "A city"),
    ]
    assert marked.messages[0]["tool_calls"][0]["id"] == "abcdef123"
    assert marked.tools[0]["function"]["parameters"]["type"] == "object"
    assert marked.tools[0]["function"]["parameters"]["required"] == ["city"]


def test_a_name_with_markers_is_looked_up_as_without():
    marked = Marker(frozenset()).marked([assistant("", tool_calls=[call("Paris")])], None, EDGES, avoid="")
    arguments = marked.messages[0]["tool_calls"][0]["function"]["arguments"]
    assert arguments.get("city") is not None
    assert list(arguments) == ["city"]
    assert "".join(arguments) == "\U000f0002city\U000f0003"


def test_markers_are_read_back_as_places():
    marked = Marker(frozenset()).marked([user("ab"), assistant("c")], None, EDGES, avoid="")
    text = f"<{marked.messages[0]['content']}>{marked.messages[1]['content']}"
    rendered = marked.read(text)
    assert (rendered.text, rendered.markers, rendered.places) == ("<ab>c", [0, 1, 2, 3], [1, 3, 4, 5])


def test_markers_are_characters_that_occur_nowhere():
    marked = Marker(frozenset()).marked([user("\U000f0000a\U000f0003")], None, EDGES, avoid="\U000f0007")
    assert marked.first == 0xF0001
    assert marked.read(marked.messages[0]["content"]).text == "\U000f0000a\U000f0003"


def test_a_text_of_all_private_use_characters_is_refused():
    everything = "".join(map(chr, range(0xF0000, 0x110000, 2)))
    with pytest.raises(NotTransparentError, match="messages must leave 2 private-use characters in a row"):
        Marker(frozenset()).marked([user("a" + everything)], None, EDGES, avoid="")


def test_skeletons_differ_where_more_than_marked_text_does():
    def skeleton(text, **fields):
        return Marker(frozenset({"x"})).marked([assistant(text, **fields)], None, EDGES, avoid="").skeleton("")

    assert skeleton("Hello") == skeleton("Hi, you")
    assert len({skeleton(text) for text in ("Hello", "Hello ", "Hello<b>", "Hexlo", "")}) == 5
    assert skeleton("Hello") != skeleton("Hello", name="bob")


def test_a_difference_is_shown_from_both_sides():
    check_transparent("same", "same")
    with pytest.raises(NotTransparentError, match="differ from character 3: 'abcd' without and 'abcX' with them"):
        check_transparent("abcd", "abcX")


def test_atoms_are_control_tokens_and_characters():
    atoms = Atoms(["[gMASK]", "<<"])
    assert list(atoms.split("a<|end|>[gMASK]<<b")) == ["a", "<|end|>", "[gMASK]", "<<", "b"]
    assert atoms.common("<|end|>", "<|user|>") == ""
    assert atoms.through_first_control("\n<|end|>\n<|x|>") == "\n<|end|>"
    assert atoms.through_last_control("none") == ""


@given(pieces=st.lists(st.sampled_from(["a", "\U000f0000", "\U000f0001", "\U000f0007", "\U0010fffd", "\\", "%F", "é"])))
def test_renders_are_read_alike_whether_or_not_they_may_hold_escapes(pieces):
    marked = Marker(frozenset()).marked([user("ab"), assistant("c")], None, EDGES, avoid="")
    text = "".join(pieces)
    assert marked._read_plain(text) == marked._read_escaped(text)
