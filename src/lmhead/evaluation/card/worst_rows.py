"""Hardest documents, token by token: a record and a page as `lmhead inspect` makes them, beside the card."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from lmhead.evaluation.card.conditions import WorstEntry
from lmhead.evaluation.scores.document_scores import DocumentScores
from lmhead.evaluation.sums.worst_documents import KEPT_TOKENS, LEAST, WorstDocument
from lmhead.given.given_model import GivenModel
from lmhead.given.given_tokenizer import GivenTokenizer
from lmhead.inspection.tokens.inspect import TOP, vocabulary_of
from lmhead.inspection.tokens.inspection import Inspection
from lmhead.inspection.tokens.own_rows import example_row
from lmhead.inspection.tokens.scored_rows import scored_rows
from lmhead.record.header import header
from lmhead.record.token_row import TokenRow, TokenScores
from lmhead.training.run.log import TOKENS_FILE

PAGE_FILE: Final = "inspect.html"


def write_worst(
    folder: Path,
    worst: Sequence[WorstDocument],
    given: GivenModel,
    tokenizer: GivenTokenizer | None,
    *,
    title: str,
    top: int = TOP,
) -> tuple[WorstEntry, ...]:
    """Write tokens.jsonl and inspect.html; what the card tells of each document. Of none nothing is written.

    Loss, rank and entropy of scored tokens are the evaluation's; of the others, and what the model held likely instead,
    they are computed here: each document read alone, in float32.

    Args:
        top: so many alternatives at each token; 0: none.

    Raises:
        ArgumentError: a file of one of these names is no record, or no page.
        InputError: the disk refuses.
    """
    if not worst:
        return ()
    rows = [_row(each) for each in worst]
    scores = scored_rows(rows, given, crossing=False, top=top)
    made = [
        replace(row, scores=_with_own(found, each.scores)) for row, found, each in zip(rows, scores, worst, strict=True)
    ]
    seen = Inspection(
        findings=(),
        rows=tuple(made),
        vocabulary=vocabulary_of(made, tokenizer),
        header=header(
            title=title,
            tokenizer=None if tokenizer is None else tokenizer.header(),
            models=[given.name],
            data=sorted({each.scores.document.place.source for each in worst}),
            notes=list(_notes(worst)),
        ),
    )
    seen.record(folder / TOKENS_FILE)
    seen.save(folder / PAGE_FILE)
    return worst_entries(worst, shown=True)


def worst_entries(worst: Sequence[WorstDocument], *, shown: bool) -> tuple[WorstEntry, ...]:
    """What a card tells of each.

    Args:
        shown: they are in the page of tokens, in this order.
    """
    return tuple(
        WorstEntry(
            document=each.sums.name,
            source=each.sums.source,
            tokens=each.sums.tokens,
            nll=each.nll,
            bits_per_byte=each.bits_per_byte,
            row=number if shown else None,
        )
        for number, each in enumerate(worst)
    )


def _row(each: WorstDocument) -> TokenRow:
    return example_row(each.scores.document.example, name=each.sums.name, source=each.sums.source)


def _with_own(found: TokenScores, own: DocumentScores) -> TokenScores:
    """What the evaluation measured, where it did: a record's scores are of the prediction FROM t, its own AT t."""

    def at(column: npt.NDArray[np.generic], missing: float) -> npt.NDArray[np.generic]:
        return np.append(column[1:], np.array([missing], column.dtype))

    known = ~np.isnan(at(own.nll, np.nan))
    assert found.rank is not None
    assert found.entropy is not None
    return replace(
        found,
        nll=np.where(known, at(own.nll, np.nan), found.nll),
        rank=np.where(known, at(own.rank, -1), found.rank).astype(np.int64),
        entropy=np.where(known, at(own.entropy, np.nan), found.entropy).astype(np.float64),
    )


def _notes(worst: Sequence[WorstDocument]) -> list[str]:
    notes = [
        f"the documents that the model finds hardest, by nats per token and by bits per byte in turn; of those with "
        f"{LEAST} scored tokens or more",
        "loss, rank and entropy of scored tokens are the evaluation's; the rest is computed anew, each document read "
        "alone, in float32",
    ]
    if any(each.cut for each in worst):
        notes.append(f"documents are shown to their first {KEPT_TOKENS:,} tokens")
    return notes
