"""EM steps of every covariance kind in balls.

    w_kn = exp(s_kn) / sum_j exp(s_jn),   s_kn = log pi_k + log N(x_n; mu_k, S_k),   W_k = sum_n w_kn
    pi_k = W_k / N,   mu_k = o_k + a_k,   a_k = sum_n w_kn (x_n - o_k) / W_k
    S_k = sum_n w_kn (x_n - o_k)(x_n - o_k)^T / W_k - a_k a_k^T, restricted to the kind

The origin o_k is the midpoint of the mean before the step. It is exact, so the radius of a mean is multiplied
by distances from it, and not by the whole size of a point.
Source: Dempster, Laird and Rubin 1977; the definitions are those of baselines.em_paths.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from torch import Tensor

from verify.balls.flint import arb, arb_mat
from verify.certify.references.decisions import (
    ROUNDOFF,
    TINY,
    Balls,
    Vector,
    above,
    balls,
    dot,
    path_array,
)
from verify.certify.references.matrices import inverse_and_log_determinant, ones, pivots, products

Kind = Literal["unit", "tied_spherical", "spherical", "diagonal", "tied", "full"]

MATRICES, TIED, ISOTROPIC = ("tied", "full"), ("tied_spherical", "tied"), ("tied_spherical", "spherical")

DIGITS = 128 * ROUNDOFF
"""64 eps: below that share of its size a variance cannot be told from 0 in float64 (baselines.em_steps)."""

SYMMETRY = 2.0**-26
"""sqrt(eps): matrices further from symmetric, as a share of their largest entry, are no covariances."""


class State(NamedTuple):
    """weights (K), means (K, d), covariances (K or 1 rows; numbers: 1, d or d d); 1 for all of unit kind."""

    weights: Vector
    means: list[Vector]
    covariances: list[Vector]


class Points(NamedTuple):
    """Points less the midpoint of their average: rows (N, d), |x|^2 (N, 1), their own average (d)."""

    rows: arb_mat
    norms: arb_mat
    average: Vector


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
    K, d = means.shape
    rows = [[1.0]] if covariances is None else covariances.reshape(1 if kind in TIED else K, -1).tolist()
    start = State(balls(weights.tolist()), balls(means.tolist()), balls(rows))
    path = [start]
    if _is_mixture(weights, means, rows, kind, d):
        path += _steps(arb_mat(X.tolist()), start, steps, kind)
    states = {
        "means": path_array([one.means for one in path], steps + 1, (K, d)),
        "weights": path_array([[[w] for w in one.weights] for one in path], steps + 1, (K, 1)),
    }
    if kind == "unit":
        return states
    shape = len(rows), len(rows[0])
    return states | {"covariances": path_array([one.covariances for one in path], steps + 1, shape)}


def _is_mixture(weights: Tensor, means: Tensor, rows: list[list[float]], kind: Kind, d: int) -> bool:
    """Weights above 0, all finite, covariances of normal numbers, or symmetric and positive definite."""
    if not bool(((weights > 0) & weights.isfinite()).all() and means.isfinite().all()):
        return False
    if not all(arb(x).is_finite() for row in rows for x in row):
        return False
    if kind not in MATRICES:
        return all(arb(x) >= TINY for row in rows for x in row)
    for row in rows:
        gap = max(abs(row[i * d + j] - row[j * d + i]) for i in range(d) for j in range(i + 1))
        if gap > SYMMETRY * max(abs(x) for x in row):
            return False
        if not all(above(pivot, arb(0)) for pivot in pivots(_matrix(balls(row), d))):
            return False
    return True


def _steps(X: arb_mat, start: State, steps: int, kind: Kind) -> list[State]:
    """The states after the steps that are defined."""
    N = X.nrows()
    centre = [(x / N).mid() for x in (ones(1, N) * X).entries()]
    rows = X - ones(N, 1) * arb_mat([centre])
    average = [x / N for x in (ones(1, N) * rows).entries()]
    points = Points(rows, products(rows, rows) * ones(len(centre), 1), average)
    state = start._replace(means=[_difference(mean, centre) for mean in start.means])
    found = []
    while len(found) < steps and (new := step(points, state, kind)) is not None:
        state = new
        found.append(new._replace(means=[_sum(mean, centre) for mean in new.means]))
    return found


def step(points: Points, state: State, kind: Kind) -> State | None:
    """One step from every state in the balls of this one; None where a component is empty or singular.

    Raises:
        Undecided: as :func:`em_states`.
    """
    N, d, K = points.rows.nrows(), points.rows.ncols(), len(state.weights)
    each = state.covariances * (K // len(state.covariances))
    origins = [[m.mid() for m in mean] for mean in state.means]
    apart = [points.rows - ones(N, 1) * arb_mat([origin]) for origin in origins]
    squares = [_squares(points, D, o, kind) for D, o in zip(apart, origins, strict=True)]
    off = [_difference(mean, origin) for mean, origin in zip(state.means, origins, strict=True)]
    scores = [_scores(*parts, kind) for parts in zip(apart, squares, state.weights, off, each, strict=True)]
    shares = arb_mat([_shares(row) for row in zip(*scores, strict=True)]).transpose()
    totals = (shares * ones(N, 1)).entries()
    weights = [total / N for total in totals]
    if any(not above(weight, TINY) for weight in weights):
        return None
    means, covariances = [], []
    for share, total, D, S, origin in zip(shares.tolist(), totals, apart, squares, origins, strict=True):
        shift = [x / total for x in (arb_mat([share]) * D).entries()]
        means.append(_sum(origin, shift))
        if kind != "unit":
            second = [x / total for x in _second(share, D, S, kind)]
            covariances.append(_difference(second, _outer(shift, kind)))
    if kind == "unit":
        return State(weights, means, state.covariances)
    between = [_outer(_difference(mean, points.average), kind) for mean in means]
    if kind in TIED:
        covariances, between = ([_averaged(weights, rows)] for rows in (covariances, between))
    if any(_is_singular(row, off, d, kind) for row, off in zip(covariances, between, strict=True)):
        return None
    return State(weights, means, covariances)


def _squares(points: Points, D: arb_mat, origin: Vector, kind: Kind) -> arb_mat:
    """Of rows ``x - o``: |x - o|^2 (N, 1), of diagonal kind by coordinates (N, d), of matrices not used."""
    if kind in MATRICES:
        return D
    if kind == "diagonal":
        return products(D, D)
    N, d = D.nrows(), D.ncols()
    along = points.rows * arb_mat(d, 1, [-2 * o for o in origin])
    return points.norms + along + ones(N, 1) * dot(origin, origin)


def _scores(D: arb_mat, squares: arb_mat, weight: arb, off: Vector, covariance: Vector, kind: Kind) -> Vector:
    """``log pi - log det S / 2 - (x - off)^T S^-1 (x - off) / 2`` of each row x of D."""
    d = D.ncols()
    if kind in MATRICES:
        P, log_det = inverse_and_log_determinant(_matrix(covariance, d))
        own = products(D, D * P) * ones(d, 1)
        scaled = P * arb_mat(d, 1, off)
    else:
        repeated = d // len(covariance)
        own = squares * arb_mat(len(covariance), 1, [1 / s for s in covariance])
        log_det = repeated * sum((s.log() for s in covariance), arb(0))
        scaled = arb_mat(d, 1, [x / s for x, s in zip(off, covariance * repeated, strict=True)])
    constant = weight.log() - (log_det + dot(scaled.entries(), off)) / 2
    return [constant + x for x in (D * scaled - own / 2).entries()]


def _shares(scores: tuple[arb, ...]) -> Vector:
    """Softmax; balls have exponents of any size."""
    sizes = [score.exp() for score in scores]
    total = sum(sizes, arb(0))
    return [size / total for size in sizes]


def _second(share: Vector, D: arb_mat, squares: arb_mat, kind: Kind) -> Vector:
    """``sum_n w_n x_n x_n^T`` over the rows of D: d d numbers, its diagonal, or its trace over d."""
    if kind in MATRICES:
        weighed = arb_mat([[w * x for x in row] for w, row in zip(share, D.tolist(), strict=True)])
        return (weighed.transpose() * D).entries()
    sums = (arb_mat([share]) * squares).entries()
    return [x / D.ncols() for x in sums] if kind in ISOTROPIC else sums


def _outer(x: Vector, kind: Kind) -> Vector:
    """``x x^T``: d d numbers, its diagonal, or its trace over d."""
    if kind in MATRICES:
        return [a * b for a in x for b in x]
    return [dot(x, x) / len(x)] if kind in ISOTROPIC else [a * a for a in x]


def _is_singular(row: Vector, between: Vector, d: int, kind: Kind) -> bool:
    """Whether float64 cannot tell a covariance from a singular one, by the rules of baselines.em_steps.

    A variance ``s <= 64 eps E`` of isotropic kinds, ``s <= (64 eps)^2 E`` of others, E the average square
    about the average of all points, which is s and the square of ``mu`` less that average. Or an s not above
    the smallest normal number. Of matrices a pivot ``<= 64 d eps s``.
    """
    variances, around = (x[:: d + 1] if kind in MATRICES else x for x in (row, between))
    share = DIGITS if kind in ISOTROPIC else DIGITS * DIGITS
    for s, square in zip(variances, around, strict=True):
        if not (above(s, TINY) and above(s, share * (s + square))):
            return True
    if kind not in MATRICES:
        return False
    parts = zip(pivots(_matrix(row, d)), variances, strict=True)
    return any(not above(pivot, DIGITS * d * s) for pivot, s in parts)


def _matrix(row: Vector, d: int) -> arb_mat:
    """(d d) -> (d, d), the lower triangle mirrored."""
    return arb_mat([[row[max(i, j) * d + min(i, j)] for j in range(d)] for i in range(d)])


def _sum(x: Vector, y: Vector) -> Vector:
    return [a + b for a, b in zip(x, y, strict=True)]


def _difference(x: Vector, y: Vector) -> Vector:
    return [a - b for a, b in zip(x, y, strict=True)]


def _averaged(weights: Vector, rows: list[Vector]) -> Vector:
    return [dot(weights, column) for column in zip(*rows, strict=True)]
