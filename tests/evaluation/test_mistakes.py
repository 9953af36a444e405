"""Mistakes that others made, each computed as they do: the figure is another one, and ours is that of float64.

Each test's docstring names where it was seen.
"""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.evaluation.documents.tokenizers_of_kinds import llama_like
from tests.evaluation.oracle.wikitext import WINDOW, model, tokenizer

import lmhead
from lmhead.cli.main import main
from lmhead.data.tokenizer.train_tokenizer import train_tokenizer
from lmhead.errors import ArgumentError, InputError
from lmhead.evaluation.comparison.compare import compare
from lmhead.evaluation.documents.document_options import DocumentOptions
from lmhead.evaluation.intervals.document_intervals import document_intervals
from lmhead.evaluation.sums.document_sums import DocumentSums

BOS, EOS, IGNORED = 1, 0, -100
TEXTS = (
    "A.",
    "the cat sat on",
    "naïve café 日本 \U0001f600",
    "in the end",
    "red",
    "she had an ale then",
)  # under a window
LONG = "the " * 20 + "then he had a red hat on, and the rain in the north was on its way. " * 2


@pytest.fixture(scope="module")
def scorer():
    return model()


@pytest.fixture(scope="module")
def exact():
    """The same in float64."""
    return model().double()


@pytest.fixture
def texts(tmp_path) -> Path:
    return written(tmp_path / "texts.jsonl", TEXTS)


def written(file: Path, texts) -> Path:
    file.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return file


def ids_of(text: str, prefix: tuple[int, ...] = (BOS,)) -> list[int]:
    return [*prefix, *tokenizer().encode(text)]


def losses(exact, ids: list[int]) -> torch.Tensor:
    """[T - 1] nats of each token behind the first."""
    with torch.no_grad():
        logprobs = exact(torch.tensor([ids])).logits[0, :-1].log_softmax(-1)
    return -logprobs.gather(1, torch.tensor(ids[1:])[:, None])[:, 0]


def losses_of_texts(exact, prefix: tuple[int, ...] = (BOS,)) -> list[torch.Tensor]:
    return [losses(exact, ids_of(text, prefix)) for text in TEXTS]


def mean_of(parts: list[torch.Tensor]) -> float:
    return torch.cat(parts).mean().item()


def padded(rows: list[list[int]], fill: int) -> torch.Tensor:
    longest = max(map(len, rows))
    return torch.tensor([row + [fill] * (longest - len(row)) for row in rows])


def figures(scorer, data: Path, **options):
    return lmhead.evaluate(scorer, data, tokenizer=tokenizer(), **options).card.figures


@pytest.mark.parametrize("batch", [1, 2, 3, 6])
def test_the_loss_does_not_depend_on_the_batch_size(scorer, exact, texts, batch):
    """transformers Trainer (#39241): the mean of batches' means, each as often as it has rows; LitGPT: of batches."""
    every = losses_of_texts(exact)
    truth = mean_of(every)
    cuts = range(0, len(every), batch)
    of_batches = [mean_of(every[at : at + batch]) for at in cuts]
    trainer = np.average(of_batches, weights=[len(every[at : at + batch]) for at in cuts])
    for wrong in (trainer, np.mean(of_batches)):
        assert (abs(wrong / truth - 1) > 1e-3) == (batch < 6)  # of one batch it is right
    assert figures(scorer, texts, tokens=batch * WINDOW).nll == pytest.approx(truth, rel=1e-6)


def test_perplexity_is_of_all_tokens_no_mean_of_texts_or_windows(scorer, exact, texts, tmp_path):
    """evaluate's perplexity metric and LLaMA-Factory's cal_ppl: of texts; axolotl: of windows."""
    every = losses_of_texts(exact)
    truth = math.exp(mean_of(every))
    of_texts = np.mean([part.mean().exp().item() for part in every])
    found = figures(scorer, texts)
    assert found.perplexity == pytest.approx(truth, rel=1e-5)
    assert abs(of_texts / truth - 1) > 0.01
    ids = ids_of(LONG)
    windows = [losses(exact, ids[at : at + WINDOW + 1]) for at in range(0, len(ids) - WINDOW, WINDOW)]
    rest = (len(ids) - 1) % WINDOW
    windows.append(losses(exact, ids[-WINDOW - 1 :])[-rest:])  # the last one has as much context as there is room for
    found = figures(scorer, written(tmp_path / "long.jsonl", [LONG]), stride=WINDOW)
    assert found.nll == pytest.approx(mean_of(windows), rel=1e-6)
    assert abs(np.mean([part.mean().item() for part in windows]) / mean_of(windows) - 1) > 1e-3


