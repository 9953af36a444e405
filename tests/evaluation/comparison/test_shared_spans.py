"""Two tokenizers aligned at bytes: against a loop over bytes, and no loss is lost."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.inspection.tokens.tokenizers_of_kinds import byte_fallback, byte_level, metaspace

from lmhead.errors import ArgumentError
from lmhead.evaluation.comparison.shared_spans import shared_spans
from lmhead.evaluation.comparison.span_comparison import POSITIONS, SpanSums
from lmhead.evaluation.documents.text_tokens import TextTokenizer
from lmhead.evaluation.scores.byte_losses import BYTE_KINDS, ByteLosses, byte_kinds

TEXT = "the end of the thing, the thing of the end: 3 of the end"


def losses(utf8, ends, seed=0):
    ends = np.asarray(ends, np.int64)
    return ByteLosses(ends=ends, nll=np.random.default_rng(seed).random(len(ends)), kinds=byte_kinds(utf8, ends))


def by_hand(size, first, second):
    """[(end, nats of the first, of the second)], byte by byte."""
    found, sums = [], [0.0, 0.0]
    for byte in range(size + 1):
        for which, each in enumerate((first, second)):
            sums[which] += sum(nll for end, nll in zip(each.ends, each.nll, strict=True) if end == byte)
        if byte and byte in first.ends and byte in second.ends:
            found.append((byte, *sums))
            sums = [0.0, 0.0]
    assert sums == [0.0, 0.0]
    return found


def kind_by_hand(text):
    for character in text:
        if character not in b" \t\n\r\v\f\x1c\x1d\x1e\x1f":
            if character >= 128:
                return "beyond ASCII"
            as_text = chr(character)
            return "letters" if as_text.isalpha() else "digits" if as_text.isdigit() else "punctuation"
    return "white space"


def check(utf8, first, second):
    spans = shared_spans(first, second)
    expected = by_hand(len(utf8), first, second)
    assert spans.ends.tolist() == [end for end, *_ in expected]
    np.testing.assert_allclose(spans.first, [nll for _, nll, _ in expected], rtol=1e-12)
    np.testing.assert_allclose(spans.second, [nll for *_, nll in expected], rtol=1e-12)
    starts = [0, *spans.ends[:-1].tolist()]
    kinds = [kind_by_hand(utf8[start:end]) for start, end in zip(starts, spans.ends, strict=True)]
    assert [BYTE_KINDS[kind] for kind in spans.kinds] == kinds
    return spans


@st.composite
def cut_twice(draw):
    """Bytes, and two ways to cut them; tokens without bytes among them."""
    utf8 = draw(st.binary(min_size=1, max_size=30) | st.text("ab 1,\n\u00e9", min_size=1, max_size=20).map(str.encode))
    cut = st.lists(st.integers(0, len(utf8)), max_size=20).map(lambda ends: [*sorted(ends), len(utf8)])
    return utf8, draw(cut), draw(cut)


@given(cut_twice())
def test_spans_are_those_of_a_loop_over_bytes(drawn):
    utf8, first, second = drawn
    check(utf8, losses(utf8, first), losses(utf8, second, 1))


@pytest.mark.parametrize(
    ("one", "other"), [(byte_level, byte_fallback), (byte_level, metaspace), (metaspace, byte_level)]
)
def test_spans_of_real_tokenizers_end_where_tokens_of_both_do(one, other):
    utf8 = TEXT.encode()
    sides = []
    for seed, tokenizer in enumerate((one(), other())):
        (made,) = TextTokenizer(tokenizer)([TEXT])
        assert made.utf8 == utf8
        sides.append(losses(utf8, made.ends, seed))
    spans = check(utf8, *sides)
    assert 1 < len(spans.ends) <= min(len(each.nll) for each in sides)


def test_the_other_way_around_sides_are_swapped():
    utf8 = TEXT.encode()
    a, b = losses(utf8, [3, 7, 20, len(utf8)]), losses(utf8, [3, 8, 20, 21, len(utf8)], 1)
    one, two = shared_spans(a, b), shared_spans(b, a)
    assert one.first.tolist() == two.second.tolist()
    assert one.kinds.tolist() == two.kinds.tolist()


def test_other_bytes_are_refused():
    with pytest.raises(ArgumentError, match="must be of the same bytes, one or more, got 3 bytes and 4"):
        shared_spans(losses(b"abc", [3]), losses(b"abcd", [2, 4]))


def test_sums_over_spans_are_the_documents_by_position_and_by_kind():
    rng, sums, total = np.random.default_rng(0), SpanSums(), np.zeros(3)
    for seed in range(12):
        utf8 = rng.choice(np.frombuffer(b"abc 12,.", np.uint8), 700).tobytes()
        cuts = [np.unique([*rng.integers(1, 700, count), 700]) for count in (90, 200)]
        sides = [losses(utf8, ends, seed + 20 * at) for at, ends in enumerate(cuts)]
        sums.add(*sides)
        total += [700, sides[0].nll.sum(), sides[1].nll.sum()]
    sums.add(None, sides[0])
    made = sums.comparison(resamples=99)
    assert made.unaligned == 1
    assert made.bytes == 12 * 700
    assert [each.name for each in made.positions] == ["0 to 64", "64 to 256", "256 to 1,024"]
    assert POSITIONS[1] == 64
    for places in (made.positions, made.kinds):
        assert sum(each.bytes for each in places) == total[0]
        bits = [sum(each.bytes * value(each) for each in places) * np.log(2) for value in (_first, _second)]
        np.testing.assert_allclose(bits, total[1:], rtol=1e-12)
    assert made.second_better + made.first_better == made.spans


def _first(each):
    return each.first


def _second(each):
    return each.second


def test_nothing_aligned_is_no_comparison():
    sums = SpanSums()
    sums.add(None, None)
    assert sums.comparison() is None
