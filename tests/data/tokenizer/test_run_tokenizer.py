"""The files of a run's tokenizer say what the tokenizer that it was made of says."""

from pathlib import Path

import pytest

from lmhead.data.tokenizer.run_tokenizer import RunTokenizer
from lmhead.data.tokenizer.tokenizer_files import TokenizerFiles, read_tokenizer
from lmhead.data.tokenizer.train_tokenizer import train_tokenizer

BACKEND = train_tokenizer(["some text"], 262, control_tokens=["<s>", "<pad>", "<|im_end|>"])


@pytest.mark.parametrize("tool_template", [None, "{{ tools }}"])
@pytest.mark.parametrize("adds", [None, True, False])
@pytest.mark.parametrize("stops", [(), (261,), (4, 261)])
def test_they_are_read_as_they_were(
    tool_template: str | None, adds: bool | None, stops: tuple[int, ...], tmp_path: Path
) -> None:
    files = TokenizerFiles(
        json=BACKEND.to_str(),
        chat_template="{{ messages }}",
        tool_template=tool_template,
        special_tokens={"bos_token": "<s>", "eos_token": "<|im_end|>", "pad_token": "<pad>"},
        source=str(tmp_path),
        add_bos=adds,
        add_eos=adds,
        generation_eos=stops,
    )
    made = RunTokenizer.of_files(files, max_seq_len=64)
    for name, text in {"tokenizer.json": made.backend.to_str(), **made.files}.items():
        (tmp_path / name).write_text(text)
    assert read_tokenizer(str(tmp_path)) == files


def test_ids_are_those_of_the_named_tokens_and_end_of_text_ends_too() -> None:
    names = {"bos_token": "<s>", "eos_token": "<|im_end|>", "pad_token": "<pad>"}
    made = RunTokenizer.of_files(TokenizerFiles(json=BACKEND.to_str(), special_tokens=names), max_seq_len=64)
    number = BACKEND.token_to_id
    assert (made.bos_id, made.pad_id) == (number("<s>"), number("<pad>"))
    assert made.eos_ids == (number("<|im_end|>"), number("<|endoftext|>"))


@pytest.mark.parametrize("names", [{}, {"eos_token": "<|im_end|>"}, {"bos_token": "<s>"}, {"pad_token": "<pad>"}])
@pytest.mark.parametrize("eos", [(), (261,), (4, 261)])
@pytest.mark.parametrize("usual", [True, False])
def test_a_resumed_run_begins_and_ends_texts_as_it_did(
    names: dict[str, str], eos: tuple[int, ...], usual: bool, tmp_path: Path
) -> None:
    text = BACKEND.to_str() if usual else BACKEND.to_str().replace("<|endoftext|>", "<end>")
    if not usual and not eos and "eos_token" not in names:
        names = {**names, "eos_token": "<end>"}
    files = TokenizerFiles(json=text, special_tokens=names, generation_eos=eos)
    made = RunTokenizer.of_text(files, max_seq_len=64)
    for name, content in {"tokenizer.json": made.backend.to_str(), **made.files}.items():
        (tmp_path / name).write_text(content)
    again = RunTokenizer.of_text(read_tokenizer(str(tmp_path)), max_seq_len=64)
    assert (again.ends, again.bos_id, again.eos_ids) == (made.ends, made.bos_id, made.eos_ids)
    assert (again.backend.to_str(), again.files) == (made.backend.to_str(), made.files)


def test_a_run_on_texts_ends_generations_where_its_documents_end() -> None:
    files = TokenizerFiles(json=BACKEND.to_str(), special_tokens={"eos_token": "<s>"}, generation_eos=(4, 5))
    made = RunTokenizer.of_text(files, max_seq_len=64)
    assert made.eos_ids == (made.ends.end,) == (BACKEND.token_to_id("<s>"),)