def test_padding_is_not_scored(scorer, exact, texts):
    """mlx-lm (#1855), axolotl (#3988): rows are filled up to the longest, and all of them is scored."""
    rows = padded([ids_of(text) for text in TEXTS], EOS)
    with torch.no_grad():
        logits = exact(rows).logits
    wrong = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), rows[:, 1:].flatten()).item()
    truth = mean_of(losses_of_texts(exact))
    assert abs(wrong / truth - 1) > 0.01
    found = figures(scorer, texts, tokens=rows.numel())
    assert (found.nll, found.tokens) == (pytest.approx(truth, rel=1e-6), sum(len(ids_of(text)) - 1 for text in TEXTS))


def test_the_prefix_is_the_tokenizer_s_and_is_told(scorer, exact, texts):
    """lm-evaluation-harness (#1586): an end of text in its place; transformers (#40524): none is put there."""
    truth = mean_of(losses_of_texts(exact))
    for wrong in (losses_of_texts(exact, (EOS,)), losses_of_texts(exact, ()), losses_of_texts(exact, (BOS, BOS))):
        assert abs(mean_of(wrong) / truth - 1) > 1e-3
    card = lmhead.evaluate(scorer, texts, tokenizer=tokenizer()).card
    assert card.figures.nll == pytest.approx(truth, rel=1e-6)
    assert (card.reading.prefix.ids, card.reading.prefix.tokens) == ((BOS,), ("<s>",))
    assert "<s>" in card.reading.prefix.told
    for prefix, ids in (("eos", (EOS,)), ("none", ())):
        found = figures(scorer, texts, how=DocumentOptions(prefix=prefix))
        assert found.nll == pytest.approx(mean_of(losses_of_texts(exact, ids)), rel=1e-6)


def test_the_sum_is_divided_by_the_tokens_that_are_predicted(scorer, exact, texts):
    """transformers (#46204): labels are counted before the shift, the first of each row among them."""
    every = losses_of_texts(exact)
    found = figures(scorer, texts)
    labels = sum(len(ids_of(text)) for text in TEXTS)
    assert found.tokens == labels - len(TEXTS)
    assert found.nll == pytest.approx(torch.cat(every).sum().item() / found.tokens, rel=1e-6)
    assert torch.cat(every).sum().item() / labels < 0.95 * found.nll


def test_targets_are_shifted_once(scorer, exact, texts):
    """lighteval (#1252): not at all; transformers (#47394, #44642): twice."""
    truth = mean_of(losses_of_texts(exact))
    for shift in (0, 2):
        wrong = []
        for text in TEXTS:
            ids = torch.tensor(ids_of(text))
            with torch.no_grad():
                logprobs = exact(ids[None]).logits[0].log_softmax(-1)
            wrong.append(-logprobs[: len(ids) - shift].gather(1, ids[shift:, None])[:, 0])
        assert abs(mean_of(wrong) / truth - 1) > 1e-3
    assert figures(scorer, texts).nll == pytest.approx(truth, rel=1e-6)


def test_bytes_are_those_of_the_text(scorer, exact, texts):
    """nanochat (#693): each token decoded alone, where a part of a character is U+FFFD, of three bytes."""
    truth = sum(len(text.encode()) for text in TEXTS)
    decode = tokenizer().decode
    wrong = sum(len(decode([number]).encode()) for text in TEXTS for number in ids_of(text, ()))
    assert wrong > truth
    found = figures(scorer, texts)
    assert found.bytes == truth
    bits = torch.cat(losses_of_texts(exact)).sum().item() / math.log(2)
    assert found.bits_per_byte == pytest.approx(bits / truth, rel=1e-6)


