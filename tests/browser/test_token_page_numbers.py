"""Every figure of the summary, for records drawn at random, against float64 over the record's own columns."""

import math
import re
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
from tests.browser.token_records import Writer, pieces_of
from tests.inspection.tokens.tokenizers_of_kinds import TEXT, byte_fallback, byte_level

import lmhead
from lmhead import Example
from lmhead.inspection.tokens.token_text import TokenText
from lmhead.labels.targets import Reason
from lmhead.record.record import Record
from lmhead.record.token_row import Span, TokenRow, TokenScores
from lmhead.report.token_page import token_page

WORDS = pieces_of(" the of and to in a is that for it as was with be by on not he his but at are this have from or had")
Item = TypeVar("Item")
UNTRAINED = (Reason.USER, Reason.OVERLAP, Reason.ZERO_WEIGHT, Reason.SCAFFOLD)
ROLES = ("user", "assistant", "tool")


@dataclass(frozen=True)
class Told:
    """One token that something predicts, as the record has it."""

    row: int
    document: int  # among all documents, -1 in padding
    source: str
    role: str | None
    place: int  # in its document, by the record's positions
    trained: bool
    weight: float
    target: int
    nll: float
    other: float
    rank: int
    top: tuple[tuple[int, float], ...]


def drawn(seed: int, *, two: bool = False) -> Record:
    """Rows of several documents, windows that go on, padding, weights, targets behind the row, unscored corners."""
    writer, random = Writer(seed=seed), np.random.default_rng(seed)
    rows = []
    for number in range(int(random.integers(1, 5))):
        T = int(random.integers(2, 160))
        ids = np.array(writer.ids([WORDS[at] for at in random.integers(0, len(WORDS), T)]))
        edges = np.sort(random.choice(np.arange(1, T), min(T - 1, int(random.integers(0, 4))), replace=False))
        document = np.searchsorted(edges, np.arange(T), side="right")
        padding = int(random.integers(0, 6)) if random.random() < 0.5 else 0
        document[T - min(padding, T - 1) :] = -1 if padding else document[T - 1 :][0]
        behind = random.random() < 0.5 and not padding  # the last target stands behind the row
        following = np.append(ids[1:], writer.ids([WORDS[0]]) if behind else [-100])
        known = np.append(document[1:] == document[:-1], behind) & (document >= 0)
        trained = known & (random.random(T) < 0.7)
        reason = np.where(trained, 0, random.choice(list(map(int, UNTRAINED)), T))
        reason[~known] = int(Reason.DOCUMENT_BOUNDARY)
        windows = random.random() < 0.5  # of documents that began before
        position = np.concatenate([np.arange(n) + random.integers(0, 900) for n in run_lengths(document)])
        spans, at = [], 0
        while at < T and random.random() < 0.9:
            stop = min(T, at + int(random.integers(1, 30)))
            spans.append(Span(start=at, stop=stop, role=str(random.choice(ROLES))))
            at = stop + int(random.integers(0, 3))
        documents = int(document.max()) + 1
        row = TokenRow(
            ids=ids,
            targets=np.where(trained, following, -100),
            reason=reason.astype(np.uint8),
            weight=random.choice([0.25, 1.0, 3.0], T).astype(np.float32) * trained if random.random() < 0.5 else None,
            document=document,
            position=position if windows else None,
            spans=tuple(spans),
            names=tuple(f"{number}.txt, line {each}" for each in range(documents)),
            sources=tuple(str(random.choice(["books", "web"])) for _ in range(documents)),
            scores=writer.scores(following, known),
        )
        against = writer.scores(following, known) if two else None
        rows.append(replace(row, against=against))
    names = ["runs/first", "runs/other"] if two else ["runs/first"]
    record = writer.record(rows, models=names)
    return Record(**{name: getattr(record, name) for name in ("header", "vocabulary")}, rows=list(map(read_back, rows)))


