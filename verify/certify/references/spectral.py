"""The spectral algorithm in balls: moments, whitening, tensor power method, recovery.

    M2 = sum_n x_n x_n^T / N - s I,   W^T M2 W = I on the space of the K largest eigenvalues,   B = M2 W
    T = M3(W, W, W),   T = sum_k lambda_k v_k x v_k x v_k by deflation,   mu_k = lambda_k B v_k,
    pi_k = lambda_k^-2 / sum_j lambda_j^-2

Any such W gives the same means and weights, as the starts are read through it: with U a basis of the space
and ``U^T M2 U = L L^T`` it is ``U L^-T`` here, and eigenvectors are not needed.
Source and definitions: baselines.spectral, with the starts of verify.spectral.reference.
"""

from __future__ import annotations

from itertools import combinations_with_replacement
from typing import NamedTuple

from torch import Tensor

from verify.balls.flint import arb, arb_mat
from verify.balls.spaces import identity, leading_space
from verify.certify.references.decisions import (
    ROUNDOFF,
    TINY,
    Balls,
    above,
    balls,
    dot,
    path_array,
)
from verify.certify.references.matrices import inverse_root, least_eigenvalue, ones, pivots, products
from verify.certify.references.power_method import Term, components, third_norm


class Whitened(NamedTuple):
    """W, B: (d, K). s: variance."""

    W: arb_mat
    B: arb_mat
    s: arb


def spectral_states(
    X: Tensor, directions: Tensor, n_components: int, steps: int, variance: float | None
) -> dict[str, Balls]:
    """Zeros, then what the algorithm finds.

    Args:
        X: (N, d). directions: (S, d), the starts of every component, in the space of the points.
        steps: of the power iteration, twice. variance: s; None estimates it.

    Returns:
        means (2, K, d), weights (2, K, 1), the defect of the whitening (2, 1, 1), which is 0, and variance
        (2, 1, 1). Means and weights are NaN where an eigenvalue of M2 or T, or an estimated variance, cannot
        be told from 0 in float64.

    Raises:
        Undecided: more bits are needed, or eigenvalues are too close to tell their spaces apart.
        ValueError: a point that is not finite, K > d, no step.
    """
    (N, d), K = X.shape, n_components
    if not bool(X.isfinite().all()):
        raise ValueError("X has values that are not finite; finite points are needed")
    if not 1 <= K <= d or steps < 1:
        raise ValueError(f"K = {K}, d = {d}, steps = {steps}; 1 <= K <= d and a step are needed")
    points = arb_mat(X.tolist())
    second = points.transpose() * points * (arb(1) / N)
    s, error, told = _variance(points, second, variance)
    whitened = _whitened(second, N, K, s, error) if told else None
    found = None if whitened is None else _terms(points, whitened, directions, steps)
    zero = arb(0)
    means, weights = [[[zero] * d] * K], [[[zero]] * K]
    if whitened is not None and found is not None:
        shares = [1 / (term.eigenvalue * term.eigenvalue) for term in found]
        total = sum(shares, zero)
        weights.append([[share / total] for share in shares])
        means.append([(whitened.B * arb_mat(K, 1, t.vector) * t.eigenvalue).entries() for t in found])
    return {
        "means": path_array(means, 2, (K, d)),
        "weights": path_array(weights, 2, (K, 1)),
        "whitening": path_array([[[zero]]] * 2, 2, (1, 1)),
        "variance": path_array([[[zero]], [[s]]], 2, (1, 1)),
    }


def _variance(points: arb_mat, second: arb_mat, variance: float | None) -> tuple[arb, arb, bool]:
    """s, what float64 may be off by in it, and whether it is told from 0 (baselines.spectral).

    An estimated s is the least eigenvalue of the covariance ``C``, off by ``(N + 4 + 8 d) u tr C`` and
    ``(N u)^2`` times the largest ``|x|^2``.
    """
    if variance is not None:
        return arb(variance), arb(0), True
    N, d = points.nrows(), points.ncols()
    average = ones(1, N) * points * (arb(1) / N)
    C = second - average.transpose() * average
    s = least_eigenvalue(C)
    longest = max((products(points, points) * ones(d, 1)).entries(), key=lambda square: square.upper())
    error = ROUNDOFF * (N + 4 + 8 * d) * C.trace() + (N * ROUNDOFF) ** 2 * longest
    return s, error, above(s, error) and above(s, TINY)


def _whitened(second: arb_mat, N: int, K: int, s: arb, error: arb) -> Whitened | None:
    """None where the K-th eigenvalue of M2 is not above what rounding makes of 0 (baselines.spectral).

    That is ``u ((N + 2) q + s sqrt(d)) + 8 d u |M2|_F`` and the error of s, q the average of ``|x|^2``. As
    many eigenvalues are above it as pivots of M2 less it are positive.
    """
    d = second.nrows()
    M2 = second - identity(d) * s
    norm = sum((x * x for x in M2.entries()), arb(0)).sqrt()
    rounding = ROUNDOFF * ((N + 2) * second.trace() + s * arb(d).sqrt() + 8 * d * norm) + error
    if sum(above(pivot, arb(0)) for pivot in pivots(M2 - identity(d) * rounding)) < K:
        return None
    U = identity(d) if d == K else leading_space(M2, K)[0]
    W = U * inverse_root(U.transpose() * M2 * U).transpose()
    return Whitened(W, M2 * W, s)


def _terms(points: arb_mat, whitened: Whitened, directions: Tensor, steps: int) -> list[Term] | None:
    """The components of T; None where an eigenvalue is not above what rounding makes of 0.

    ``T_abc = sum_n y_a y_b y_c / N - s (h_a G_bc + h_b G_ac + h_c G_ab)``, ``y = W^T x``, h the average of y,
    ``G = W^T W``. Rounding (baselines.spectral): ``(N + d + 6) u (c + 3 s a |W|_F^2)`` and
    ``K (12 K + 14) u |T|_F``, a and c the averages of ``|y|`` and ``|y|^3``.
    """
    W, s = whitened.W, whitened.s
    (N, d), K = (points.nrows(), points.ncols()), W.ncols()
    Y = points * W
    rows = Y.tolist()
    pairs = list(combinations_with_replacement(range(K), 2))
    raw = (Y.transpose() * arb_mat([[y[b] * y[c] for b, c in pairs] for y in rows])).tolist()
    h = [x / N for x in (ones(1, N) * Y).entries()]
    G = W.transpose() * W
    F = arb_mat(
        [
            [
                (1 if b == c else 2) * (x / N - s * (h[a] * G[b, c] + h[b] * G[a, c] + h[c] * G[a, b]))
                for x, (b, c) in zip(raw[a], pairs, strict=True)
            ]
            for a in range(K)
        ]
    )
    squares = [dot(y, y) for y in rows]
    lengths = [square.nonnegative_part().sqrt() for square in squares]
    size = dot(squares, lengths) / N + 3 * s * sum(lengths, arb(0)) / N * G.trace()
    least = ROUNDOFF * ((N + d + 6) * size + K * (12 * K + 14) * third_norm(F))
    starts = (arb_mat(balls(directions.tolist())) * W).tolist()
    return components(F, starts, K, steps, least)
