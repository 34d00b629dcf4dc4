"""EM steps of every covariance kind in balls.

    w_kn = exp(s_kn) / sum_j exp(s_jn),    s_kn = log pi_k + log N(x_n; mu_k, S_k) + const,    W_k = sum_n w_kn
    pi_k = W_k / N,   mu_k = o_k + a_k,   a_k = sum_n w_kn (x_n - o_k) / W_k
    S_k = sum_n w_kn (x_n - o_k)(x_n - o_k)^T / W_k - a_k a_k^T, restricted to the kind

The origin o_k is the midpoint of the mean before the step: it is exact, so that the radius of a mean meets
distances from it and not the whole size of a point.
Source: Dempster, Laird and Rubin 1977; the same definitions as baselines.em_paths.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from torch import Tensor

from verify.balls.flint import arb, arb_mat
from verify.certify.references.decisions import (
    ROUNDOFF,
    TINY,
    Balls,
    Vector,
    above,
    array,
    balls,
    dot,
    undefined,
)
from verify.certify.references.matrices import inverse_and_log_determinant, pivots, products

Kind = Literal["unit", "tied_spherical", "spherical", "diagonal", "tied", "full"]

MATRICES, TIED = ("tied", "full"), ("tied_spherical", "tied")
ISOTROPIC = ("tied_spherical", "spherical")
DIGITS = 128 * ROUNDOFF
"""64 eps: below that share of its size a variance cannot be told from 0 in float64 (baselines.em_steps)."""


class State(NamedTuple):
    """weights (K), means (K, d), covariances (K or 1, numbers): rows of one, d or d d numbers; none of unit."""

    weights: Vector
    means: list[Vector]
    covariances: list[Vector]


def em_states(
    X: Tensor,
    weights: Tensor,
    means: Tensor,
    steps: int,
    covariances: Tensor | None = None,
    kind: Kind = "unit",
) -> dict[str, Balls]:
    """The start as given, then the states after each of ``steps`` steps.

    Args:
        X: (N, d). weights: (K,) up to a factor. means: (K, d).
        covariances: as the kind lays them out: full (K, d, d), tied (d, d), diagonal (K, d), spherical (K,),
            tied_spherical (); None of unit. Of matrices the lower triangle counts.

    Returns:
        means (L + 1, K, d), weights (L + 1, K, 1) and, but for unit, covariances (L + 1, K or 1, numbers).
        NaN from the step on at which a weight is below the smallest normal number, or a covariance cannot be
        told from a singular one in float64; from step 1 on if the start is no mixture.

    Raises:
        Undecided: more bits are needed to tell whether a component is empty or singular.
        ValueError: a point that is not finite.
    """
    if not bool(X.isfinite().all()):
        raise ValueError("X has values that are not finite; finite points are needed")
    (N, d), K = X.shape, len(weights)
    rows = [] if covariances is None else _rows(covariances, kind, K).tolist()
    state = State(balls(weights.tolist()), balls(means.tolist()), balls(rows))
    path = [state]
    if _is_mixture(weights, means, rows, kind, d):
        points = arb_mat(X.tolist())
        average = [x / N for x in (arb_mat([[1] * N]) * points).entries()]
        while len(path) <= steps and (new := _step(points, path[-1], average, kind)) is not None:
            path.append(new)
    shapes = {"means": (K, d), "weights": (K, 1), "covariances": (len(rows), len(rows[0]) if rows else 0)}
    parts = {
        "means": [one.means for one in path],
        "weights": [[[w] for w in one.weights] for one in path],
        "covariances": [one.covariances for one in path],
    }
    if kind == "unit":
        del parts["covariances"]
    whole = {name: undefined((steps + 1, *shapes[name])) for name in parts}
    for name, values in parts.items():
        whole[name][: len(path)] = array(values, (len(path), *shapes[name]))
    return whole


def _rows(covariances: Tensor, kind: Kind, K: int) -> Tensor:
    """(K or 1, numbers)."""
    return covariances.reshape(1 if kind in TIED else K, -1)


def _is_mixture(weights: Tensor, means: Tensor, rows: list[list[float]], kind: Kind, d: int) -> bool:
    """Weights above 0, all finite, covariances positive definite and symmetric within ``sqrt(eps)``."""
    if not bool(((weights > 0) & weights.isfinite()).all() and means.isfinite().all()):
        return False
    if kind not in MATRICES:
        return all(TINY <= arb(x) and arb(x).is_finite() for row in rows for x in row)
    for row in rows:
        if not all(arb(x).is_finite() for x in row):
            return False
        gap = max(abs(row[i * d + j] - row[j * d + i]) for i in range(d) for j in range(d))
        if gap > 2.0**-26 * max(abs(x) for x in row):
            return False
        if not all(above(pivot, arb(0)) for pivot in pivots(_matrix(balls(row), d))):
            return False
    return True


def _matrix(row: Vector, d: int) -> arb_mat:
    """(d d) -> (d, d), the lower triangle mirrored."""
    return arb_mat([[row[max(i, j) * d + min(i, j)] for j in range(d)] for i in range(d)])


def _step(points: arb_mat, state: State, average: Vector, kind: Kind) -> State | None:
    """One step; None where a component is empty or singular."""
    N, d, K = points.nrows(), points.ncols(), len(state.weights)
    covariances = state.covariances or [[]]
    each = covariances * K if len(covariances) == 1 else covariances
    origins = [[m.mid() for m in mean] for mean in state.means]
    apart = [points - arb_mat([[1]] * N) * arb_mat([origin]) for origin in origins]
    squares = [D if kind in MATRICES else products(D, D) for D in apart]
    scores = []
    for k, origin in enumerate(origins):
        off = [m - o for m, o in zip(state.means[k], origin, strict=True)]
        scores.append(_scores(apart[k], squares[k], state.weights[k], off, each[k], kind))
    shares = []
    for row in zip(*scores, strict=True):
        sizes = [score.exp() for score in row]
        total = sum(sizes, arb(0))
        shares.append([size / total for size in sizes])
    columns = list(zip(*shares, strict=True))
    totals = [sum(column, arb(0)) for column in columns]
    weights = [total / N for total in totals]
    if any(not above(weight, TINY) for weight in weights):
        return None
    means, own = [], []
    for k, (share, total) in enumerate(zip(columns, totals, strict=True)):
        row = arb_mat([share])
        shift = [x / total for x in (row * apart[k]).entries()]
        means.append([o + x for o, x in zip(origins[k], shift, strict=True)])
        if kind != "unit":
            second = _second(share, apart[k], squares[k], kind)
            scale = d if kind in ISOTROPIC else 1
            own.append([(x / total - y) / scale for x, y in zip(second, _outer(shift, kind), strict=True)])
    if kind == "unit":
        return State(weights, means, [])
    around = [_outer([m - c for m, c in zip(mean, average, strict=True)], kind) for mean in means]
    if kind in TIED:
        own, around = (
            [[dot(weights, column) for column in zip(*rows, strict=True)]] for rows in (own, around)
        )
    if any(_is_singular(row, off, d, kind) for row, off in zip(own, around, strict=True)):
        return None
    return State(weights, means, own)


def _scores(D: arb_mat, squares: arb_mat, weight: arb, off: Vector, covariance: Vector, kind: Kind) -> Vector:
    """``log pi - log det S / 2 - (x - off)^T S^-1 (x - off) / 2`` of each row x of D."""
    d = D.ncols()
    if kind in MATRICES:
        P, log_det = inverse_and_log_determinant(_matrix(covariance, d))
        own = products(D, D * P) * arb_mat([[1]] * d)
        scaled = P * arb_mat(d, 1, off)
    else:
        variances = [arb(1)] if kind == "unit" else covariance
        spread = variances * (d // len(variances))
        log_det = sum((s.log() for s in spread), arb(0))
        own = squares * arb_mat(d, 1, [1 / s for s in spread])
        scaled = arb_mat(d, 1, [x / s for x, s in zip(off, spread, strict=True)])
    constant = weight.log() - (log_det + dot(scaled.entries(), off)) / 2
    return [constant + x for x in (D * scaled - own / 2).entries()]


def _second(share: Sequence[arb], D: arb_mat, squares: arb_mat, kind: Kind) -> Vector:
    """``sum_n w_n x_n x_n^T`` over the rows of D: d d numbers, its diagonal, or its trace."""
    if kind in MATRICES:
        shared = arb_mat([[w * x for x in row] for w, row in zip(share, D.tolist(), strict=True)])
        return (shared.transpose() * D).entries()
    sums = (arb_mat([share]) * squares).entries()
    return sums if kind == "diagonal" else [sum(sums, arb(0))]


def _outer(x: Vector, kind: Kind) -> Vector:
    """``x x^T``: d d numbers, its diagonal, or its trace."""
    if kind in MATRICES:
        return [a * b for a in x for b in x]
    return [a * a for a in x] if kind == "diagonal" else [dot(x, x)]


def _is_singular(row: Vector, around: Vector, d: int, kind: Kind) -> bool:
    """Whether float64 cannot tell a covariance from a singular one, by the rules of baselines.em_steps.

    Isotropic: ``s <= 64 eps E|x - c|^2 / d``, c the average of all points. Otherwise a variance
    ``s_j <= (64 eps)^2 E(x_j - c_j)^2``, or a pivot ``<= 64 d eps s_j``. Or a variance of at most the
    smallest normal number. ``E|x - c|^2`` is a variance and what ``around`` has: squares of ``mu - c``.
    """
    variances, off = (x[:: d + 1] if kind in MATRICES else x for x in (row, around))
    share, scale = (DIGITS, d) if kind in ISOTROPIC else (DIGITS * DIGITS, 1)
    for s, square in zip(variances, off, strict=True):
        if not (above(s, TINY) and above(s, share * (s + square / scale))):
            return True
    if kind not in MATRICES:
        return False
    return any(not above(p, DIGITS * d * s) for p, s in zip(pivots(_matrix(row, d)), variances, strict=True))
