"""A card holds what the totals say, goes through JSON whole, and says what is wrong with what is none."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from tests.browser.hostile import HOSTILE
from tests.evaluation.card.cards import card_of, documents, whole_card

from lmhead.errors import ArgumentError, InputError
from lmhead.evaluation.card.conditions import Section
from lmhead.evaluation.card.content import PERPLEXITY_WARNING
from lmhead.evaluation.card.evaluation_card import LEAST_DOCUMENTS, EvaluationCard
from lmhead.evaluation.card.shown_numbers import figure
from lmhead.evaluation.sums.document_sums import DocumentSums


def lost(scores):
    return replace(scores, document=replace(scores.document, utf8=None))


def test_figures_are_sums_over_counts():
    given = documents()
    card, scored = card_of(given), [each.nll[each.document.scored] for each in given]
    nll = math.fsum(np.concatenate(scored))
    assert card.figures.nll == pytest.approx(nll / sum(map(len, scored)), rel=1e-13)
    assert card.figures.perplexity == pytest.approx(math.exp(card.figures.nll))
    assert card.figures.bits_per_byte == pytest.approx(nll / math.log(2) / sum(len(d.document.utf8) for d in given))
    assert card.figures.accuracy == sum(each.hit.sum() for each in given) / card.figures.tokens
    ranks = np.concatenate([each.rank[each.document.scored] for each in given])
    assert card.figures.top == {str(k): (ranks < k).sum() / len(ranks) for k in (5, 10, 100)}
    assert card.counts.scored + sum(card.counts.skipped.values()) == card.counts.tokens


def test_weighted_sources_are_the_headline():
    card = card_of(documents())
    assert sum(each.nll * each.tokens for each in card.sources) / card.figures.tokens == pytest.approx(
        card.figures.nll, rel=1e-12
    )
    assert sum(each.bits_per_byte * each.bytes for each in card.sources) / card.figures.bytes == pytest.approx(
        card.figures.bits_per_byte, rel=1e-12
    )


def test_very_many_files_are_shown_by_their_folders_with_their_sums():
    given = documents(count=120)
    named = [
        replace(each, document=replace(each.document, source=f"{'abc'[place % 3]}/{place}.txt"))
        for place, each in enumerate(given)
    ]
    card = card_of(named).with_intervals(map(DocumentSums.of, named), resamples=100)
    assert {each.source: each.sources for each in card.sources} == {"a/": 40, "b/": 40, "c/": 40}
    for each in card.sources:
        own = [scores for scores in named if scores.document.source.startswith(each.source)]
        assert each.nll_sum == pytest.approx(math.fsum(np.nansum(scores.nll) for scores in own), rel=1e-12)
        assert each.bytes == sum(len(scores.document.utf8) for scores in own)
        assert each.interval.low < each.bits_per_byte < each.interval.high
    assert "120 sources are shown in 3 groups" in " ".join(card.text().split())


def test_bits_per_byte_are_not_claimed_where_a_document_does_not_give_its_text_back():
    first, *others = documents()
    card = card_of([lost(first), *others])
    assert card.figures.bits_per_byte is None
    assert "1 of 40 documents do not give their text back" in card.figures.no_bits
    assert sum(each.bits_per_byte is None for each in card.sources) == 1
    assert "do not give their text back" in " ".join(card.text().split())


def test_no_scored_token_is_no_figure_and_says_why():
    with pytest.raises(InputError, match="no token scored: there is no document"):
        card_of([])
    with pytest.raises(InputError, match="no token scored: of 3 tokens in 3 documents none is to be predicted"):
        card_of(documents(count=3, length=1))


@pytest.mark.parametrize("chat", [True, False])
def test_a_card_goes_through_json_whole(tmp_path, chat):
    card = whole_card(chat=chat)
    assert EvaluationCard.from_dict(json.loads(card.json())) == card
    assert EvaluationCard.read(card.save(tmp_path / "card.json")) == card
    assert (card.answers is not None) == bool(card.turns) == chat


def without(card, *path):
    made = inner = json.loads(card.json())
    for name in path[:-1]:
        inner = inner[name]
    del inner[path[-1]]
    return made


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (None, "version 1 at most, got null"),
        ({"evaluation_card": 2}, "version 1 at most, got 2"),
        ({"evaluation_card": True}, "got true"),
        ({"evaluation_card": 1, "odd": 3}, "no field 'odd'"),
        ({"evaluation_card": 1}, "must have the field 'figures', got none"),
    ],
)
def test_what_is_no_card_is_refused_in_one_line(given, said):
    with pytest.raises(InputError, match=said) as caught:
        EvaluationCard.from_dict(given)
    assert "\n" not in str(caught.value)


def test_a_field_that_is_missing_or_of_another_kind_is_named():
    card = whole_card()
    with pytest.raises(InputError, match=r"card\.figures must have the field 'nll'"):
        EvaluationCard.from_dict(without(card, "figures", "nll"))
    wrong = json.loads(card.json())
    wrong["sources"][0]["tokens"] = "many"
    with pytest.raises(InputError, match=r"card\.sources\[0\]\.tokens must be a whole number, got 'many'"):
        EvaluationCard.from_dict(wrong)


def test_files_that_are_no_card_are_refused_in_one_line(tmp_path):
    for text, said in (("{", "no JSON"), ("[1]", "version 1 at most")):
        (tmp_path / "file.json").write_text(text)
        with pytest.raises(InputError, match=said):
            EvaluationCard.read(tmp_path / "file.json")
    with pytest.raises(InputError, match="cannot read"):
        EvaluationCard.read(tmp_path / "none.json")


@pytest.mark.parametrize("suffix", [".json", ".md", ".html", ".txt"])
def test_a_card_is_written_anew_and_nobodys_file_is_written_over(tmp_path, suffix):
    card = whole_card()
    file = tmp_path / f"card{suffix}"
    card.save(file)
    first = file.read_text()
    card.save(file)
    assert file.read_text() == first
    if suffix != ".txt":
        file.write_text("notes of mine")
        with pytest.raises(ArgumentError, match="the card must be a new file"):
            card.save(file)


def test_a_form_that_nobody_knows_is_refused(tmp_path):
    with pytest.raises(ArgumentError, match=r"must end with \.json, \.md, \.html, \.txt, got '\.yaml'"):
        whole_card().save(tmp_path / "card.yaml")


@pytest.mark.parametrize("width", [72, 80, 120])
def test_no_line_is_wider_than_the_terminal(width):
    card = whole_card(chat=True)
    assert max(map(len, card.text(width).splitlines())) <= width
    many = [replace(each, tokens=10**9, documents=10**6, source="a/" * 70) for each in card.sources]
    longer = replace(card, data=replace(card.data, paths=("a/" * 70,)), sources=tuple(many))
    assert max(map(len, longer.text(width).splitlines())) <= width


def test_the_headline_is_how_the_text_begins():
    card = whole_card(chat=True)
    assert card.text().startswith(card.headline())
    assert "exact answers" in card.headline()
    assert "By source" not in card.headline()


@pytest.mark.parametrize("form", ["text", "markdown", "html"])
def test_every_form_has_every_number(form):
    card = whole_card(chat=True)
    shown = getattr(card, form)()
    plain = " ".join(shown.replace("\\", "").split())
    of = card.figures
    assert PERPLEXITY_WARNING in plain
    for number in (of.nll, of.bits_per_byte, of.perplexity, card.answers.first_nll):
        assert figure(number) in plain
    for each in (*card.sources, *card.turns, *card.positions):
        assert f"{each.tokens:,}" in plain
        assert figure(each.nll) in plain
    for count in card.counts.skipped.values():
        assert f"{count:,}" in plain
    for text in ("bfloat16", "auto: <s> (0)", "never a mean of means", "a processor", "2026-01-01", "seed 0", "a note"):
        assert text in plain.replace("&lt;", "<").replace("&gt;", ">")


def test_other_parts_put_their_sections_on_it():
    section = Section(
        title="Against a base", lines=("In all 0.1 nats.",), columns=("what", "nats"), rows=(("KL", "0.1"),)
    )
    card = whole_card().with_(sections=(section,))
    assert EvaluationCard.from_dict(json.loads(card.json())) == card
    for shown in (card.text(), card.markdown(), card.html()):
        assert "Against a base" in shown
        assert "In all 0.1 nats." in shown


def test_text_of_data_becomes_no_markup_and_no_control(tmp_path):
    given = documents()
    hostile = [f"{text}\x1b[2J\n" for text in HOSTILE]
    named = [
        replace(each, document=replace(each.document, source=hostile[place % len(hostile)]))
        for place, each in enumerate(given)
    ]
    card = card_of(named, name="<script>alert(1)</script>\x1b[2J", notes=("</main><img src=x onerror=alert(2)>",))
    assert "\x1b" not in card.text() + card.markdown() + card.html()
    assert "<script>" not in card.html()
    assert "<img" not in card.html()
    assert "<script" not in card.markdown().replace("\\<", "")
    assert EvaluationCard.from_dict(json.loads(card.json())) == card


def test_intervals_hold_the_figure_and_say_where_there_are_too_few_documents():
    card = whole_card()
    assert card.intervals.nll.low < card.figures.nll < card.intervals.nll.high
    assert card.intervals.bits_per_byte.value == pytest.approx(card.figures.bits_per_byte)
    assert not any(each.interval for each in card.sources if each.documents < LEAST_DOCUMENTS)
    assert all(each.interval for each in whole_card(count=120).sources)
    one = whole_card(count=1, length=30)
    assert one.intervals.nll.low is None
    assert one.intervals.nll.note
    assert one.intervals.nll.note in " ".join(one.text().split())


def test_a_terminal_gets_a_hundred_sources_and_every_other_form_all_of_them():
    card = whole_card()
    many = replace(card, sources=tuple(replace(card.sources[0], source=f"from-{n}.jsonl") for n in range(250)))
    assert "from-99.jsonl" in many.text()
    assert "from-100.jsonl" not in many.text()
    assert "150 more: the card as JSON" in many.text()
    assert all("from-249.jsonl" in form for form in (many.json(), many.markdown(), many.html()))
