"""Cubic tensor power iteration in balls: ``v <- T(I, v, v)``, plain or divided by its length.

    T(I, v, v)_i = sum_(j <= m) F_i,jm v_j v_m,   F_i,jm = T_ijm + T_imj for j < m,  T_ijj for j = m

The sums F are formed first, so that the part of T which v v does not see is exactly 0: what is 0 in real
arithmetic stays 0 and not a ball around it. The same definitions as baselines.robust_tensor_power.
"""

from __future__ import annotations

from itertools import combinations_with_replacement

from torch import Tensor

from verify.balls.flint import Undecided, arb, arb_mat
from verify.certify.references.decisions import (
    HUGE,
    TINY,
    Balls,
    Vector,
    above,
    balls,
    dot,
    path_array,
)


def tensor_power_states(T: Tensor, v: Tensor, steps: int, normalised: bool) -> dict[str, Balls]:
    """The start as given, then v after each of ``steps`` steps.

    Args:
        T: (d, d, d), symmetric or not. v: (d,), not 0.

    Returns:
        v (L + 1, 1, d), and without the norm its entries (L + 1, d, 1). NaN from the step on at which
        ``|T(I, v, v)|`` is no normal number of float64; 0 is one where nothing is divided by it.

    Raises:
        Undecided: more bits are needed to tell a length from 0, or from the ends of float64.
        ValueError: values that are not finite, v = 0.
    """
    if not bool(T.isfinite().all() and v.isfinite().all()):
        raise ValueError("T or v has values that are not finite; finite ones are needed")
    if not bool(v.any()):
        raise ValueError("v is 0; a start other than 0 is needed")
    d, F = len(v), folded(balls(T.tolist()))
    path: list[Vector] = [balls(v.tolist())]
    while len(path) <= steps:
        w = contract(F, path[-1])
        size = length(w)
        if size.is_zero() and not normalised:
            path.append(w)
        elif size.is_zero() or above(TINY, size) or above(size, HUGE):
            break
        else:
            path.append(directed(F, path[-1], w, size) if normalised else w)
    whole = path_array(path, steps + 1, (d,))
    states = {"v": whole[:, None, :]}
    return states if normalised else states | {"entries": whole[:, :, None]}


def folded(T: list[list[Vector]]) -> arb_mat:
    """F (d, d (d + 1) / 2)."""
    pairs = list(combinations_with_replacement(range(len(T)), 2))
    return arb_mat([[s[j][m] + s[m][j] if j < m else s[j][j] for j, m in pairs] for s in T])


def contract(F: arb_mat, v: Vector) -> Vector:
    """``T(I, v, v)``."""
    products = [a * b for a, b in combinations_with_replacement(v, 2)]
    return (F * arb_mat(len(products), 1, products)).entries()


def directed(F: arb_mat, v: Vector, w: Vector, size: arb) -> Vector:
    """``f(v) = T(I, v, v) / |T(I, v, v)|``, w and its length given.

    It lies in ``f(m) + J(v) (v - m)`` too, m the midpoint of v, ``J = (I - f f^T) G / |w|`` the derivative
    and ``G_ij = sum_m (T_ijm + T_imj) v_m``: where the iteration contracts, so do its balls.
    """
    whole = [x / size for x in w]
    middle = [x.mid() for x in v]
    off = [x - m for x, m in zip(v, middle, strict=True)]
    centre = contract(F, middle)
    scale = length(centre)
    G = _derivative(F, v)
    f = arb_mat([whole])
    moved = (G - f.transpose() * (f * G)) * arb_mat(len(v), 1, off) * (1 / size)
    near = [x / scale + y for x, y in zip(centre, moved.entries(), strict=True)]
    return [x.intersection(y) for x, y in zip(whole, near, strict=True)]


def _derivative(F: arb_mat, v: Vector) -> arb_mat:
    """G (d, d)."""
    d = len(v)
    G = arb_mat(d, d)
    for n, (j, m) in enumerate(combinations_with_replacement(range(d), 2)):
        for i in range(d):
            G[i, j] += F[i, n] * v[m]
            G[i, m] += F[i, n] * v[j]
    return G


def length(w: Vector) -> arb:
    """``|w|``; 0 exactly where w is.

    Raises:
        Undecided: the ball of ``|w|^2`` holds 0 and more.
    """
    square = dot(w, w)
    if square.is_zero():
        return square
    if not square > 0:
        raise Undecided(f"|w|^2 = {square} cannot be told from 0")
    return square.sqrt()
