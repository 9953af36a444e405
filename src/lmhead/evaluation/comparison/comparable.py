"""Whether two evaluations may be compared, what of them is left out, and what has to be said beside the figure."""

from collections.abc import Sequence
from typing import Final

from lmhead.errors import ArgumentError
from lmhead.evaluation.comparison.comparison import LeftOut
from lmhead.evaluation.comparison.figure import Figure
from lmhead.evaluation.comparison.matched_documents import MatchedDocuments
from lmhead.evaluation.comparison.scored_documents import ScoredDocuments
from lmhead.options import option
from lmhead.shown import shown_line

_NAMED: Final = 3  # documents of those that are left out
_READING: Final = {
    "context": "what stands before a text ({} and {})",
    "window": "how many tokens are read at a time ({} and {})",
    "stride": "how far each next window ends further on ({} and {} tokens)",
    "prefix": "what the first token is predicted from ({} and {})",
}


def require_comparable(first: ScoredDocuments, second: ScoredDocuments, figure: Figure) -> None:
    """Raise ArgumentError where the figure means different things on the two sides."""
    if not figure.of_bytes and not _same_tokenizer(first, second):
        known = first.tokenizer and second.tokenizer
        got = "two tokenizers" if known else "tokenizers of which it is not known whether they are the same"
        raise ArgumentError(
            f"{option('figure')} must be bits_per_byte for models with different tokenizers, got {figure.name} of "
            f"{got}: a token of one is not a token of the other; bits per byte are of the same bytes for both"
        )
    ends = first.reading.get("end"), second.reading.get("end")
    if None not in ends and ends[0] != ends[1]:
        scored, other = (first, second) if ends[0] else (second, first)
        raise ArgumentError(
            f"{option('end')} must be the same in both evaluations, got ends of texts scored for "
            f"{shown_line(scored.name)} and not for {shown_line(other.name)}: evaluate both in one way"
        )


def left_out(
    first: ScoredDocuments, second: ScoredDocuments, matched: MatchedDocuments, *, only_shared: bool
) -> tuple[LeftOut, ...]:
    """What is not compared, named and counted.

    Raises:
        ArgumentError: nothing is left to compare, or the two were given different data.
    """
    one, other = shown_line(first.name), shown_line(second.name)
    only = [
        _left(f"only {one} has them", first, matched.only_first),
        _left(f"only {other} has them", second, matched.only_second),
    ]
    unknown = [
        _left(f"their bytes are not known for {shown_line(side.name)}{_why(side)}", side, places)
        for side, places in ((first, matched.unknown_first), (second, matched.unknown_second))
    ]
    if not matched.pairs:
        blind = next((each for each in unknown if each.count), None)
        if blind is not None:
            remedy = (
                f"compare by {option('figure', 'perplexity')}" if _same_tokenizer(first, second) else _TOKENIZER_REMEDY
            )
            raise ArgumentError(f"two evaluations must be of known bytes, got {_said(blind)}: {remedy}")
        got = f"{len(first.documents):,} documents of {one}, {len(second.documents):,} of {other}"
        remedy = f"evaluate both on the same data{_prefix_remedy(first, second)}"
        raise ArgumentError(f"two evaluations must be of the same texts, got none that both have ({got}): {remedy}")
    if any(each.count for each in only) and not only_shared and not _same_data(first, second):
        said = "; ".join(_said(each) for each in only if each.count)
        raise ArgumentError(
            f"two evaluations must be of the same data, got {said}: evaluate both on the same data, or "
            f"{option('only_shared', True)} compares the {len(matched.pairs):,} that both have"
        )
    return tuple(each for each in (*only, *unknown) if each.count)


def no_perplexity(first: ScoredDocuments, second: ScoredDocuments, matched: MatchedDocuments) -> str:
    """Why perplexities are not compared; "" where they may be."""
    if not first.tokenizer or not second.tokenizer:
        return "whether the tokenizers are the same is not known: perplexities are per token"
    if first.tokenizer != second.tokenizer:
        return "the tokenizers differ, and perplexities are per token: bits per byte are comparable"
    if any(first.documents[at].tokens != second.documents[there].tokens for at, there in matched.pairs):
        return "the same tokenizer was used differently: documents have other numbers of scored tokens"
    return ""


def reading_notes(first: ScoredDocuments, second: ScoredDocuments) -> tuple[str, ...]:
    """How the two were read differently: the difference is of that too."""
    notes = []
    for name, words in _READING.items():
        one, other = first.reading.get(name), second.reading.get(name)
        if one is not None and other is not None and one != other:
            notes.append(f"the two differ in {words.format(shown_line(str(one)), shown_line(str(other)))} as well")
    return tuple(notes)


_TOKENIZER_REMEDY: Final = (
    "its tokens do not give the text back, and without bytes two tokenizers have nothing in common; compare models "
    "whose tokenizers do"
)


def _left(why: str, side: ScoredDocuments, places: Sequence[int]) -> LeftOut:
    return LeftOut(why=why, count=len(places), names=tuple(side.documents[place].name for place in places[:_NAMED]))


def _said(left: LeftOut) -> str:
    names = ", ".join(map(shown_line, left.names))
    more = ", ..." if left.count > len(left.names) else ""
    return f"{left.count:,} document{'s' * (left.count != 1)} ({names}{more}), as {left.why}"


def _why(side: ScoredDocuments) -> str:
    return f" ({shown_line(side.no_bytes)})" if side.no_bytes else ""


def _same_tokenizer(first: ScoredDocuments, second: ScoredDocuments) -> bool:
    return bool(first.tokenizer) and first.tokenizer == second.tokenizer


def _same_data(first: ScoredDocuments, second: ScoredDocuments) -> bool:
    return first.data is not None and first.data == second.data


def _prefix_remedy(first: ScoredDocuments, second: ScoredDocuments) -> str:
    """Where a text's first token is not scored, its bytes are not counted, and other tokenizers count other ones."""
    if "none" not in (first.reading.get("prefix"), second.reading.get("prefix")):
        return ""
    return f", with {option('prefix', 'bos')} or eos: without a prefix a text's first token is not scored"
