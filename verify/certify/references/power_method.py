"""The robust tensor power method in balls: the components of a symmetric tensor, one after another.

From each start ``steps`` steps ``v <- T(I, v, v) / |T(I, v, v)|``; from the end with the largest
T(v, v, v) as many again; ``lambda = T(v, v, v)``, ``T <- T - lambda v x v x v``. Tensors are folded as in
tensor_power.
Source: Anandkumar et al. 2014, Algorithm 1; baselines.robust_tensor_power.
"""

from __future__ import annotations

from itertools import combinations_with_replacement
from typing import NamedTuple

from verify.balls.flint import Undecided, arb, arb_mat
from verify.certify.references.decisions import Vector, above, dot
from verify.certify.references.tensor_power import contract, directed, length


class Term(NamedTuple):
    """``eigenvalue v x v x v``, v of length 1."""

    eigenvalue: arb
    vector: Vector


def components(F: arb_mat, starts: list[Vector], count: int, steps: int, least: arb) -> list[Term] | None:
    """``count`` terms, each from the same starts; None where one has an ``|eigenvalue| <= least``.

    No eigenvalue is above the norm of what is left.

    Raises:
        Undecided: more bits are needed.
    """
    found: list[Term] = []
    for _ in range(count):
        if third_norm(F) <= least:
            return None
        ends = [end for start in starts if (end := _iterated(F, start, steps)) is not None]
        v = _iterated(F, largest(ends, [dot(v, contract(F, v)) for v in ends]), steps) if ends else None
        if v is None:
            return None
        value = dot(v, contract(F, v))
        if not above(abs(value), least):
            return None
        found.append(Term(value, v))
        F -= _folded_cube(v) * value
    return found


def largest(ends: list[Vector], scores: Vector) -> Vector:
    """The end with the largest score; of ends that these balls do not tell apart, one ball around all.

    Raises:
        Undecided: several ends that are told apart may have the largest score.
    """
    high = max(scores, key=lambda score: score.lower())
    among = [end for end, score in zip(ends, scores, strict=True) if not score < high]
    whole = among[0]
    for i, end in enumerate(among):
        if not all(x.overlaps(y) for other in among[:i] for x, y in zip(end, other, strict=True)):
            raise Undecided("two ends of the power iteration have scores that overlap")
        whole = [x.union(y) for x, y in zip(whole, end, strict=True)]
    return whole


def third_norm(F: arb_mat) -> arb:
    """``|T|_F``; an entry off the diagonal of the last two places is twice in F and stands for two."""
    halves = [2 if b != c else 1 for b, c in combinations_with_replacement(range(F.nrows()), 2)]
    squares = [x * x / n for row in F.tolist() for x, n in zip(row, halves, strict=True)]
    return sum(squares, arb(0)).nonnegative_part().sqrt()


def _iterated(F: arb_mat, v: Vector, steps: int) -> Vector | None:
    """After ``steps`` normalised steps; None where T(I, v, v) is 0 on the way."""
    for _ in range(steps):
        w = contract(F, v)
        size = length(w)
        if size.is_zero():
            return None
        v = directed(F, v, w, size)
    return v


def _folded_cube(v: Vector) -> arb_mat:
    """``v x v x v``, folded."""
    pairs = list(combinations_with_replacement(range(len(v)), 2))
    return arb_mat([[(1 if b == c else 2) * x * v[b] * v[c] for b, c in pairs] for x in v])
