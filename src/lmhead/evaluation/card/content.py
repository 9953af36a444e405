"""Content of a card whatever its form: headlines, and blocks of pairs and tables; for text, Markdown and HTML."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from lmhead.data.rows.reading import counted
from lmhead.evaluation.card.card_fields import CardFields
from lmhead.evaluation.card.figures import ClassFigures, Quantiles
from lmhead.evaluation.card.shown_numbers import NONE, count, figure, interval, share, short_sum, time_taken
from lmhead.labels.targets import Reason
from lmhead.report.reason_words import REASON_WORDS

PERPLEXITY_WARNING: Final = (
    "Perplexity is per token of this tokenizer: with another tokenizer it is another quantity, and is not to be "
    "compared. Bits per byte are."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Headline:
    """One figure."""

    name: str
    value: str
    beside: str = ""  # its interval, or what it is of


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A table under a title; one without columns is of pairs: a name, and what it is."""

    title: str
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()
    left: tuple[int, ...] = (0,)  # columns of text; the others are of numbers
    spare: tuple[int, ...] = ()  # columns that are left out first where there is no room
    key: str = ""  # of what is drawn beside it on the page


def title(card: CardFields) -> str:
    """The model, and the data."""
    paths = card.data.paths
    more = f" and {len(paths) - 3:,} more" if len(paths) > 3 else ""
    return f"{card.model.name} on {', '.join(paths[:3])}{more}" if paths else card.model.name


def headlines(card: CardFields) -> Iterator[Headline]:
    """The figures that come first."""
    of, known = card.figures, card.intervals
    yield Headline(
        name="bits per byte",
        value="none" if of.bits_per_byte is None else figure(of.bits_per_byte),
        beside=of.no_bits or interval(None if known is None else known.bits_per_byte),
    )
    yield Headline(name="nats per token", value=figure(of.nll), beside=interval(None if known is None else known.nll))
    per = "" if of.bytes is None else f" of {count(of.bytes)} bytes"
    yield Headline(
        name="perplexity",
        value="beyond 1e308" if of.perplexity is None else figure(of.perplexity),
        beside=f"of this tokenizer alone: {count(of.tokens)} tokens{per}",
    )
    top = ", ".join(f"{name}: {share(value)}" for name, value in of.top.items())
    yield Headline(name="accuracy", value=share(of.accuracy), beside=f"in the top {top}")
    yield Headline(
        name="calibration error",
        value=share(card.calibration.error, 2),
        beside=f"sure of {share(card.calibration.confidence)} on average, right in {share(of.accuracy)}",
    )
    if card.answers is not None:
        answers = card.answers
        yield Headline(
            name="exact answers",
            value=share(answers.exact / answers.answers),
            beside=f"{count(answers.exact)} of {count(answers.answers)}; first tokens {figure(answers.first_nll)} nats",
        )


def notes(card: CardFields) -> tuple[str, ...]:
    """What has to be said on top: of the data, and of the intervals."""
    known = card.intervals
    of = () if known is None else (known.bits_per_byte or known.nll,)
    return (*card.notes, *(each.note for each in of if each is not None and each.note))


def figures(card: CardFields) -> Iterator[Block]:
    """The blocks of figures."""
    for section in card.sections:
        yield Block(
            title=section.title,
            columns=section.columns,
            rows=section.rows,
            notes=section.lines,
            left=_texts(section.rows),
        )
    yield _sources(card)
    if card.turns:
        yield _classes("By turn", "assistant's turn", card.turns, "turns")
    yield _classes("By position", "tokens before it", card.positions, "positions")
    yield _quantiles(card)
    yield _calibration(card)
    if card.worst:
        yield _worst(card)


def behind(card: CardFields) -> Iterator[Block]:
    """The blocks of what stands behind the figures."""
    yield Block(title="Tokens", rows=tuple(_tokens(card)))
    yield Block(title="How texts were read", rows=tuple(_reading(card)))
    yield Block(title="Model", rows=tuple(_model(card)))
    yield Block(title="Data", rows=tuple(_data(card)))
    yield Block(title="Made with", rows=tuple(_making(card)))


