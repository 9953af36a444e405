"""No text of anybody's reaches a terminal as anything but text."""

import json
import os
import shutil
import subprocess
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmhead.shown import shell_word, shown, shown_json, shown_line

ANY_TEXT = st.text(alphabet=st.characters())  # surrogates too
BIDI = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}  # Unicode's classes of what turns direction


def obeyed(character: str) -> bool:
    """By Unicode's own tables: a control, a surrogate, a separator of lines, or what turns the direction."""
    return (
        unicodedata.category(character) in {"Cc", "Cs", "Zl", "Zp"}
        or unicodedata.bidirectional(character) in BIDI
        or character in "\u200e\u200f\u061c"
    )


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("\x1b]0;X\x07\x1b[2J", "\\x1b]0;X\\x07\\x1b[2J"),
        ("\x9b2J \x7f \x00", "\\x9b2J \\x7f \\x00"),
        ("a\u202eb\u2066c\u200fd\u061ce", "a\\u202eb\\u2066c\\u200fd\\u061ce"),
        ("a\u2028b\u2029c\x85d", "a\\u2028b\\u2029c\\x85d"),
        ("\udc9b is a byte", "\\udc9b is a byte"),
        ("over\rwritten\x08", "over\\rwritten\\x08"),
        ("two\nlines,\ta tab", "two\nlines,\ta tab"),
        ("é 漢字 👩\u200d👧 नमस्ते", "é 漢字 👩\u200d👧 नमस्ते"),
    ],
)
def test_what_a_terminal_would_obey_is_escaped(text: str, safe: str) -> None:
    assert shown(text) == safe


def test_every_character_that_unicode_calls_a_control_is_escaped_and_no_other() -> None:
    for code in range(0x110000):
        character = chr(code)
        changed = shown(character) != character
        assert changed == (obeyed(character) and character not in "\n\t"), hex(code)


@given(ANY_TEXT)
def test_what_is_shown_is_safe_and_can_be_written(text: str) -> None:
    assert not any(obeyed(character) for character in shown(text) if character not in "\n\t")
    assert shown(shown(text)) == shown(text)
    shown(text).encode()


@given(ANY_TEXT)
def test_a_line_is_one_line(text: str) -> None:
    line = shown_line(text)
    assert not any(obeyed(character) for character in line)
    assert len(line.splitlines()) <= 1


@given(st.dictionaries(st.text(), st.text() | st.just("\udc9b")))
def test_json_means_the_same(value: dict[str, str]) -> None:
    safe = shown_json(json.dumps(value, ensure_ascii=False, indent=2))
    assert json.loads(safe) == value
    assert shown(safe) == safe


@pytest.mark.parametrize(
    "text",
    ["runs/a b", "it's", "caf\udce9", "\x1b[2J\x07", "a\nb\tc\rd", "\\x1b'\x1b\\", "\u202e\x85\udc80", "$HOME `x` !"],
)
@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_a_word_of_a_shown_command_is_read_back_by_a_shell(text: str) -> None:
    word = shell_word(text)
    assert shown_line(word) == word
    read = subprocess.run(["bash", "-c", f"printf %s {word}"], stdout=subprocess.PIPE, check=True)
    assert os.fsdecode(read.stdout) == text
