"""Perplexity as transformers' guide and llama.cpp have it: which options here give the same figure.

transformers 5.23, docs/source/en/perplexity.md, "Perplexity of fixed-length models": windows of the model's length,
each `stride` further on; their mean losses weighted by one token less than they are over.
llama.cpp, tools/perplexity/perplexity.cpp, `perplexity()`: disjoint windows of n_ctx tokens, the first of each replaced
by the beginning of sequence, scored from the middle on.
"""

import json
import math

import pytest
import torch
from tests.evaluation.oracle.wikitext import DETOKENIZED, WINDOW, model, tokenizer

import lmhead
from lmhead.evaluation.documents.document_options import DocumentOptions

TEXT = "".join(DETOKENIZED)


def logprobs(scorer, ids: list[int]) -> torch.Tensor:
    """[T - 1] of each token behind the first, in float64."""
    with torch.no_grad():
        of_all = scorer(torch.tensor([ids])).logits[0, :-1].double().log_softmax(-1)
    return of_all.gather(1, torch.tensor(ids[1:])[:, None])[:, 0]


def losses_of_guide(ids: list[int], stride: int) -> list[tuple[float, int]]:
    """(mean loss, tokens that it is over) of each window, as the guide's loop has them."""
    scorer, found, before = model().double(), [], 0
    for begin in range(0, len(ids), stride):
        end = min(begin + WINDOW, len(ids))
        read = torch.tensor([ids[begin:end]])
        labels = read.clone()
        labels[:, : -(end - before)] = -100
        with torch.no_grad():
            loss = scorer(read, labels=labels).loss.item()
        found.append((loss, int((labels[:, 1:] != -100).sum())))
        before = end
        if end == len(ids):
            break
    return found


@pytest.mark.parametrize("stride", [4, 16])
@pytest.mark.parametrize("windows", [1, 5])
def test_the_guide_of_transformers_reads_the_same_windows_one_token_shorter(tmp_path, stride, windows):
    encode = tokenizer()
    text, wanted = TEXT, WINDOW + (windows - 1) * stride  # tokens, so that the last window is as long as the others
    while len(encode.encode(text)) > wanted:
        text = text[:-1]
    ids = encode.encode(text)
    assert len(ids) == wanted
    (tmp_path / "text.txt").write_text(text)
    options = {"window": WINDOW - 1, "stride": stride, "how": DocumentOptions(prefix="none")}
    found = lmhead.evaluate(model(), tmp_path / "text.txt", tokenizer=encode, **options).card.figures
    means = losses_of_guide(ids, stride)
    assert found.tokens == sum(count for _, count in means)
    assert found.nll_sum == pytest.approx(math.fsum(mean * count for mean, count in means), rel=1e-6)
    counted = [WINDOW - 1, *[stride - 1] * (windows - 1)]  # num_valid_tokens - batch_size
    guide = sum(mean * count for (mean, _), count in zip(means, counted, strict=True)) / sum(counted)
    assert guide == pytest.approx(found.nll, rel=1e-6) if windows == 1 else abs(guide / found.nll - 1) > 1e-5


@pytest.mark.parametrize("n_ctx", [16, 32])
def test_llama_cpp_scores_the_second_half_of_each_window_which_rows_of_ids_can_say(tmp_path, n_ctx):
    ids = [1, *tokenizer().encode(TEXT)]
    chunks = [[1, *ids[at + 1 : at + n_ctx]] for at in range(0, len(ids) - n_ctx + 1, n_ctx)]
    first, scorer = n_ctx // 2, model().double()
    nll = -math.fsum(logprobs(scorer, chunk)[first:].sum().item() for chunk in chunks)
    count = len(chunks) * (n_ctx - first - 1)
    rows = [{"input_ids": each, "labels": [-100] * (first + 1) + each[first + 1 :]} for each in chunks]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = lmhead.evaluate(model(), tmp_path / "rows.jsonl", tokenizer=tokenizer()).card.figures
    assert (found.tokens, found.perplexity) == (count, pytest.approx(math.exp(nll / count), rel=1e-5))
    (tmp_path / "text.txt").write_text(TEXT)
    every = lmhead.evaluate(model(), tmp_path / "text.txt", tokenizer=tokenizer(), window=n_ctx, stride=n_ctx)
    assert every.card.figures.tokens == len(ids) - 1  # each token once, and none of the text is left out
