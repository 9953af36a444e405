"""Evaluations on the disk compared without another pass, by models whose tokenizers differ."""

import math

import numpy as np
import pytest
import torch
from tests.inspection.tokens.tokenizers_of_kinds import byte_fallback, byte_level
from transformers import PreTrainedTokenizerFast

import lmhead
from lmhead.errors import ArgumentError, InputError
from lmhead.evaluation.folder.losses_file import LOSSES_FILE, LossesFile, LossesWriter
from lmhead.evaluation.scores.byte_losses import ByteLosses


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Three evaluations of the same texts, two of them by one tokenizer."""
    folder = tmp_path_factory.mktemp("compared")
    for number in range(8):
        (folder / f"{number}.txt").write_text("the end of the thing " * (number + 1) + f"{number}\n")
    for seed, (name, tokenizer) in enumerate({"a": byte_level(), "b": byte_level(), "c": byte_fallback()}.items()):
        torch.manual_seed(seed)
        model = lmhead.GPT(tokenizer.get_vocab_size(), 16, 2, 1, 32)
        ended = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>")
        data = [str(folder / f"{number}.txt") for number in range(8)]
        lmhead.evaluate(model, data, tokenizer=ended, out=folder / name)
        if name != "b":  # nobody knows what ends a text, and so nothing stands before one
            lmhead.evaluate(model, data, tokenizer=tokenizer, out=folder / f"{name}-bare")
    return folder


def test_folders_and_results_compare_alike(place):
    by_folder = lmhead.compare(place / "a", place / "b", resamples=99)
    results = [lmhead.EvaluationResult.read(place / name) for name in "ab"]
    by_result = lmhead.compare(*results, resamples=99)
    assert by_folder.difference == by_result.difference
    assert by_folder.documents == 8
    expected = [each.card.figures.bits_per_byte for each in results]
    assert [by_folder.first.value, by_folder.second.value] == pytest.approx(expected, rel=1e-12)
    assert by_folder.perplexity_ratio[0] == pytest.approx(
        math.exp(results[1].card.figures.nll - results[0].card.figures.nll)
    )


def test_across_tokenizers_spans_add_up_to_both_models(place):
    made = lmhead.compare(place / "a", place / "c", resamples=99)
    assert made.perplexity_ratio is None
    assert made.spans.tokens_first == made.first.tokens
    assert made.spans.tokens_second == made.second.tokens > made.spans.spans
    for places in (made.spans.positions, made.spans.kinds):
        for which, side in (("first", made.first), ("second", made.second)):
            bits = sum(each.bytes * getattr(each, which) for each in places)
            assert bits / side.bytes == pytest.approx(side.value, rel=1e-12)
    with pytest.raises(ArgumentError, match="figure must be bits_per_byte"):
        lmhead.compare(place / "a", place / "c", figure="perplexity")


def test_without_a_prefix_two_tokenizers_score_other_bytes_and_the_remedy_is_told(place):
    with pytest.raises(ArgumentError, match=r"none that both have .* with prefix='bos' or eos"):
        lmhead.compare(place / "a-bare", place / "c-bare")


def test_an_interrupted_evaluation_is_not_compared(place, tmp_path):
    for file in (place / "a").iterdir():
        if file.is_file():
            (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / ".state.json").write_text("{}")
    with pytest.raises(InputError, match="must be a finished evaluation"):
        lmhead.compare(tmp_path, place / "b")


def losses(count, seed=0):
    rng = np.random.default_rng(seed)
    ends = np.cumsum(rng.integers(0, 5, count))
    return ByteLosses(ends=ends, nll=rng.random(count), kinds=rng.integers(0, 5, count).astype(np.uint8))


def same(one, other):
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in ("ends", "nll", "kinds"))


def test_losses_come_back_and_the_last_record_of_a_document_counts(tmp_path):
    file = tmp_path / LOSSES_FILE
    with LossesWriter(file) as writer:
        for document, count in ((0, 5), (2, 0), (7, 40)):
            writer.add(document, losses(count, document))
        writer.add(0, losses(6, 9))
    with LossesFile(file) as read:
        assert same(read.of(0), losses(6, 9))
        assert same(read.of(2), losses(0, 2))
        assert same(read.of(7), losses(40, 7))
        assert read.of(1) is None


@pytest.mark.parametrize("cut", [1, 5, 30])
def test_a_record_that_was_cut_short_is_none_and_writing_goes_on_before_it(tmp_path, cut):
    file = tmp_path / LOSSES_FILE
    with LossesWriter(file) as writer:
        writer.add(0, losses(3))
        writer.add(1, losses(4, 1))
    file.write_bytes(file.read_bytes()[:-cut])
    with LossesFile(file) as read:
        assert read.of(1) is None
    with LossesWriter(file) as writer:
        writer.add(2, losses(5, 2))
    with LossesFile(file) as read:
        assert same(read.of(0), losses(3))
        assert same(read.of(2), losses(5, 2))


def test_another_file_is_not_written_over(tmp_path):
    file = tmp_path / LOSSES_FILE
    file.write_bytes(b"somebody's")
    for opened in (LossesWriter, LossesFile):
        with pytest.raises(InputError, match="must be the losses of an evaluation"):
            opened(file)
    assert file.read_bytes() == b"somebody's"