def run_lengths(document: Any) -> list[int]:
    edges = [0, *(np.flatnonzero(np.diff(document)) + 1).tolist(), len(document)]
    return np.diff(edges).tolist()


def read_back(row: TokenRow) -> TokenRow:
    """As a file of it gives it: the digits that the page has."""
    return TokenRow.of_line(row.line())


def told(record: Record) -> list[Told]:
    """Every token of the record, the one behind a row included, but for padding that is not trained."""
    found, before = [], 0
    for number, row in enumerate(record.rows):
        T = len(row.ids)
        assert row.document is not None
        runs = np.repeat(np.arange(len(run_lengths(row.document))), run_lengths(row.document))
        roles: list[str | None] = [None] * T
        for span in row.spans:
            roles[span.start : span.stop] = [span.role] * (span.stop - span.start)
        for at in range(T + int(row.reason[-1] == 0)):
            inside = min(at, T - 1)
            own = int(row.document[inside])
            trained = at > 0 and row.reason[at - 1] == 0
            if own < 0 and not trained:
                continue
            begin = int(np.flatnonzero(runs == runs[inside])[0])
            place = at - begin if row.position is None else int(row.position[inside]) + at - inside
            scores, other = row.scores, row.against
            assert scores is not None
            assert not isinstance(other, tuple)
            found.append(
                Told(
                    row=number,
                    document=before + own,
                    source=row.sources[own],
                    role=roles[at] if at < T else None,
                    place=place,
                    trained=bool(trained),
                    weight=1.0 if row.weight is None or not at else float(row.weight[at - 1]),
                    target=int(row.targets[at - 1]) if at else -100,
                    nll=float(scores.nll[at - 1]) if at else math.nan,
                    other=math.nan if other is None or not at else float(other.nll[at - 1]),
                    rank=-1 if scores.rank is None or not at else int(scores.rank[at - 1]),
                    top=alternatives(scores, at - 1) if at else (),
                )
            )
        before += int(row.document.max()) + 1
    return found


def alternatives(scores: TokenScores, at: int) -> tuple[tuple[int, float], ...]:
    assert scores.top_ids is not None
    assert scores.top_logprobs is not None
    pairs = zip(scores.top_ids[at].tolist(), scores.top_logprobs[at].tolist(), strict=True)
    return tuple((token, logprob) for token, logprob in pairs if token >= 0 and math.isfinite(logprob))


def nats(value: float) -> str:
    if value == 0 or abs(value) >= 0.001:
        return f"{value:.4f}"
    mantissa, exponent = f"{value:.2e}".split("e")
    return f"{mantissa}e{int(exponent):+d}"


def percent(p: float) -> float:
    return float(f"{100 * p:.3g}")


def share(part: int, whole: int) -> str:
    if not part:
        return "0 %"
    value = 100 * part / whole
    if value < 1:
        return "< 1 %"
    return "> 99 %" if value > 99 and part < whole else f"{math.floor(value + 0.5)} %"


def mean_of(tokens: list[Told]) -> str:
    scored = [each.nll for each in tokens if each.trained and not math.isnan(each.nll)]
    return nats(math.fsum(scored) / len(scored)) if scored else ""


def table(page: Any, heading: str) -> dict[str, list[str]]:
    """First cell -> the other cells, of the table below a heading of the summary; of the first table for none."""
    rows = page.evaluate(
        """heading => {
          const panel = document.getElementById("tokens-panel");
          const head = heading && [...panel.querySelectorAll("h4")].find((each) => each.textContent === heading);
          const table = heading ? head?.nextElementSibling : panel.querySelector("table");
          const rows = [...(table?.querySelectorAll("tbody tr") ?? [])];
          return rows.map((row) => [...row.cells].map((cell) => cell.textContent));
        }""",
        heading,
    )
    return {first: rest for first, *rest in rows}


