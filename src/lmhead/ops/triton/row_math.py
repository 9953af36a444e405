# mypy: ignore-errors
"""The arithmetic of a row in Triton's language: the twin of logit_transform.py and row_terms.py, formula by formula.

Everything is float32, whatever the products are. Only kernels.py imports it: nobody needs Triton who does not run it.
"""

import triton
import triton.language as tl

LEAST_LOGIT = tl.constexpr(-3.4028234663852886e38)  # finite: -inf - -inf would be NaN
LEAST_MARGIN = tl.constexpr(-1e4)  # row_terms.LEAST: the exponential is 0, and 0 * -inf would be NaN
NAN = tl.constexpr(float("nan"))
INFINITY = tl.constexpr(float("inf"))


@triton.jit
def exact_tanh(x):
    """tanh within two units in the last place for every x: near 0 the quotient of exponentials has lost its digits."""
    size = tl.abs(x)
    vanishing = tl.exp(-2.0 * size)
    far = (1.0 - vanishing) / (1.0 + vanishing)
    square = x * x  # tanh(x) / x to 2^-26 for |x| < 0.5, a Chebyshev fit in x^2
    series = -0.006942941750409142 * square + 0.02147068302533289
    series = series * square - 0.05393346914596696
    series = series * square + 0.1333322577548252
    series = series * square - 0.33333332796631665
    near = x + x * (square * series)
    return tl.where(size < 0.5, near, tl.where(x < 0, -far, far))


@triton.jit
def exact_log1p(x):
    """log(1 + x) for x >= 0: what the sum rounds away is made good by the quotient."""
    one_more = 1.0 + x
    kept = tl.where(one_more == 1.0, 1.0, one_more - 1.0)
    return tl.where(one_more == 1.0, x, tl.log(one_more) * (x / kept))


@triton.jit
def transformed(x, scale, bias, logit_scale, softcap):
    """(logits softcap * tanh(logit_scale * (scale * x + bias) / softcap) of products x, that tanh); None is off."""
    if scale is not None:
        x = x * scale
    if bias is not None:
        x = x + bias
    if logit_scale is not None:
        x = x * logit_scale
    tanh = x
    if softcap is not None:
        tanh = exact_tanh(x / softcap)
        x = tanh * softcap
    return x, tanh


@triton.jit
def of_columns(values, columns, inside):
    """values [V] at some columns, None where there are none."""
    found = None
    if values is not None:
        found = tl.load(values + columns, mask=inside, other=0.0)
    return found


@triton.jit
def masked_ids(targets, row, ignore_index, V, first_id, K: tl.constexpr, LANES: tl.constexpr):
    """A row's K targets in LANES lanes: (lane numbers, columns or -1, scored, scored but out of range).

    The column of a target that another rank has is no column here: below 0, or beyond the last.
    """
    lanes = tl.arange(0, LANES)
    ids = tl.load(targets + row * K + lanes, mask=lanes < K, other=0)
    scored = (lanes < K) & (ids != ignore_index)
    in_range = scored & (ids >= 0) & (ids < V)
    if first_id is not None:
        ids = ids - first_id
    return lanes, tl.where(in_range, ids, -1).to(tl.int32), scored, scored & (in_range == 0)


@triton.jit
def is_a_target(columns, ids, lanes, K: tl.constexpr):
    """Which columns are a target of the row; in a loop over targets, so that nothing of size K * columns is made."""
    if K == 1:
        found = columns == tl.max(ids, 0)
    else:
        found = columns < 0
        for k in tl.static_range(K):
            found = found | (columns == tl.sum(tl.where(lanes == k, ids, 0), 0))
    return found


@triton.jit
def joined_counts(larger, z, z_target, lanes, K: tl.constexpr):
    """How many logits are larger than each target's [LANES], joined by a block z [BLOCK]."""
    for k in tl.static_range(K):
        above = tl.sum((z > tl.sum(tl.where(lanes == k, z_target, 0.0), 0)).to(tl.int32), 0)
        larger = tl.where(lanes == k, larger + above, larger)
    return larger


@triton.jit
def target_sums(ids, scored, lanes, z, top, rest):
    """Of the lanes: exponential, all others' exponentials, whether the first of its equals, which are equal; the total.

    total - own would lose the digits of a sure target: the others are summed.
    """
    same = (ids[:, None] == ids[None, :]) & scored[:, None] & scored[None, :]
    earlier = same & (lanes[None, :] < lanes[:, None])
    first = scored & (tl.sum(earlier.to(tl.int32), 1) == 0)
    e = tl.where(scored, tl.exp(z - top), 0.0)
    distinct = tl.where(first, e, 0.0)
    others = rest + tl.sum(tl.where(same, 0.0, distinct[None, :]), 1)
    return e, others, first, same, rest + tl.sum(distinct, 0)


@triton.jit
def log_of_total(scored, z, top, others, total):
    """lse above the largest logit, exact too where a target is that logit and the others vanish."""
    is_top = scored & (z == top)
    exact = tl.max(tl.where(is_top, exact_log1p(others), -INFINITY), 0)
    return tl.where(tl.max(is_top.to(tl.int32), 0) > 0, exact, tl.log(total))


@triton.jit
def nll_of(e, others, log_total, margin):
    """-log p of each target."""
    usable = e > 1e-30
    return tl.where(usable, exact_log1p(others / tl.where(usable, e, 1.0)), log_total - margin)


@triton.jit
def row_gradient(c, c_lse, c_entropy, e, others, same, total, log_total, nll, lse, entropy, smoothing, z_loss, V):
    """(factor, slope, share, at the targets) as RowTerms.gradient makes them, which says why they are written so."""
    all_c = tl.sum(c, 0)
    merged = tl.sum(tl.where(same, c[None, :], 0.0), 1)  # equal targets are one entry of the gradient
    at = ((all_c - merged) * e - merged * others) / total
    share = tl.full([], 0.0, tl.float32)
    if smoothing is not None:
        share = all_c * (smoothing / V)
        at = (1.0 - smoothing) * at + smoothing * (all_c / total) * e - share
    more = tl.full([], 0.0, tl.float32)
    if c_lse is not None:
        more += c_lse
    if z_loss is not None:
        more += 2.0 * z_loss * lse * all_c
    at += more * e / total
    factor = (all_c + more) / total
    slope = tl.full([], 0.0, tl.float32)
    if c_entropy is not None:
        at += -c_entropy * (entropy - tl.minimum(nll, -LEAST_MARGIN)) * e / total
        factor = (all_c + more - c_entropy * (entropy - log_total)) / total
        slope = -c_entropy / total
    return factor, slope, share, at


@triton.jit
def gradient_entry(z, top, factor, slope, share, HAS_SLOPE: tl.constexpr, HAS_SHARE: tl.constexpr):
    """A row's gradient by its logits where no target is (row_terms.RowGradient)."""
    margin = z - top
    e = tl.exp(margin)
    gradient = e * factor
    if HAS_SLOPE:
        gradient = gradient + e * tl.maximum(margin, LEAST_MARGIN) * slope
    if HAS_SHARE:
        gradient = gradient - share
    return gradient


@triton.jit
def before_the_cap(gradient, tanh, softcap):
    """The gradient by what was capped."""
    if softcap is not None:
        gradient = gradient * (1.0 - tanh * tanh)
    return gradient
