"""Products of matrices of intervals, by two to four products of float64 matrices.

P, the product of A and B with n terms an entry as float64 computes it in any order, fused multiply-adds or
not, has ``|P - A B| <= gamma_n |A| |B| + n tau`` (Higham, *Accuracy and Stability*, section 3.5), tau =
2^-1022 for a product that underflows or is flushed. Of intervals with midpoints M and radii R (each rounded
up),

    |A B - P(M_A, M_B)| <= |M_A| (R_B + gamma_n |M_B|) + R_A (|M_B| + R_B) + n tau

(Rump 1999). Its right side is computed in float64 as well, by at most n + 3 roundings a term, all terms of
one sign: with c = gamma_(2n+8) in place of gamma_n, the result times 1 + c, and 4 n tau more, it is an upper
end. Where nothing is negative, the ends are the products of the ends, each with c. An entry whose every term
has a factor 0 is exact.
"""

from __future__ import annotations

import torch
from torch import Tensor

from constructions.language.rounding import gamma
from verify.intervals.array import Intervals, intervals
from verify.intervals.entrywise import multiply, of_nothing_negative
from verify.intervals.outward import FLUSHED, above_sum, below_sum, finite, up
from verify.intervals.sums import U64, total


def product(a: Tensor, b: Tensor) -> Intervals:
    """``a @ b`` with leading dimensions as in torch; vectors too."""
    a, b = intervals(a), intervals(b)
    n = a.low.shape[-1]
    if not all(finite(end) for x in (a, b) for end in (x.low, x.high)):
        return _term_by_term(a, b)
    c, lost = gamma(2 * n + 8, U64), 4 * n * FLUSHED
    if of_nothing_negative(a) and of_nothing_negative(b):
        least = a.low @ b.low
        most = least if a.exact and b.exact else a.high @ b.high
        radius = least * c + lost, most * c + lost
        low, high = below_sum(least - radius[0]).clamp_min(0.0), above_sum(most + radius[1])
        centre = most
    else:
        (middle_a, radius_a), (middle_b, radius_b) = _middle_and_radius(a), _middle_and_radius(b)
        centre, size_b = middle_a @ middle_b, middle_b.abs()
        of_b = size_b * c if radius_b is None else radius_b + size_b * c
        off = middle_a.abs() @ of_b
        if radius_a is not None:
            off = off + radius_a @ (size_b if radius_b is None else size_b + radius_b)
        off = off * (1 + c) + lost
        low, high = below_sum(centre - off), above_sum(centre + off)
    if not finite(low) or not finite(high):
        return _term_by_term(a, b)
    zero = centre == 0
    if bool(zero.any()):
        some = ((x.low != 0) | (x.high != 0) for x in (a, b))
        left, right = (part.to(torch.float64) for part in some)
        zero = zero & ((left @ right) == 0)
        low, high = torch.where(zero, 0.0, low), torch.where(zero, 0.0, high)
    return Intervals.of(low, high)


def _middle_and_radius(x: Intervals) -> tuple[Tensor, Tensor | None]:
    """``|x - middle| <= radius``; None of exact numbers."""
    if x.exact:
        return x.low, None
    middle = x.low / 2 + x.high / 2
    return middle, up(torch.maximum(x.high - middle, middle - x.low))


def _term_by_term(a: Intervals, b: Intervals) -> Intervals:
    """With infinite ends, of which a product of midpoints says nothing."""
    column = b.low.dim() == 1
    second = b[:, None] if column else b
    second = second[..., None, :, :] if a.low.dim() > 1 else second
    found = total(multiply(a[..., None], second), -2)
    return intervals(found[..., 0]) if column else found