def grouped(tokens: Iterable[Item], key: Callable[[Item], Any]) -> dict[Any, list[Item]]:
    groups = defaultdict(list)
    for each in tokens:
        groups[key(each)].append(each)
    return dict(groups)


def cells(tokens: list[Told]) -> list[str]:
    trained = sum(each.trained for each in tokens)
    return [f"{len(tokens):,}", share(trained, len(tokens)), mean_of(tokens)]


@pytest.fixture
def panel_of(open_page: Any, tmp_path: Path) -> Callable[[Record], Any]:
    def shown(record: Record) -> Any:
        (tmp_path / "page.html").write_text(token_page(record), encoding="utf-8")
        page = open_page(tmp_path / "page.html").page
        page.wait_for_selector("#tokens-panel table")
        return page

    return shown


@pytest.mark.parametrize("seed", range(8))
def test_the_summary_s_figures_are_those_of_float64(panel_of: Any, seed: int) -> None:
    record = drawn(seed, two=bool(seed % 2))
    page, tokens = panel_of(record), told(record)
    learnt = [each for each in tokens if each.trained]
    totals = {name: value[0] for name, value in table(page, "").items()}
    assert totals["trained tokens"] == f"{len(learnt):,}"
    if not learnt:
        return
    nll = [each.nll for each in learnt]
    mean = math.fsum(nll) / len(nll)
    assert totals["mean loss, nats"] == nats(mean)
    assert totals["perplexity"] == nats(math.exp(mean))
    assert percent_in(totals["first choice right"]) == percent(
        sum(each.top[0][0] == each.target for each in learnt) / len(learnt)
    )
    weights = [each.weight for each in learnt]
    if any(weight != 1 for weight in weights):
        weighted = math.fsum(weight * each for weight, each in zip(weights, nll, strict=True)) / math.fsum(weights)
        assert totals["mean by weight, nats"] == nats(weighted)
    else:
        assert "mean by weight, nats" not in totals
    if seed % 2:
        other = math.fsum(each.other for each in learnt) / len(learnt)
        assert totals["runs/other, mean loss"] == nats(other)
        assert totals["difference"] == f"{mean - other:+.4f}"

    roles = table(page, "Trained, by role")
    for role, own in grouped(tokens, lambda each: each.role).items() if roles else ():
        assert roles[role or "between messages"] == cells(own)
    sources = grouped(tokens, lambda each: each.source)
    if len(sources) > 1:
        assert table(page, "By source") == {source: cells(own) for source, own in sources.items()}
    documents = grouped(tokens, lambda each: each.document)
    shown = table(page, "Documents, worst first")
    if len(documents) > 1:
        assert len(shown) == min(12, len(documents))
        names = [name for row in record.rows for name in row.names]
        for name, values in shown.items():
            assert values == cells(documents[names.index(name)])


