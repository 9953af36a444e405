"""lm-evaluation-harness's rolling log-likelihood and wikitext figures: by its formulae, and as it gave them itself.

The formulae are those of lm_eval 0.4.13: utils.get_rolling_token_windows (utils.py, lines 335 to 375) and
make_disjoint_window (378 to 383), HFLM.loglikelihood_rolling (models/huggingface.py, 1226 to 1310), process_results of
wikitext (tasks/wikitext/preprocess_wikitext.py, 36 to 45), weighted_perplexity and bits_per_byte (api/metrics.py, 51 to
58). The recorded figures are of the harness itself: tests/nightly/lm_eval_oracle.py runs it.
"""

import json
import math
import re
from pathlib import Path

import pytest
import torch
from tests.evaluation.oracle.wikitext import DETOKENIZED, PAGES, WINDOW, model, tokenizer

import lmhead
from lmhead.evaluation.documents.document_options import DocumentOptions

RECORDED = {  # (log-likelihood, word perplexity, byte perplexity, bits per byte) by lm_eval 0.4.13
    "bos": (-1958.9737300872803, 589983698.4976441, 153.84139749411048, 7.265299963055718),
    "eos": (-1948.206636428833, 527998763.2120224, 149.64162686920173, 7.2253677455086),
}
TWICE = -1969.6389064788818  # log-likelihood where the tokenizer writes a <s> of its own behind the harness's
WORDS = sum(len(re.split(r"\s+", page)) for page in PAGES)  # the harness counts them in the page, not in what it scores
BYTES = sum(len(page.encode()) for page in PAGES)


def rolling_windows(ids: list[int], prefix: int, window: int, context: int) -> list[tuple[list[int], list[int]]]:
    """(what is read, what of it is predicted) of each window."""
    predicted = min(window, len(ids))
    found = [([prefix, *ids[: predicted - 1]], ids[:predicted])] if ids else []
    while predicted < len(ids):
        many = min(len(ids) - predicted, window - context + 1)
        end = predicted + many
        found.append((ids[end - window - 1 : end - 1], ids[end - many : end]))
        predicted = end
    return found


def loglikelihood(ids: list[int], prefix: int) -> float:
    """Of one text, in float64, on full logits."""
    scorer, total = model().double(), 0.0
    for read, wanted in rolling_windows(ids, prefix, WINDOW, 1):
        with torch.no_grad():
            logprobs = scorer(torch.tensor([read])).logits[0].log_softmax(-1)[-len(wanted) :]
        total += logprobs.gather(1, torch.tensor(wanted)[:, None]).sum().item()
    return total


def figures(loglikelihood: float) -> tuple[float, float, float, float]:
    return (
        loglikelihood,
        math.exp(-loglikelihood / WORDS),
        math.exp(-loglikelihood / BYTES),
        -loglikelihood / BYTES / math.log(2),
    )


@pytest.fixture(scope="module")
def pages(tmp_path_factory) -> Path:
    file = tmp_path_factory.mktemp("pages") / "pages.jsonl"
    file.write_text("".join(json.dumps({"text": text}) + "\n" for text in DETOKENIZED))
    return file


def ours(pages: Path, prefix: str = "auto", **of_tokenizer: bool):
    how = DocumentOptions(prefix=prefix)
    return lmhead.evaluate(model(), pages, tokenizer=tokenizer(**of_tokenizer), stride=WINDOW, how=how).card


@pytest.mark.parametrize(
    ("prefix", "of_tokenizer", "like"),
    [("auto", {}, "bos"), ("bos", {}, "bos"), ("eos", {}, "eos"), ("auto", {"bos": False}, "eos")],
)
def test_the_figures_are_the_harness_s(pages, prefix, of_tokenizer, like):
    card = ours(pages, prefix, **of_tokenizer)
    encode = tokenizer(**of_tokenizer).encode
    of_formulae = math.fsum(loglikelihood(encode(text), {"bos": 1, "eos": 0}[like]) for text in DETOKENIZED)
    found = figures(-card.figures.nll_sum)
    assert found == pytest.approx(figures(of_formulae), rel=1e-6)
    assert found == pytest.approx(RECORDED[like], rel=1e-6)
    assert card.figures.tokens == sum(len(encode(text)) for text in DETOKENIZED)
    assert card.reading.prefix.ids == ({"bos": 1, "eos": 0}[like],)


def test_bits_per_byte_are_of_the_bytes_that_are_scored_where_the_harness_counts_those_of_the_page(pages):
    found, scored = ours(pages).figures, sum(len(text.encode()) for text in DETOKENIZED)
    assert scored < BYTES
    assert found.bytes == scored
    assert found.bits_per_byte * scored / BYTES == pytest.approx(RECORDED["bos"][3], rel=1e-6)


def test_the_beginning_of_sequence_of_a_tokenizer_stands_once_where_the_harness_reads_and_scores_it_twice(pages):
    encode = tokenizer(adds_bos=True).encode
    twice = math.fsum(loglikelihood(encode(text), 1) for text in DETOKENIZED)
    assert twice == pytest.approx(TWICE, rel=1e-7)
    card = ours(pages, adds_bos=True)
    assert -card.figures.nll_sum == pytest.approx(RECORDED["bos"][0], rel=1e-7)  # its add_bos_token=False
    assert card.figures.tokens == sum(len(encode(text)) - 1 for text in DETOKENIZED)
