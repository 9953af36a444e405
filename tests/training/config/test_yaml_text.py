"""YAML as its version 1.2 reads it, and nothing that a reader of a config could be surprised by."""

import pytest
import yaml

from lmhead.training.config.yaml_text import dump_yaml, load_yaml


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("1e5", 1e5),
        ("+1.e+2", 100.0),
        ("-.5", -0.5),
        (".inf", float("inf")),
        ("0x1f", 31),
        ("0o17", 15),
        ("010", 10),
        ("-7", -7),
        ("True", True),
        ("Null", None),
        ("nULL", "nULL"),
        ("1e-3x", "1e-3x"),
        ("'1e-3'", "1e-3"),
        ("!!str 1e-3", "1e-3"),
        ("!!float 1", 1.0),
    ],
)
def test_a_plain_word_is_a_number_a_boolean_null_or_text(written: str, value: object) -> None:
    found = load_yaml(f"a: {written}")
    assert found == {"a": value}
    assert isinstance(found, dict)
    assert type(found["a"]) is type(value)


@pytest.mark.parametrize(
    "text",
    [
        "!!int x",
        "!!bool x",
        "!!float x",
        "!!timestamp x",
        "!!python/name:os.system x",
        "!!map [1]",
        "!!seq {a: 1}",
        "!!str [1]",
        "? [1]\n: 2",
        "[" * 100_000,
        "a: " + "9" * 9_000,
        "a: 1\na: 1",
        "{x: {b: 1, b: 2}}",
        "&a [*a]",
        "a: *nobody",
        "a: 1\n---\nb: 2",
        "\x00",
    ],
)
def test_what_is_no_plain_yaml_is_one_kind_of_error(text: str) -> None:
    with pytest.raises(yaml.YAMLError):
        load_yaml(text)


def test_anchors_and_merges_work_and_a_merged_field_may_be_set_anew() -> None:
    assert load_yaml("x: &a {k: 1, l: 2}\ny:\n  <<: *a\n  k: 3") == {"x": {"k": 1, "l": 2}, "y": {"k": 3, "l": 2}}


@pytest.mark.parametrize("text", ["no", "1e-3", "0o7", "2026-11-28", "12:30", "1_0", "=", "<<", "~", "\u2028", "true"])
def test_a_text_is_read_back_as_text_by_a_reader_of_yaml_1_1_too(text: str) -> None:
    assert load_yaml(dump_yaml([text])) == yaml.safe_load(dump_yaml([text])) == [text]