@pytest.mark.parametrize("seed", range(8))
def test_the_summary_s_charts_are_those_of_float64(panel_of: Any, seed: int) -> None:
    record = drawn(seed)
    page = panel_of(record)
    learnt = [each for each in told(record) if each.trained]
    titles = page.eval_on_selector_all("#tokens-panel svg title", "all => all.map((each) => each.textContent)")
    bars: dict[int, int] = defaultdict(int)
    for each in learnt:
        bars[min(23, int(each.nll / 0.5))] += 1
    for bar in range(24) if learnt else ():
        low, high = (f"{edge:g}" for edge in (bar / 2, bar / 2 + 0.5))
        tokens = f"{bars[bar]:,} token{'s' * (bars[bar] != 1)}"
        until = "and more" if bar == 23 else f"to {high}"
        assert f"{low} {until} nats: {tokens}, {share(bars[bar], len(learnt))}" in titles

    edges = [0, 16, 64, 256, 1024, 4096]  # of the position that predicts, as in an evaluation's classes
    bands = grouped(learnt, lambda each: bisect_right(edges, each.place - 1))
    for band, own in bands.items() if len(bands) > 1 else ():
        name = f"{edges[band - 1]}-{edges[band] - 1}"
        assert f"{name}: {mean_of(own)} nats, {len(own):,} token{'s' * (len(own) != 1)}" in titles

    claims = [(math.exp(logprob), token == each.target) for each in learnt for token, logprob in each.top]
    bins = grouped(claims, lambda claim: min(9, int(claim[0] * 10)))
    found = [title for title in titles if title.startswith("claimed ")]
    assert len(found) == len(bins)
    for title, (_, own) in zip(found, sorted(bins.items()), strict=True):
        claimed, right, count = re.fullmatch(r"claimed (.*), right (.*), (.*) alternatives", title).groups()  # type: ignore[union-attr]
        assert percent_in(claimed) == pytest.approx(percent(math.fsum(p for p, _ in own) / len(own)))
        assert percent_in(right) == pytest.approx(percent(sum(hit for _, hit in own) / len(own)))
        assert count == f"{len(own):,}"
    error = sum(abs(math.fsum(p for p, _ in own) - sum(hit for _, hit in own)) for own in bins.values())
    if claims:
        caption = page.locator("#tokens-panel", has_text="claimed and true").inner_text()
        said = re.search(r"of ([\d,]+) alternatives; claimed and true differ by (\S+) %", caption)
        assert said is not None
        assert said[1] == f"{len(claims):,}"
        assert float(said[2]) == pytest.approx(percent(error / len(claims)))

    worst = page.locator("#tokens-panel .worst").last.locator(".nats").all_inner_texts() if learnt else []
    assert worst == [f"{value:.2f}" for value in sorted((each.nll for each in learnt), reverse=True)[:30]]


def percent_in(text: str) -> float:
    return float(text.removesuffix(" %"))


@pytest.mark.parametrize("seed", range(3))
def test_what_the_filters_keep_is_summed_alone(panel_of: Any, seed: int) -> None:
    record = drawn(20 + seed, two=True)
    page, tokens = panel_of(record), told(record)
    keeps: list[tuple[str, str, Callable[[Told], bool]]] = [
        ("source", "web", lambda each: each.source == "web"),
        ("role", "assistant", lambda each: each.role == "assistant"),
        ("reason", "trained", lambda each: each.trained),
        ("above", "1.5", lambda each: each.nll > 1.5),
    ]
    for name, value, keep in keeps:
        if page.is_visible("#tokens-clear"):
            page.click("#tokens-clear")
        if name == "above":
            page.fill("#tokens-above", value)
        elif (
            page.locator(f"#tokens-{name}").is_visible()
            and page.locator(f"#tokens-{name} option", has_text=value).count()
        ):
            page.select_option(f"#tokens-{name}", label=value)
        else:
            continue
        learnt = [each for each in tokens if each.trained and keep(each)]
        page.locator(
            "#tokens-panel table", has_text=re.compile(f"trained tokens{len(learnt):,}(?!\\d)")
        ).first.wait_for()
        totals = {first: rest[0] for first, rest in table(page, "").items()}
        if learnt:
            mean, other = (math.fsum(getattr(each, of) for each in learnt) / len(learnt) for of in ("nll", "other"))
            assert totals["mean loss, nats"] == nats(mean)
            assert totals["runs/other, mean loss"] == nats(other)