def test_spaces_are_counted_once(texts):
    """nanochat (#693): the space of a mark is one of the token's own bytes, and counted for the mark again."""
    backend = llama_like()
    spelled = [backend.id_to_token(number) for text in TEXTS for number in backend.encode(text).ids]
    sizes = [1 if name.startswith("<0x") else len(name.replace("\u2581", " ").encode()) for name in spelled]
    marks = sum(name.startswith("\u2581") for name in spelled)
    truth = sum(len(text.encode()) for text in TEXTS)
    assert sum(sizes) == truth + len(TEXTS)  # the mark before each text is none of its bytes
    assert sum(sizes) + marks > truth + len(TEXTS)
    torch.manual_seed(0)
    gpt = lmhead.GPT(backend.get_vocab_size(), 16, 2, 1, 64)
    assert lmhead.evaluate(gpt, texts, tokenizer=backend).card.figures.bytes == truth


def test_perplexities_are_not_compared_across_tokenizers(texts):
    """llama.cpp (#7111): a model of long tokens looks worse by perplexity where it is better by the byte."""
    found = []
    for vocab_size in (258, 300):
        backend = train_tokenizer(TEXTS * 4, vocab_size)
        gpt = lmhead.GPT(backend.get_vocab_size(), 16, 2, 1, 64)
        torch.nn.init.zeros_(gpt.lm_head.weight)  # all tokens are equally probable
        found.append(lmhead.evaluate(gpt, texts, tokenizer=backend))
        figures = found[-1].card.figures
        assert figures.perplexity == pytest.approx(backend.get_vocab_size(), rel=1e-6)
    of_bytes, of_words = (each.card.figures for each in found)
    assert of_words.perplexity > of_bytes.perplexity
    assert of_words.bits_per_byte < of_bytes.bits_per_byte
    with pytest.raises(ArgumentError, match="must be bits_per_byte for models with different tokenizers"):
        compare(*found, figure="perplexity")
    told = compare(*found)
    assert told.perplexity_ratio is None
    assert "bits per byte are comparable" in told.no_perplexity
    difference = of_words.bits_per_byte - of_bytes.bits_per_byte
    assert told.difference.value == pytest.approx(difference, rel=1e-9)


@pytest.mark.parametrize(("sharp", "dtypes"), [(4, [torch.float16]), (40, [torch.float16, torch.float32])])
def test_improbable_tokens_do_not_underflow(texts, sharp, dtypes):
    """torchmetrics 1.9: softmax().log() is -inf from 104 nats on in float32, and from 17 in float16."""
    scorer = model()
    scorer.lm_head.weight.data *= sharp
    rows = [torch.tensor(ids_of(text)) for text in TEXTS]
    with torch.no_grad():
        logits = [scorer(row[None]).logits[0, :-1] for row in rows]
    for dtype in dtypes:
        probabilities = [
            part.to(dtype).softmax(-1).gather(1, row[1:, None]) for part, row in zip(logits, rows, strict=True)
        ]
        assert torch.cat(probabilities).log().mean().item() == -math.inf
    exact = model().double()
    exact.lm_head.weight.data *= sharp
    assert figures(scorer, texts).nll == pytest.approx(mean_of(losses_of_texts(exact)), rel=1e-5)


def test_micro_batches_are_summed_before_they_are_divided():
    """transformers (#34191), torchtune (#1875): micro-batches' means are averaged."""
    from tests.training.test_window import conversations, gradient

    torch.manual_seed(0)
    gpt = lmhead.GPT(40, 8, 2, 1, 8)
    torch.nn.init.normal_(gpt.lm_head.weight)
    rows = conversations(weighted=False)
    whole = rows.take(0, rows.rows_per_epoch)
    micro = [rows.take(at, 1) for at in range(rows.rows_per_epoch)]
    truth, of_whole = gradient(gpt, [whole])
    each = [gradient(gpt, [batch]) for batch in micro]
    wrong = torch.stack([of_one for _, of_one in each]).mean(0)
    assert abs(np.mean([made.loss for made, _ in each]) / truth.loss - 1) > 1e-3
    assert (wrong - of_whole).norm() > 0.01 * of_whole.norm()
    made, of_window = gradient(gpt, micro)
    assert made.loss == pytest.approx(truth.loss, rel=1e-6)
    torch.testing.assert_close(of_window, of_whole, rtol=1e-4, atol=1e-6)


