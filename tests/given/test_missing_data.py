"""Data that are not there are told at once, before a model or a tokenizer is looked for, maybe on the Hub."""

from typing import Any

import pytest

import lmhead
from lmhead.cli.main import main
from lmhead.errors import InputError


@pytest.fixture(autouse=True)
def nobody_asks_for_a_model(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """In an empty folder, where the Hub would be asked for runs/none."""
    import transformers

    def asked(*_arguments: object, **_options: object) -> None:
        raise AssertionError("the model was looked for first")

    monkeypatch.chdir(tmp_path)
    for each in (transformers.AutoConfig, transformers.AutoTokenizer, transformers.AutoModelForCausalLM):
        monkeypatch.setattr(each, "from_pretrained", asked)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", asked)
    monkeypatch.setattr("huggingface_hub.snapshot_download", asked)


@pytest.mark.parametrize(
    "look",
    [
        lambda data: lmhead.inspect(data, "runs/none"),
        lambda data: lmhead.inspect(data, tokenizer="runs/none"),
        lambda data: lmhead.examine(data, tokenizer="runs/none"),
        lambda data: lmhead.evaluate("runs/none", data),
        lambda data: lmhead.audit_evaluation("runs/none", data),
    ],
    ids=["inspect", "inspect by a tokenizer", "examine", "evaluate", "audit_evaluation"],
)
def test_a_file_that_is_not_there_is_told_before_its_model(look: Any) -> None:
    with pytest.raises(InputError, match=r"no such file or folder: none\.jsonl"):
        look(["none.jsonl"])


@pytest.mark.parametrize(
    "words",
    [
        ["train", "--data", "none.jsonl", "--init", "runs/none"],
        ["inspect", "none.jsonl", "--model", "runs/none"],
        ["doctor", "none.jsonl", "--tokenizer", "runs/none"],
    ],
    ids=lambda words: words[0],
)
def test_so_on_the_command_line(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    assert "no such file or folder: none.jsonl" in capsys.readouterr().err