def test_what_is_no_number_is_no_figure_and_is_said(panel_of: Any) -> None:
    """A loss that is infinite, an alternative of no probability, a model that knows nothing any more."""
    writer = Writer()
    row = writer.row([(WORDS[:12], Reason.SCORED, None)])
    assert row.scores is not None
    assert row.scores.top_ids is not None
    assert row.scores.top_logprobs is not None
    nll, top = row.scores.nll.copy(), row.scores.top_logprobs.copy()
    nll[2] = math.inf
    nll[5] = math.nan
    top[5] = math.nan
    top[7, 2:] = -math.inf
    scores = replace(row.scores, nll=nll, top_logprobs=top)
    page = panel_of(writer.record([replace(row, scores=scores)], models=["broken"]))
    totals = {name: value[0] for name, value in table(page, "").items()}
    finite = nll[:-1][np.isfinite(nll[:-1])]
    assert totals["trained tokens"] == "11"
    assert totals["of these without a finite loss, left out below"] == "2"
    assert totals["mean loss, nats"] == nats(math.fsum(finite) / 9)
    assert f"of {5 * 9 - 3} alternatives" in page.inner_text("#tokens-panel")
    page.hover("#tokens-flow [data-i='8']")
    assert page.locator("#tokens-token .odds tbody tr").count() in (2, 3)  # the target too, where it is none of the two
    page.hover("#tokens-flow [data-i='6']")
    page.locator("#tokens-token .facts", has_text="d0-t6").first.wait_for()
    assert page.locator("#tokens-token .odds").count() == 0
    assert "NaN" not in page.inner_text("#tokens")


def test_of_equals_the_first_is_the_model_s_choice(panel_of: Any) -> None:
    """As the op's hit, and as greedy decoding: a rank of 0 is both's."""
    ids = np.array([100, 107, 114])
    writer = Writer()
    writer.ids(WORDS[:3])
    scores = TokenScores(
        nll=np.array([math.log(2), math.log(2), math.nan]),
        rank=np.array([0, 0, -1]),
        top_ids=np.array([[100, 107], [114, 107], [-1, -1]]),
        top_logprobs=np.array([[-math.log(2)] * 2, [-math.log(2)] * 2, [math.nan] * 2]),
    )
    reason = np.array([0, 0, int(Reason.END_OF_ROW)], np.uint8)
    row = TokenRow(ids=ids, targets=np.array([107, 114, -100]), reason=reason, scores=scores)
    page = panel_of(writer.record([row], models=["one of two"]))
    assert table(page, "")["first choice right"] == ["50 %"]
    for token, words in ((1, "as likely as the model's first choice"), (2, "0, the model's first choice")):
        page.hover(f"#tokens-flow [data-i='{token}']")
        page.locator("#tokens-token .facts", has_text=f"d0-t{token}").first.wait_for()
        assert words in page.inner_text("#tokens-token")


def test_bits_per_byte_of_two_tokenizers_are_of_the_bytes_that_both_share(panel_of: Any) -> None:
    own, other = byte_level(400), byte_fallback()
    ids = own.encode(TEXT + " the end of the thing<end>").ids
    trained = [place % 11 > 2 for place in range(len(ids))]
    models = [lmhead.GPT(each.get_vocab_size(), 16, 2, 1, 128).eval() for each in (own, other)]
    seen = lmhead.inspect(
        [Example.of(ids, trained=trained)], models[0], tokenizer=own, against=models[1], against_tokenizer=other
    )
    (row,) = seen.rows
    assert row.scores is not None
    text = TokenText.of(own)
    sums = [0.0, 0.0, 0.0]  # bytes, nats of both
    assert isinstance(row.against, tuple)
    for span in row.against:
        places = range(span.start, span.stop)
        if 0 in places or not all(row.targets[place - 1] >= 0 for place in places):
            continue
        sums[0] += sum(len(text.spelled(ids[place]) or b"") for place in places if not text.is_control(ids[place]))
        sums[1] += math.fsum(row.scores.nll[place - 1] for place in places)
        sums[2] += span.nll
    totals = list(table(panel_of(Record.of_lines(seen.lines())), "").items())
    assert ("bytes that both share", [f"{sums[0]:.0f}"]) in totals
    for model, nll in zip(seen.header["models"], sums[1:], strict=True):
        told = dict(totals)[f"{model}, bits per byte"][0]
        assert float(told) == pytest.approx(nll / sums[0] / math.log(2), abs=6e-5)
