"""Softmax and its averages over boxes of scores: the optimum, which is at a vertex.

*A weight.* ``p_i = exp(s_i) / sum_j exp(s_j)`` grows with s_i and falls with every other s_j, so over a box
its largest value is where ``s_i`` is at its upper end and all others at their lower ends; the least the other
way about.

*An average.* For values ``v_1 <= .. <= v_n`` and ``u_i in [low_i, high_i]``, positive, the largest of
``m(u) = sum_i u_i v_i / sum_i u_i`` is reached at a threshold: for some t, ``u_i = low_i`` for i < t and
``high_i`` for i >= t. Proof: m is continuous on a compact box; let it be largest at u, with ``m = m(u)``.
Raising the u_i of every ``v_i > m`` and lowering that of every ``v_i <= m`` to the end of its interval makes
no term of ``sum_i u_i (v_i - m) = 0`` smaller, so at the vertex that is reached the sum is at least 0, that
is, the average at least m; and in the order of the values it is a threshold. Hence n + 1 candidates, by two
running sums. The least is minus the largest of the negated values. Where values are intervals, m grows with
each v_i: upper ends for the largest, lower ends for the least.
"""

from __future__ import annotations

import numpy as np

from verify.certify.regions.intervals import Array, Interval, concatenate


def others(x: Interval, axis: int) -> Interval:
    """Along an axis of n numbers, the sum of all but each: nothing is subtracted, nothing cancels."""
    n = x.shape[axis]
    lo, hi = np.moveaxis(x.lo, axis, -1)[..., None, :], np.moveaxis(x.hi, axis, -1)[..., None, :]
    off = ~np.eye(n, dtype=bool)
    found = Interval(np.where(off, lo, 0.0), np.where(off, hi, 0.0)).sum(-1)
    return Interval(np.moveaxis(found.lo, -1, axis), np.moveaxis(found.hi, -1, axis))


def shares(u: Interval, axis: int) -> Interval:
    """``u_i / sum_j u_j`` over a box of ``u > 0``: each from its own ends and the others' opposite ones."""
    rest = others(u, axis)
    ones = Interval.exact(np.ones(u.shape))
    least = Interval.exact(u.lo) / (Interval.exact(u.lo) + Interval.exact(rest.hi))
    most = Interval.exact(u.hi) / (Interval.exact(u.hi) + Interval.exact(rest.lo))
    lo = np.where(u.lo > 0, least.lo, 0.0)
    hi = np.where(u.hi > 0, most.hi, 0.0)
    return Interval(np.maximum(lo, 0.0), np.minimum(hi, ones.hi))


def average(u: Interval, values: Interval) -> Interval:
    """``sum_i u_i v_i / sum_i u_i`` along the last axis, over boxes of ``u >= 0`` and of v.

    Args:
        u: (..., n). values: (..., n), of a shape that broadcasts with it.
    """
    lo, hi = np.broadcast_arrays(u.lo, u.hi, values.lo)[:2]
    above = _largest(Interval(lo, hi), np.broadcast_to(values.hi, lo.shape))
    below = _largest(Interval(lo, hi), np.broadcast_to(-values.lo, lo.shape))
    return Interval(-below, above)


def _largest(u: Interval, values: Array) -> Array:
    """Upper bound of the largest average of fixed values, over all thresholds; never above the largest."""
    order = np.argsort(values, -1)
    v = np.take_along_axis(values, order, -1)
    low, high = (Interval.exact(np.take_along_axis(end, order, -1)) for end in (u.lo, u.hi))
    top = v[..., -1:]
    # Offsets from the largest value: the sums are of numbers of one sign, and near the largest lose nothing.
    offset = Interval.exact(v) - Interval.exact(np.broadcast_to(top, v.shape))
    before, after = _running(low), _running(high, backward=True)
    before_v, after_v = _running(low * offset), _running(high * offset, backward=True)
    mass, moment = before + after, before_v + after_v
    found = moment / mass
    hi = np.where(mass.lo > 0, np.minimum(found.hi, 0.0), 0.0).max(-1)
    return (Interval.exact(hi) + Interval.exact(top[..., 0])).hi


def _running(x: Interval, backward: bool = False) -> Interval:
    """Sums of the first 0, 1, .., n numbers of the last axis; backward, of those from 0, 1, .., n on."""
    if backward:
        return _running(x[..., ::-1])[..., ::-1]
    found, reach = x, 1
    while reach < x.shape[-1]:  # every sum so far reaches twice as far back
        found = concatenate([found[..., :reach], found[..., reach:] + found[..., :-reach]], -1)
        reach *= 2
    return concatenate([Interval.exact(np.zeros((*x.shape[:-1], 1))), found], -1)


def log_share(differences: Interval) -> Interval:
    """``-log(1 + sum_l exp(D_l))`` along the last axis: the log of a softmax weight, ``D_l = s_l - s_k``.

    The D_l are those to all other scores. The weight falls with each of them, so the ends are reached at the
    ends of all D_l together. Taken from the scale of the largest, so that nothing overflows.
    """
    if not differences.shape[-1]:
        return Interval.exact(np.zeros(differences.shape[:-1]))
    scale = Interval.exact(np.maximum(differences.middle.max(-1), 0.0))
    total = (differences - scale[..., None]).exp().sum(-1) + (-scale).exp()
    found = -(scale + total.log())
    return Interval(found.lo, np.minimum(found.hi, 0.0))
