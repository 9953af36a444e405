"""Student's t: its quantiles, by which an interval of few documents is wider than the normal curve would have it."""

import math
from statistics import NormalDist
from typing import Final

_FEW: Final = 60  # degrees of freedom up to which the exact series is summed
_STEPS: Final = 80  # of bisection: all of a float64's digits


def student_quantile(level: float, freedom: int) -> float:
    """t such that |T| <= t has probability `level`, of Student's T with `freedom` >= 1 degrees of freedom.

    Up to 60 degrees by bisection of the finite series (Abramowitz and Stegun, 26.7.3 and 26.7.4), above by the
    expansion around the normal curve (26.7.5), whose error is below 1e-7 of it there.

    Example:
        >>> round(student_quantile(0.95, 1), 3), round(student_quantile(0.95, 19), 3)
        (12.706, 2.093)
    """
    if freedom > _FEW:
        return _expanded(NormalDist().inv_cdf((1 + level) / 2), freedom)
    low, high = 0.0, math.pi / 2  # of the angle whose tangent is t / sqrt(freedom)
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if _central(middle, freedom) < level else (low, middle)
    return math.sqrt(freedom) * math.tan(low)


def student_level(t: float, freedom: int) -> float:
    """P(|T| <= t), of Student's T with `freedom` >= 1 degrees of freedom."""
    return _central(math.atan(t / math.sqrt(freedom)), freedom) if t < math.inf else 1.0


def _central(angle: float, freedom: int) -> float:
    """P(|T| <= sqrt(freedom) tan(angle))."""
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = freedom % 2
    term = cosine if odd else 1.0
    total = term if freedom > 1 else 0.0
    for k in range(2 + odd, freedom - 1, 2):
        term *= cosine * cosine * (k - 1) / k
        total += term
    return 2 / math.pi * (angle + sine * total) if odd else sine * total


def _expanded(z: float, v: int) -> float:
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + math.fsum(term / float(v) ** (power + 1) for power, term in enumerate(terms))
