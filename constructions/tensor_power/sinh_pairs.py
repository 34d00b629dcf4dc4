"""Pairs of softmax heads with a sink: how well their difference multiplies, in exact arithmetic.

With nodes ``k eps``, k = 1..p, and the weights of the central difference quotient,

    D_p(a) = (1/eps) sum_k alpha_k sinh(k eps a),      alpha_k = (2/k) (-1)^(k+1) p!^2 / ((p - k)! (p + k)!)
    D_p(a) - a = sum_{r >= p} M_r eps^(2r) a^(2r+1) / (2r+1)!,        M_r = sum_k alpha_k k^(2r+1)
    |D_p(a) - a| <= p!^2 / (2p+1)! eps^(2p) |a|^(2p+1) cosh(p eps |a|)

alpha solves the odd Vandermonde system ``sum_k alpha_k k^(2r+1) = [r = 0]`` for r < p. Proofs:
paper_notes/softmax_is_enough.md, lemmas 1 and 2.
"""

from __future__ import annotations

import math
from fractions import Fraction

import torch
from torch import Tensor

from constructions.language.rounding import number

SERIES_TERMS = 12
"""Terms of the error series that are summed; what is left out is bounded and added."""

MAX_PAIRS = 8
"""Beyond it eps nears 1 and the error its floor, of about ``u c sum |alpha_k|``: more heads gain nothing."""


def pair_weights(pairs: int) -> list[Fraction]:
    """``alpha_1..alpha_p``, exact.

    Raises:
        ValueError: ``pairs`` not a whole number from 1 to :data:`MAX_PAIRS`.
    """
    if isinstance(pairs, bool) or not isinstance(pairs, int) or not 1 <= pairs <= MAX_PAIRS:
        raise ValueError(f"pairs is {pairs!r}; it is a whole number from 1 to {MAX_PAIRS}")
    p = pairs
    top = 2 * math.factorial(p) ** 2
    return [
        Fraction((-1) ** (k + 1) * top, k * math.factorial(p - k) * math.factorial(p + k))
        for k in range(1, p + 1)
    ]


def weight_moment(pairs: int, power: int) -> Tensor:
    """``sum_k |alpha_k| k^power``: power 0 multiplies rounding, power 1 the leakage to the sink."""
    return number(sum((abs(alpha) * k**power for k, alpha in enumerate(pair_weights(pairs), 1)), Fraction(0)))


def leading_constant(pairs: int) -> float:
    """``p!^2 / (2p + 1)!``: the error is this times ``eps^(2p) |a|^(2p+1)`` to leading order."""
    return math.factorial(pairs) ** 2 / math.factorial(2 * pairs + 1)


def product_error(a: Tensor, epsilon: float, pairs: int) -> tuple[Tensor, Tensor]:
    """``D_p(a) - a``, signed, summed as a series, and a bound on what the series leaves out.

    Args:
        a: any shape, float64.

    Returns:
        Both of the shape of ``a``. The series avoids the difference of two sinh, whose rounding would be as
        large as the result. The tail from r = q on is at most
        ``sum_k |alpha_k| / eps * x^(2q+1) / (2q+1)! * cosh(x)`` with ``x = k eps |a|``.
    """
    alphas = pair_weights(pairs)
    stop = pairs + SERIES_TERMS
    total = torch.zeros_like(a)
    for r in reversed(range(pairs, stop)):
        moment = sum((alpha * k ** (2 * r + 1) for k, alpha in enumerate(alphas, 1)), Fraction(0))
        total = total + number(moment / math.factorial(2 * r + 1)) * (epsilon * a) ** (2 * r) * a
    tail = torch.zeros_like(a)
    for k, alpha in enumerate(alphas, 1):
        x = k * number(epsilon) * a.abs()
        power = x ** (2 * stop + 1) * number(Fraction(1, math.factorial(2 * stop + 1)))
        tail = tail + number(abs(alpha)) / epsilon * power * torch.cosh(x)
    return total, tail
