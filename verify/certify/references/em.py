"""EM steps of every covariance kind in balls.

    w_kn = exp(s_kn) / sum_j exp(s_jn),   s = Phi C,   R_k = sum_n w_kn phi_n
    pi_k = W_k / N,   mu_k = R_k[x] / W_k,   S_k = R_k[x x^T] / W_k - mu_k mu_k^T, restricted to the kind

Row ``phi_n`` of Phi (N, F) holds x_n, the squares that the kind needs and 1; column k of C (F, K) the
coefficients of ``log pi_k + log N(x; mu_k, S_k)`` in them, what all components share left out.
Source: Dempster, Laird and Rubin 1977; the same definitions as baselines.em_paths.
"""

from __future__ import annotations

from itertools import combinations_with_replacement
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
from verify.certify.references.matrices import inverse, pivots

Kind = Literal["unit", "tied_spherical", "spherical", "diagonal", "tied", "full"]

MATRICES, TIED = ("tied", "full"), ("tied_spherical", "tied")
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
        features = arb_mat([_features(x, kind) for x in balls(X.tolist())])
        average = [sum(column, arb(0)) / N for column in zip(*balls(X.tolist()), strict=True)]
        while len(path) <= steps and (new := _step(features, path[-1], average, kind)) is not None:
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


def _matrix(row: Vector, d: int) -> list[Vector]:
    """(d d) -> (d, d), the lower triangle mirrored."""
    return [[row[max(i, j) * d + min(i, j)] for j in range(d)] for i in range(d)]


def _features(x: Vector, kind: Kind) -> Vector:
    """(x, squares, 1)."""
    if kind == "unit":
        squares = []
    elif kind in MATRICES:
        squares = [a * b for a, b in combinations_with_replacement(x, 2)]
    else:
        squares = [a * a for a in x] if kind == "diagonal" else [dot(x, x)]
    return [*x, *squares, arb(1)]


def _coefficients(weight: arb, mean: Vector, covariance: Vector, kind: Kind) -> Vector:
    """Of the features, a column of C."""
    d, log_weight = len(mean), weight.log()
    if kind == "unit":
        return [*mean, log_weight - dot(mean, mean) / 2]
    if kind in MATRICES:
        S = _matrix(covariance, d)
        P = inverse(arb_mat(S)).tolist()
        scaled = [dot(row, mean) for row in P]
        squares = [
            -P[i][j] / (2 if i == j else 1) for i, j in combinations_with_replacement(range(d), 2)
        ]
        log_det = sum((pivot.log() for pivot in pivots(S)), arb(0))
    else:
        variances = covariance if kind == "diagonal" else covariance * d
        scaled = [m / s for m, s in zip(mean, variances, strict=True)]
        squares = [-1 / (2 * s) for s in covariance]
        log_det = sum((s.log() for s in covariance), arb(0)) * (1 if kind == "diagonal" else d)
    return [*scaled, *squares, log_weight - (log_det + dot(scaled, mean)) / 2]


def _step(features: arb_mat, state: State, average: Vector, kind: Kind) -> State | None:
    """One step; None where a component is empty or singular."""
    N, K, d = features.nrows(), len(state.weights), len(average)
    covariances = state.covariances or [[]]
    each = covariances * K if len(covariances) == 1 else covariances
    columns = [
        _coefficients(*parts, kind) for parts in zip(state.weights, state.means, each, strict=True)
    ]
    shares = []
    for row in (features * arb_mat(columns).transpose()).tolist():
        sizes = [score.exp() for score in row]
        total = sum(sizes, arb(0))
        shares.append([size / total for size in sizes])
    sums = (arb_mat(shares).transpose() * features).tolist()
    weights = [row[-1] / N for row in sums]
    if any(not above(weight, TINY) for weight in weights):
        return None
    means = [[x / row[-1] for x in row[:d]] for row in sums]
    if kind == "unit":
        return State(weights, means, [])
    seconds = [[x / row[-1] for x in row[d:-1]] for row in sums]
    own = [_covariance(second, mean, kind) for second, mean in zip(seconds, means, strict=True)]
    apart = [_features([m - c for m, c in zip(mean, average, strict=True)], kind)[d:-1] for mean in means]
    if kind in TIED:
        own, apart = ([_averaged(weights, rows)] for rows in (own, apart))
    if any(_is_singular(row, off, d, kind) for row, off in zip(own, apart, strict=True)):
        return None
    return State(weights, means, [_spread_out(row, d) if kind in MATRICES else row for row in own])


def _covariance(second: Vector, mean: Vector, kind: Kind) -> Vector:
    """The second moments less the squares of the mean; of isotropic kinds over d."""
    squares = _features(mean, kind)[len(mean) : -1]
    scale = 1 if kind == "diagonal" or kind in MATRICES else len(mean)
    return [(a - b) / scale for a, b in zip(second, squares, strict=True)]


def _averaged(weights: Vector, rows: list[Vector]) -> Vector:
    return [dot(weights, column) for column in zip(*rows, strict=True)]


def _spread_out(row: Vector, d: int) -> Vector:
    """The upper triangle -> d d numbers."""
    at = {pair: n for n, pair in enumerate(combinations_with_replacement(range(d), 2))}
    return [row[at[min(i, j), max(i, j)]] for i in range(d) for j in range(d)]


def _is_singular(row: Vector, apart: Vector, d: int, kind: Kind) -> bool:
    """Whether float64 cannot tell a covariance from a singular one, by the rules of baselines.em_steps.

    Isotropic: ``s <= 64 eps E|x - c|^2 / d``, c the average of all points. Otherwise a variance
    ``s_j <= (64 eps)^2 E(x_j - c_j)^2``, or a pivot ``<= 64 d eps s_j``. Or a variance of at most the
    smallest normal number. ``E|x - c|^2`` is a variance and what ``apart`` has: squares of ``mu - c``.
    """
    if kind in MATRICES:
        diagonal = [n for n, (i, j) in enumerate(combinations_with_replacement(range(d), 2)) if i == j]
        variances, off = [row[n] for n in diagonal], [apart[n] for n in diagonal]
    else:
        variances, off = row, apart
    share, scale = (DIGITS * DIGITS, 1) if kind == "diagonal" or kind in MATRICES else (DIGITS, d)
    for s, square in zip(variances, off, strict=True):
        if not (above(s, TINY) and above(s, share * (s + square / scale))):
            return True
    if kind not in MATRICES:
        return False
    S = _matrix(_spread_out(row, d), d)
    return any(not above(p, DIGITS * d * s) for p, s in zip(pivots(S), variances, strict=True))
