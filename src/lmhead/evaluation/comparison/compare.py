"""Paired comparison of evaluations over identical bytes: which model is better, by how much, and how sure that is."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from lmhead.errors import require, require_choice
from lmhead.evaluation.comparison.block_pairs import block_difference, block_pairs
from lmhead.evaluation.comparison.comparable import left_out, no_perplexity, reading_notes, require_comparable
from lmhead.evaluation.comparison.comparison import Comparison
from lmhead.evaluation.comparison.figure import FIGURES
from lmhead.evaluation.comparison.matched_documents import MatchedDocuments, by_bytes, by_tokens, matched_documents
from lmhead.evaluation.comparison.paired_documents import PairedDocuments
from lmhead.evaluation.comparison.scored_documents import ScoredDocuments
from lmhead.evaluation.comparison.sentence import FEWEST
from lmhead.evaluation.comparison.span_comparison import SpanComparison, SpanSums
from lmhead.evaluation.folder.losses_file import LOSSES_FILE, LossesFile
from lmhead.evaluation.intervals.ratio_interval import LEVEL, RESAMPLES
from lmhead.options import option


def compare(
    first: object,
    second: object,
    *,
    figure: str = "bits_per_byte",
    only_shared: bool = False,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
    seed: int = 0,
    spans: SpanComparison | None = None,
) -> Comparison:
    """The second evaluation against the first, document by document; only equal bytes are compared.

        comparison = lmhead.compare("evaluations/a", "evaluations/b")
        print(comparison.sentence)

    Args:
        first, second: what `lmhead.evaluate` gave, folders that `lmhead eval --out` wrote, or lists of DocumentSums.
        figure: bits_per_byte, for any two tokenizers; perplexity (as nats per token) and accuracy are of tokens, and so
            only for models that share a tokenizer.
        only_shared: compare the documents that both have, though they were given different data.
        level: of confidence.
        resamples: of the bootstrap.
        seed: of it.
        spans: where each is better, of whoever has aligned their tokens; None: from the folders, where both keep it.

    Raises:
        ArgumentError: the figure is of tokens and the tokenizers are not the same; the two are not of the same data, or
            of no common text; bytes are not known; ends of texts are scored in one of the two alone.
        ArgumentTypeError, InputError: an evaluation cannot be read.
    """
    require_choice(option("figure"), figure, list(FIGURES))
    chosen = FIGURES[figure]
    one, other = _sides(first, second)
    require_comparable(one, other, chosen)
    matched = matched_documents(one.documents, other.documents, by_bytes if chosen.of_bytes else by_tokens)
    missing = left_out(one, other, matched, only_shared=only_shared)
    pairs = PairedDocuments(
        [(one.documents[at], other.documents[there]) for at, there in matched.pairs],
        chosen,
        level=level,
        resamples=resamples,
        seed=seed,
    )
    blocks = None
    if chosen.of_bytes and (losses := _losses_of_folders(first, second)) is not None:
        if spans is None:
            spans = _spans(losses, matched).comparison(level=level, resamples=resamples, seed=seed)
        if len(pairs) < FEWEST:
            found = block_pairs(one.documents, other.documents, losses, matched)
            blocks = block_difference(found, chosen, level=level, resamples=resamples, seed=seed)
    refusal = no_perplexity(one, other, matched)
    second_better, first_better = pairs.wins()
    return Comparison(
        figure_name=chosen.name,
        first=pairs.side(0, one.name, one.tokenizer),
        second=pairs.side(1, other.name, other.tokenizer),
        difference=pairs.difference(),
        documents=len(pairs),
        second_better=second_better,
        first_better=first_better,
        perplexity_ratio=None if refusal else pairs.perplexity_ratio(),
        no_perplexity=refusal,
        sources=pairs.by_source(),
        sorted_differences=pairs.points(),
        extremes=pairs.extremes(),
        left_out=missing,
        cautions=(*(each.trained_on for each in (one, other) if each.trained_on), *reading_notes(one, other)),
        spans=spans,
        blocks=blocks,
    )


def compare_all(first: object, others: Sequence[object], **options: object) -> list[Comparison]:
    """Each of `others` against the first, as `compare` does, with p adjusted for their number (Holm 1979).

    Raises:
        ArgumentError: as `compare`; there are none.
    """
    require(len(others) > 0, "others", "hold an evaluation", "none")
    return holm([compare(first, each, **options) for each in others])  # type: ignore[arg-type]


def holm(made: Sequence[Comparison]) -> list[Comparison]:
    """The same comparisons as ones made at once: the chance that any of them finds what is not there is that of one."""
    if len(made) < 2:
        return list(made)
    known = sorted((each.difference.p, place) for place, each in enumerate(made) if each.difference.p is not None)
    adjusted, least = {}, 0.0
    for rank, (p, place) in enumerate(known):
        least = max(least, min(1.0, p * (len(known) - rank)))
        adjusted[place] = least
    return [replace(each, of=len(made), p_holm=adjusted.get(place)) for place, each in enumerate(made)]


def _sides(first: object, second: object) -> tuple[ScoredDocuments, ScoredDocuments]:
    """Both, under names that tell them apart."""
    one, other = ScoredDocuments.of(first, name="A"), ScoredDocuments.of(second, name="B")
    if one.name != other.name:
        return one, other
    if isinstance(first, str | Path) and isinstance(second, str | Path) and str(first) != str(second):
        return replace(one, name=_folder_name(first)), replace(other, name=_folder_name(second))
    return replace(one, name=f"{one.name} (A)"), replace(other, name=f"{other.name} (B)")


def _folder_name(folder: str | Path) -> str:
    return Path(folder).name or str(folder)


def _losses_of_folders(first: object, second: object) -> tuple[Path, Path] | None:
    """Where both keep where their tokens end; None: not both do."""
    if not isinstance(first, str | Path) or not isinstance(second, str | Path):
        return None
    one, other = Path(first) / LOSSES_FILE, Path(second) / LOSSES_FILE
    return (one, other) if one.is_file() and other.is_file() else None


def _spans(files: tuple[Path, Path], matched: MatchedDocuments) -> SpanSums:
    sums = SpanSums()
    with LossesFile(files[0]) as one, LossesFile(files[1]) as other:
        for at, there in matched.pairs:
            sums.add(one.of(at), other.of(there))
    return sums
