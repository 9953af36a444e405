"""Paired comparison: figures by hand, pairs by digest, what is refused, what may be concluded."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from tests.evaluation.comparison.sums import side, sums

import lmhead
from lmhead.errors import ArgumentError, ArgumentTypeError, InputError
from lmhead.evaluation.comparison.compare import compare, compare_all, holm
from lmhead.evaluation.intervals.ratio_interval import Ratio, ratio_interval

QUICK = {"resamples": 199}


def test_the_difference_is_that_of_the_sums_and_its_interval_that_of_the_pairs():
    a, b = sums(), sums(seed=1, shift=-0.02)
    made = compare(side(a), side(b, "B"), **QUICK)
    d = np.array([(y.nll - x.nll) / math.log(2) for x, y in zip(a, b, strict=True)])
    size = np.array([x.bytes for x in a], float)
    assert made.difference.value == pytest.approx(d.sum() / size.sum(), rel=1e-12)
    alone = ratio_interval(Ratio(numerators=d, denominators=size, kind="difference"), **QUICK)
    assert (made.difference.low, made.difference.high) == pytest.approx((alone.low, alone.high), rel=1e-9)
    assert made.difference.p == alone.p
    assert made.first.value == pytest.approx(sum(x.nll for x in a) / math.log(2) / size.sum(), rel=1e-12)
    assert made.second.value - made.first.value == pytest.approx(made.difference.value, rel=1e-9)
    assert made.second_better == (d < 0).sum()
    assert made.first_better == (d > 0).sum()
    assert made.sorted_differences == pytest.approx(sorted(d / size))
    assert made.relative == pytest.approx(made.difference.value / made.first.value)


def test_the_perplexity_ratio_is_of_nats_per_token():
    a, b = sums(), sums(seed=1, shift=-0.02)
    made = compare(side(a), side(b, "B"), **QUICK)
    tokens = sum(each.tokens for each in a)
    expected = math.exp(sum(y.nll - x.nll for x, y in zip(a, b, strict=True)) / tokens)
    ratio, low, high = made.perplexity_ratio
    assert ratio == pytest.approx(expected)
    assert low < ratio < high
    by_perplexity = compare(side(a), side(b, "B"), figure="perplexity", **QUICK)
    assert math.exp(by_perplexity.difference.value) == pytest.approx(ratio)


def test_paired_intervals_are_narrower_than_those_of_each_side():
    made = compare(side(sums()), side(sums(seed=1), "B"), **QUICK)
    size = np.array([each.bytes for each in sums()], float)
    nll = np.array([each.nll for each in sums()]) / math.log(2)
    alone = ratio_interval(Ratio(numerators=nll, denominators=size), **QUICK)
    assert made.difference.high - made.difference.low < 0.5 * (alone.high - alone.low)


def test_the_order_of_either_side_changes_nothing():
    a, b = sums(sources=("a", "b")), sums(seed=1, sources=("a", "b"))
    rng = np.random.default_rng(0)
    other = [a[at] for at in rng.permutation(len(a))], [b[at] for at in rng.permutation(len(b))]
    one, two = (compare(side(x), side(y, "B"), **QUICK) for x, y in ((a, b), other))
    assert one.difference == two.difference
    assert (one.first, one.second) == (two.first, two.second)
    assert sorted(map(repr, one.sources)) == sorted(map(repr, two.sources))
    assert one.extremes == two.extremes


def test_the_other_way_around_everything_has_the_other_sign():
    a, b = side(sums(sources="ab")), side(sums(seed=1, shift=-0.03, sources="ab"), "B")
    one, two = compare(a, b, **QUICK), compare(b, a, **QUICK)
    assert one.difference == -two.difference
    assert (one.second_better, one.first_better) == (two.first_better, two.second_better)
    assert [each.difference for each in one.sources] == [-each.difference for each in two.sources]
    assert one.verdict == "second"
    assert two.verdict == "first"
    assert one.sentence == two.sentence


def test_an_evaluation_against_itself_is_exactly_0_and_says_so():
    made = compare(side(sums()), side(sums(), "B"), **QUICK)
    assert (made.difference.value, made.difference.low, made.difference.high) == (0, 0, 0)
    assert made.verdict == "equal"
    assert made.sentence == "No difference: B and A give exactly the same figures on 40 documents."


def test_duplicates_are_paired_first_with_first():
    a, b = sums(30), sums(30, seed=1)
    twice = replace(a[3], nll=a[3].nll + 1), replace(b[3], nll=b[3].nll + 5)
    made = compare(side([*a, twice[0]]), side([*b, twice[1]], "B"), **QUICK)
    d = [y.nll - x.nll for x, y in zip([*a, twice[0]], [*b, twice[1]], strict=True)]
    assert made.documents == 31
    assert made.difference.value * made.first.bytes * math.log(2) == pytest.approx(sum(d))
    with pytest.raises(ArgumentError, match=r"1 document \(texts.jsonl, line 4\), as only A has them"):
        compare(side([*a, twice[0]]), side(b, "B", data="other"), **QUICK)


def test_empty_documents_are_no_documents():
    empty = replace(sums(1)[0], digest="empty", tokens=0, nll=0.0, bytes=0, hits=0)
    one, two = (
        compare(side([*sums(), empty]), side(sums(seed=1), "B"), **QUICK),
        compare(side(sums()), side(sums(seed=1), "B"), **QUICK),
    )
    assert one == two


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_an_nll_that_is_not_finite_is_refused_by_name(bad):
    documents = sums(5)
    documents[2] = replace(documents[2], nll=bad)
    with pytest.raises(ArgumentError, match=f"nll of texts.jsonl, line 3 must be finite, got {bad}"):
        compare(side(sums(5)), side(documents, "B"))


def test_documents_of_one_side_are_left_out_where_the_same_data_was_given_and_refused_where_not():
    a, b = sums(), sums(seed=1)
    made = compare(side(a[:-1]), side(b[2:], "B"), **QUICK)
    assert [(left.why, left.count, left.names[0]) for left in made.left_out] == [
        ("only A has them", 2, "texts.jsonl, line 1"),
        ("only B has them", 1, "texts.jsonl, line 40"),
    ]
    assert made.documents == 37
    assert "Not compared, as only B has them: 1 (texts.jsonl, line 40)." in str(made)
    with pytest.raises(ArgumentError, match="only_shared=True compares the 37 that both have"):
        compare(side(a[:-1]), side(b[2:], "B", data="other"))
    shared = compare(side(a[:-1]), side(b[2:], "B", data="other"), only_shared=True, **QUICK)
    assert shared.difference == made.difference


def test_lists_of_sums_are_compared_whose_data_nobody_knows():
    made = compare(sums(), sums(seed=1), **QUICK)
    assert (made.first.name, made.second.name) == ("A", "B")
    assert made.perplexity_ratio is None
    with pytest.raises(ArgumentError, match="only A has them"):
        compare(sums(), sums(seed=1)[1:])


def test_no_common_text_is_refused():
    other = [replace(each, digest=f"x{each.digest}") for each in sums()]
    with pytest.raises(ArgumentError, match="must be of the same texts, got none that both have"):
        compare(side(sums()), side(other, "B"), only_shared=True)
    with pytest.raises(ArgumentError, match="prefix='bos'"):
        compare(side(sums(), reading={"prefix": "none"}), side(other, "B", reading={"prefix": "none"}))


@pytest.mark.parametrize("figure", ["perplexity", "accuracy"])
def test_figures_of_tokens_are_refused_across_tokenizers_with_bits_per_byte_as_remedy(figure):
    for tokenizer in ("u", None):
        with pytest.raises(ArgumentError, match=f"figure must be bits_per_byte .* got {figure} of .*tokenizers"):
            compare(side(sums()), side(sums(seed=1), "B", tokenizer=tokenizer), figure=figure)
    made = compare(side(sums()), side(sums(seed=1, tokens=0.7), "B", tokenizer="u"), **QUICK)
    assert made.perplexity_ratio is None
    assert made.no_perplexity in str(made).replace("\n  ", " ")
    assert made.second.tokens_per_byte < made.first.tokens_per_byte


def test_accuracy_is_better_where_it_is_higher():
    a = sums()
    b = [replace(each, hits=each.hits + 2) for each in a]
    made = compare(side(a), side(b, "B"), figure="accuracy", **QUICK)
    assert made.verdict == "second"
    assert made.second_better == 40
    assert made.difference.value == pytest.approx(80 / sum(each.tokens for each in a))


def test_bytes_that_are_not_known_are_refused_with_the_reason():
    blind = [replace(each, digest=None, bytes=None) for each in sums()]
    with pytest.raises(ArgumentError, match=r"not known for B \(it folds case\): its tokens do not give the text back"):
        compare(side(sums()), side(blind, "B", tokenizer="u", no_bytes="it folds case"))
    with pytest.raises(ArgumentError, match="compare by figure='perplexity'"):
        compare(side(blind), side(blind, "B"))
    made = compare(side(blind), side([replace(each, nll=each.nll - 1) for each in blind], "B"), figure="perplexity")
    assert made.difference.value == pytest.approx(-40 / sum(each.tokens for each in blind))
    assert made.first.tokens_per_byte is None


def test_some_documents_without_bytes_are_left_out_by_name():
    b = sums(seed=1)
    b[0] = replace(b[0], digest=None, bytes=None)
    made = compare(side(sums()), side(b, "B", no_bytes="x"), **QUICK)
    assert [(left.why, left.count) for left in made.left_out] == [
        ("only A has them", 1),
        ("their bytes are not known for B (x)", 1),
    ]


def test_ends_of_texts_are_scored_in_both_or_neither():
    with pytest.raises(ArgumentError, match="end must be the same in both evaluations, got ends of texts scored for A"):
        compare(side(sums(), reading={"end": True}), side(sums(), "B", reading={"end": False}))


def test_other_windows_are_told():
    made = compare(side(sums(), reading={"window": 64}), side(sums(), "B", reading={"window": 128}), **QUICK)
    assert made.cautions == ("the two differ in how many tokens are read at a time (64 and 128) as well",)
    assert made.sentence.endswith("Careful: the two differ in how many tokens are read at a time (64 and 128) as well.")


def test_what_a_model_was_trained_on_stands_in_the_sentence():
    seen = replace(side(sums(seed=1), "B"), trained_on="3 of 40 documents were trained on by B")
    made = compare(side(sums()), seen, **QUICK)
    assert made.sentence.endswith("3 of 40 documents were trained on by B.")


def test_sources_are_told_apart_where_there_are_several():
    a, b = sums(sources=("a", "b")), sums(seed=1, sources=("a", "b"))
    made = compare(side(a), side(b, "B"), **QUICK)
    assert [each.source for each in made.sources] == ["a", "b"]
    alone = compare(side(a[::2]), side(b[::2], "B"), **QUICK)
    assert made.sources[0].difference == alone.difference
    assert alone.sources == ()
    weights = [sum(each.bytes for each in a[start::2]) / made.first.bytes for start in (0, 1)]
    mean = sum(w * each.difference.value for w, each in zip(weights, made.sources, strict=True))
    assert mean == pytest.approx(made.difference.value, rel=1e-12)


def test_what_may_be_concluded_follows_from_the_interval_and_the_number_of_documents():
    clear, unclear = (compare(side(sums()), side(sums(seed=1, shift=s), "B"), **QUICK) for s in (-0.05, 0.0))
    assert clear.verdict == "second"
    assert clear.difference.high < 0
    low, high = (f"{-end:.4f}" for end in (clear.difference.high, clear.difference.low))
    assert clear.sentence == (
        f"B is better: {-clear.difference.value:.4f} bits per byte less (95 % interval {low} to {high}, "
        f"40 documents, paired), {-100 * clear.relative:.1f} % fewer bits; on {clear.second_better} of 40 documents."
    )
    assert unclear.verdict == "undecided"
    assert unclear.sentence.startswith("No difference may be concluded: B has ")
    few = compare(side(sums(3)), side(sums(3, seed=1, shift=-0.3), "B"))
    assert few.verdict == "too few"
    assert few.sentence.startswith("Too few documents (3) to conclude: B has ")
    some = compare(side(sums(10)), side(sums(10, seed=1, shift=-0.3), "B"), **QUICK)
    assert some.sentence.endswith("Careful: only 10 documents: the interval is rough; 20 or more make it dependable.")


def test_one_document_gives_a_value_without_an_interval():
    made = compare(side(sums(1)), side(sums(1, seed=1), "B"))
    assert made.difference.low is None
    assert made.verdict == "too few"
    assert "one document" in made.difference.note


def test_p_of_several_comparisons_is_adjusted_by_holm():
    others = [side(sums(seed=seed, shift=shift), f"B{seed}") for seed, shift in ((1, -0.05), (2, -0.018), (3, 0.0))]
    made = compare_all(side(sums()), others, **QUICK)
    p = [each.difference.p for each in made]
    assert p == sorted(p)
    expected = [min(1, 3 * p[0]), max(min(1, 3 * p[0]), 2 * p[1]), max(3 * p[0], 2 * p[1], p[2])]
    assert [each.p_holm for each in made] == pytest.approx(expected)
    assert "after Holm over 3 comparisons" in made[0].sentence
    assert compare_all(side(sums()), others[:1], **QUICK)[0].p_holm is None


def test_a_difference_that_holm_does_not_leave_is_not_concluded():
    made = compare(side(sums()), side(sums(seed=1, shift=-0.02), "B"))
    assert made.verdict == "second"
    weak = replace(made, difference=replace(made.difference, p=0.03))
    assert [each.verdict for each in holm([weak, weak, weak])] == ["undecided"] * 3


def test_json_holds_everything_and_no_nan():
    made = compare(side(sums(sources="ab")), side(sums(seed=1, sources="ab"), "B"), **QUICK)
    found = json.loads(made.json())
    assert found["sentence"] == made.sentence
    assert found["figure"] == "bits_per_byte"
    assert found["difference"]["low"] == made.difference.low
    assert len(found["sources"]) == 2


def test_what_is_no_evaluation_is_refused(tmp_path):
    with pytest.raises(ArgumentTypeError, match="got int"):
        lmhead.compare(3, sums())
    with pytest.raises(InputError, match="cannot read"):
        lmhead.compare(tmp_path, sums())
    with pytest.raises(ArgumentError, match="figure must be bits_per_byte, perplexity or accuracy"):
        lmhead.compare(sums(), sums(), figure="bits")
    with pytest.raises(ArgumentError, match="others must hold an evaluation"):
        compare_all(sums(), [])


def test_a_source_of_one_document_is_not_listed():
    a, b = sums(sources=("a", "b")), sums(seed=1, sources=("a", "b"))
    a[0], b[0] = (replace(each, source="alone") for each in (a[0], b[0]))
    assert [each.source for each in compare(side(a), side(b, "B"), **QUICK).sources] == ["b", "a"]
