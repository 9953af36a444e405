"""Words of a command: models first, then data; a word in the wrong place is told in a line."""

import pytest
import torch

import lmhead
from lmhead.errors import InputError
from lmhead.given.models_and_data import models_and_data


@pytest.fixture
def there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        torch.manual_seed(0)
        lmhead.save_pretrained(lmhead.GPT(10, 8, 1, 1, 8), name)
    (tmp_path / "books").mkdir()
    (tmp_path / "books" / "one.txt").write_text("text")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text("steps: 1\n")


@pytest.mark.parametrize(
    ("words", "models"),
    [
        ("a books", 1),
        ("a b books books/one.txt", 2),
        ("run", 1),
        ("run OWNER/NAME", 2),
        ("a hf:OWNER/NAME:test", 1),
        ("a -", 1),
        ("a missing.txt", 1),
        ("", 0),
    ],
)
def test_leading_models_are_told_from_data(there, words, models):
    given = tuple(words.split())
    assert models_and_data(given) == (given[:models], given[models:])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("books a", "a folder without weights"),
        ("missing", "is not there"),
        ("books/one.txt", "is a file"),
        ("- a", "is data"),
        ("a books b", "must stand before the data, got b behind books"),
    ],
)
def test_a_word_in_the_wrong_place_is_told(there, words, message):
    with pytest.raises(InputError, match=message):
        models_and_data(tuple(words.split()))