def test_no_scored_token_is_no_loss_of_zero(scorer, tmp_path):
    """trl (#6671): a batch whose labels are all masked counts as a loss of 0.0."""
    ids = ids_of("the cat")
    rows = [{"input_ids": ids, "labels": [IGNORED] * len(ids)}] * 2
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    logits = torch.zeros(1, len(ids), 9)
    labels = torch.full((1, len(ids)), IGNORED)
    assert torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="sum") == 0.0
    for chat in (None, lmhead.ChatConfig(on_error="skip")):
        with pytest.raises(InputError, match=r"nothing predicts|no token scored"):
            lmhead.evaluate(scorer, data, tokenizer=tokenizer(), chat=chat)


def test_intervals_are_over_documents_as_tokens_of_one_are_alike():
    """llama.cpp, mlx-lm: +- the deviation of tokens over the root of their number."""
    draw, truth, repeats = np.random.default_rng(0), 3.0, 150
    of_tokens = of_documents = 0
    for seed in range(repeats):
        tokens = truth + draw.normal(0, 1, (40, 1)) + draw.normal(0, 0.5, (40, 50))
        error = tokens.std() / math.sqrt(tokens.size)
        of_tokens += abs(tokens.mean() - truth) < 1.96 * error
        sums = [
            DocumentSums(name=str(n), source="", digest=None, tokens=50, nll=float(row.sum()), bytes=None, hits=0)
            for n, row in enumerate(tokens)
        ]
        interval = document_intervals(sums, resamples=200, seed=seed).nll
        of_documents += interval.low < truth < interval.high
    assert of_tokens / repeats < 0.5
    assert of_documents / repeats > 0.88


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A model with its tokenizer on disk, for the command."""
    place = tmp_path_factory.mktemp("mistakes") / "model"
    torch.manual_seed(0)
    lmhead.save_pretrained(lmhead.GPT(270, 16, 2, 1, 16), place)
    train_tokenizer(TEXTS * 4, 258).save(str(place / "tokenizer.json"))
    return place


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ("", (), "empty"),
        ('{"text": ""}\n', (), "text must hold something"),
        ('{"text": "a"}\n', ("--prefix", "none"), "no token scored"),
        ('{"input_ids": [3, 4], "labels": [-100, -100]}\n', (), "labels must hold something to learn"),
        ('{"input_ids": [3, 4], "labels": [-100, -100]}\n', ("--on-error", "skip"), "no token scored|refused"),
        ('{"text": "the cat"}\n', ("--stride", "0"), "--stride must be in"),
        ('{"text": "the cat"}\n', ("--tokenizer", "other"), "tokenizer must be the model's"),
    ],
)
def test_what_cannot_be_scored_is_one_line(folder, tmp_path, monkeypatch, capsys, content, options, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data.jsonl").write_text(content)
    Path("other").mkdir()
    train_tokenizer(["entirely other words"] * 9, 262).save("other/tokenizer.json")
    assert main(["eval", str(folder), "data.jsonl", "--quiet", *options]) != 0
    told = capsys.readouterr()
    assert told.out == ""
    (line,) = told.err.splitlines()
    assert any(part in line for part in message.split("|")), line


def test_a_comparison_of_perplexities_across_tokenizers_is_refused_in_one_line():
    """Beside the test above: of sums alone, whose tokenizers nobody knows."""
    sums = [DocumentSums(name="a", source="", digest="0", tokens=3, nll=3.0, bytes=4, hits=1)]
    with pytest.raises(ArgumentError, match="bits per byte are of the same bytes for both") as refused:
        compare(sums, sums, figure="perplexity")
    assert "\n" not in str(refused.value)