def _texts(rows: tuple[tuple[str, ...], ...]) -> tuple[int, ...]:
    """Columns in which something is no number."""
    width = max(map(len, rows), default=0)
    return tuple(place for place in range(width) if any(not _is_number(row[place]) for row in rows))


def _is_number(text: str) -> bool:
    return not text.strip("0123456789.,+-%e ")


def _sources(card: CardFields) -> Block:
    with_interval = any(interval(each.interval) for each in card.sources)
    rows = []
    for each in card.sources:
        row = (
            each.source,
            count(each.documents),
            count(each.tokens),
            figure(each.nll),
            figure(each.bits_per_byte),
            *([interval(each.interval, short=True) or NONE] if with_interval else []),
            share(each.accuracy),
        )
        rows.append(row)
    level = next((each.interval.level for each in card.sources if each.interval is not None), 0.95)
    columns = ("source", "documents", "tokens", "nats/token", "bits/byte", *([f"{level:.0%}"] if with_interval else []))
    note = "Weighted by their tokens the nats per token, and by their bytes the bits per byte, make the figures above."
    together = sum(each.sources for each in card.sources)
    if together > len(card.sources):
        note += f" {count(together)} sources are shown in {count(len(card.sources))} groups."
    return Block(
        title="By source",
        columns=(*columns, "accuracy"),
        rows=tuple(rows),
        spare=(len(columns), 1),
        notes=(note,) if len(card.sources) > 1 else (),
        key="sources",
    )


def _classes(name: str, what: str, classes: tuple[ClassFigures, ...], key: str) -> Block:
    return Block(
        title=name,
        columns=(what, "tokens", "nats/token", "accuracy"),
        rows=tuple((each.name, count(each.tokens), figure(each.nll), share(each.accuracy)) for each in classes),
        key=key,
    )


def _quantiles(card: CardFields) -> Block:
    shares = card.nll.shares
    rows: list[tuple[str, ...]] = []
    for name, of, whole in (
        ("rank of the token", card.ranks, True),
        ("nats of the token", card.nll, False),
        ("entropy, nats", card.entropy, False),
    ):
        rows.append((name, *_values(of, whole=whole)))
    return Block(
        title="Quantiles over tokens",
        columns=("", *(f"{each:.0%}" for each in shares), "largest"),
        rows=tuple(rows),
        notes=(
            f"Rank: how many tokens were held more probable, 0 where none was; {card.ranks.resolution}. "
            f"Nats and entropy {card.nll.resolution}.",
        ),
    )


def _values(of: Quantiles, *, whole: bool) -> list[str]:
    def told(value: float | None) -> str:
        return "beyond" if value is None else count(round(value)) if whole else f"{value:.2f}"

    return [*map(told, of.values), told(of.largest)]


def _calibration(card: CardFields) -> Block:
    rows = tuple(
        (f"{each.low:.3f}-{each.high:.3f}", count(each.tokens), share(each.confidence), share(each.accuracy))
        for each in card.calibration.bins
        if each.tokens
    )
    return Block(
        title="Calibration",
        columns=("probability", "tokens", "confidence", "accuracy"),
        rows=rows,
        notes=(
            f"Of the most probable token, in {len(card.calibration.bins)} bins of equal width; empty ones are left "
            "out. The error is the mean over tokens of |accuracy - confidence| of their bins (Guo et al. 2017).",
        ),
        key="calibration",
    )


def _worst(card: CardFields) -> Block:
    return Block(
        title="Hardest documents",
        columns=("document", "tokens", "nats/token", "bits/byte"),
        rows=tuple(
            (each.document, count(each.tokens), figure(each.nll), figure(each.bits_per_byte)) for each in card.worst
        ),
        key="worst",
    )


