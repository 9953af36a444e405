"""Sums of documents, made up."""

import numpy as np

from lmhead.evaluation.comparison.scored_documents import ScoredDocuments
from lmhead.evaluation.sums.document_sums import DocumentSums


def sums(n=40, *, seed=0, shift=0.0, noise=0.02, sources=("a",), tokens=1.0):
    """Documents that are the same texts for all seeds of one n; `shift` nats per byte more or less on each."""
    texts, rng = np.random.default_rng(n), np.random.default_rng(seed)
    found = []
    for place in range(n):
        size = int(texts.integers(10, 400))
        own = texts.uniform(0.5, 1.0)
        found.append(
            DocumentSums(
                name=f"texts.jsonl, line {place + 1}",
                source=sources[place % len(sources)],
                digest=f"{place:032x}",
                tokens=max(1, int(size * tokens / 4)),
                nll=float(size * (own + shift + noise * rng.standard_normal())),
                bytes=size,
                hits=int(rng.integers(0, size // 8 + 1)),
            )
        )
    return found


def side(documents, name="A", *, tokenizer="t", data="d", **more):
    return ScoredDocuments(name=name, documents=documents, tokenizer=tokenizer, data=data, **more)
