"""A card of documents that are drawn at random, without a model."""

import numpy as np
from tests.evaluation.sums.scored_documents import drawn

from lmhead.evaluation.card.conditions import (
    DataConditions,
    Making,
    ModelConditions,
    PrefixConditions,
    ReadingConditions,
    TokenizerConditions,
    WorstEntry,
)
from lmhead.evaluation.card.evaluation_card import EvaluationCard
from lmhead.evaluation.scores.windows import Windows
from lmhead.evaluation.sums.document_sums import DocumentSums
from lmhead.evaluation.sums.evaluation_totals import EvaluationTotals


def documents(seed=0, count=40, **options):
    rng = np.random.default_rng(seed)
    return [drawn(rng, number, **options) for number in range(1, count + 1)]


def card_of(given, *, name="runs/a", **more):
    """Of documents with scores."""
    totals = EvaluationTotals(Windows(window=16, stride=8))
    for each in given:
        totals.add(each)
    prefix = PrefixConditions(policy="auto", ids=(0,), tokens=("<s>",), told="the first token is predicted from <s>")
    return EvaluationCard.of(
        totals,
        model=ModelConditions(
            name=name,
            kind="GPT",
            parameters=1234,
            weights_sha256="ab" * 32,
            weights_dtype="float32",
            dtype="bfloat16",
            device="cpu",
            step=7,
            context=16,
        ),
        tokenizer=TokenizerConditions(name="a tokenizer", sha256="cd" * 32, vocab_size=3000),
        data=DataConditions(paths=("a.txt", "b.txt"), forms={"texts": 40}, fingerprint="ef" * 32),
        reading=ReadingConditions(context="document", window=16, stride=8, prefix=prefix, end_scored=False),
        making=Making(
            versions={"lmhead": "0"},
            system="Linux",
            processor="a processor",
            device="cpu",
            threads=1,
            date="2026-01-01T00:00:00Z",
            seconds=2.0,
            command="lmhead eval runs/a a.txt b.txt",
        ),
        **more,
    )


def whole_card(seed=0, **options):
    """With everything that there can be."""
    given = documents(seed, **options)
    worst = WorstEntry(document="a.txt, row 1", source="a.txt", tokens=20, nll=9.0, bits_per_byte=2.0, row=0)
    made = card_of(given, worst=(worst,), notes=("a note",), inspect="inspect.html")
    return made.with_intervals(map(DocumentSums.of, given), resamples=200)