def _tokens(card: CardFields) -> Iterator[tuple[str, str]]:
    counts, of = card.counts, card.figures
    yield "all", count(counts.tokens)
    yield "scored", f"{count(counts.scored)} ({share(counts.scored / counts.tokens)})"
    for name, skipped in counts.skipped.items():
        yield f"skipped: {_reason(name)}", f"{count(skipped)} ({share(skipped / counts.tokens)})"
    yield "bytes", of.no_bits or f"{count(of.bytes or 0)} of raw UTF-8, which the scored tokens stand for"
    empty = f", {count(counts.empty)} of them without a scored token" if counts.empty else ""
    yield "documents", f"{count(counts.documents)}{empty}, the longest has {count(counts.longest)} tokens"
    windowed = f"; {count(counts.windowed)} documents are longer than a window" if counts.windowed else ""
    yield "positions read", f"{count(counts.positions)}{windowed}"
    yield "summed nll", f"{of.nll_sum:,.4f} nats"
    yield "aggregation", card.reading.aggregation


def _reason(name: str) -> str:
    if name == "scaffold":
        return "template, prefix"
    known = REASON_WORDS.get(int(Reason[name.upper()])) if name.upper() in Reason.__members__ else None
    return name if known is None else known.name


def _reading(card: CardFields) -> Iterator[tuple[str, str]]:
    how = card.reading
    yield "context", {"document": "each document alone", "stream": "documents end to end"}.get(how.context, how.context)
    yield "window", f"{count(how.window)} tokens"
    if how.stride == how.window:
        yield "stride", f"{count(how.stride)} tokens: windows do not overlap"
    else:
        least = how.window - how.stride
        yield (
            "stride",
            f"{count(how.stride)} tokens: behind the first window each token has {count(least)} or more before it",
        )
    ids = ", ".join(f"{token} ({number})" for number, token in zip(how.prefix.ids, how.prefix.tokens, strict=True))
    if "texts" in card.data.forms or not card.data.forms:
        yield "prefix", f"{how.prefix.policy}: {ids or 'nothing'}; {how.prefix.told}"
        yield "end of text", "scored; it has no bytes" if how.end_scored else "not scored"
    if card.answers is not None:
        yield "of conversations", "what training scores of them, the end of an answer too, which has no bytes"
    if card.intervals is not None:
        yield (
            "intervals",
            f"bootstrap over documents, drawn {count(card.intervals.resamples)} times, seed {card.intervals.seed}",
        )


def _model(card: CardFields) -> Iterator[tuple[str, str]]:
    model, tokenizer = card.model, card.tokenizer
    step = "" if model.step is None else f", step {count(model.step)}"
    yield "model", f"{model.name}{step}"
    yield "class", f"{model.kind}, {short_sum(model.parameters)} parameters ({count(model.parameters)})"
    if model.weights_sha256 is not None:
        yield "weights sha256", model.weights_sha256
    yield "weights", model.weights_dtype
    yield "computed in", f"{model.dtype}, on {model.device}"
    yield "its context", f"{count(model.context)} tokens"
    yield "tokenizer", f"{tokenizer.name}, {count(tokenizer.vocab_size)} ids"
    yield "tokenizer sha256", tokenizer.sha256


def _data(card: CardFields) -> Iterator[tuple[str, str]]:
    data = card.data
    yield "data", ", ".join(data.paths) or "given in Python"
    yield "documents", ", ".join(f"{name} {count(number)}" for name, number in data.forms.items()) or "none"
    if data.fingerprint is not None:
        yield "fingerprint", data.fingerprint
    if data.refused:
        yield "rows left out", ", ".join(f"{name} {count(number)}" for name, number in data.refused.items())
    if data.lost:
        yield "texts lost", f"{count(data.lost)} documents do not come back from their tokens"
    if data.limit is not None:
        yield "limit", f"the first {count(data.limit)} documents; there are more"


def _making(card: CardFields) -> Iterator[tuple[str, str]]:
    made = card.making
    yield "versions", ", ".join(f"{name} {number}" for name, number in made.versions.items())
    yield "machine", f"{made.processor}, {made.system}, {made.device}, {counted(made.threads, 'thread')}"
    yield "date", made.date
    yield "took", time_taken(made.seconds, card.counts.scored)
    if made.command is not None:
        yield "command", made.command
