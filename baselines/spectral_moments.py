"""Moments of weighted points that the spectral method reads, each with a bound of its rounding error.

The formulas are at the head of baselines.spectral. Points may have shares (..., N), weights summing to 1,
which take the place of 1/N in every average.
"""

import torch
from torch import Tensor


def second_moment(X: Tensor, variance: Tensor, shares: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """M2 = (1/N) sum_n x_n x_n^T - s I: X (..., N, d), s (...) -> (..., d, d), and its rounding error (...).

    shares (..., N), weights summing to 1, take the place of 1/N. One is off by (N + 1) u of itself, for the
    sum and the division, and multiplies once more, so that 2 N + 2 stands for N below.

    The error is a bound of |M2_computed - M2| in the Frobenius norm: N products summed and divided by N make
    (N + 1) u (1/N) sum_n |x_nj x_nl|, whose norm is at most (N + 1) u q with q = (1/N) sum_n |x_n|^2; the
    difference rounds to u |M2 computed| <= u (q + s sqrt(d)) more, to first order in u.
    """
    d = X.shape[-1]
    identity = torch.eye(d, dtype=X.dtype, device=X.device)
    moment = _gram(X, shares) - variance[..., None, None] * identity
    squares = _average_square(X, shares)
    return moment, roundoff(X) * ((_terms(X, shares) + 2) * squares + variance * d**0.5)


def smallest_variance(X: Tensor, shares: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The least eigenvalue of (1/N) sum_n (x_n - m)(x_n - m)^T: X (..., N, d) -> (...), and its error (...).

    By Weyl's inequality an eigenvalue moves no more than the matrix: (N + 2) u q as in second_moment, q the
    average of |x_n - m|^2, each factor off by u from the subtraction, which makes (N + 4) u q; the solver's
    error of `whiten`; and |m_computed - m|^2 <= (N u)^2 max |x_n|^2, since a shift of the centre adds only
    its square. shares as in second_moment.
    Source: Hsu and Kakade 2013, Theorem 1.
    """
    eigenvalues, error = covariance_eigenvalues(X, shares)
    return eigenvalues[..., 0], error


def covariance_eigenvalues(X: Tensor, shares: Tensor | None) -> tuple[Tensor, Tensor]:
    """All of them (..., d), ascending, and the error (...) of `smallest_variance`."""
    N, d = _terms(X, shares), X.shape[-1]
    centred = X - average(X, shares).unsqueeze(-2)
    eigenvalues = torch.linalg.eigvalsh(_gram(centred, shares))
    squares = _average_square(centred, shares)
    u = roundoff(X)
    shift = (N * u) ** 2 * X.square().sum(-1).amax(-1)
    return eigenvalues, u * (N + 4 + 8 * d) * squares + shift


def _terms(X: Tensor, shares: Tensor | None) -> int:
    """N, and 2 N + 2 where shares round as well: see second_moment."""
    return X.shape[-2] if shares is None else 2 * X.shape[-2] + 2


def average(X: Tensor, shares: Tensor | None) -> Tensor:
    """Of X (..., N, d): (..., d)."""
    return X.mean(-2) if shares is None else (shares.unsqueeze(-2) @ X).squeeze(-2)


def _average_square(X: Tensor, shares: Tensor | None) -> Tensor:
    """Of |x_n|^2: (...)."""
    if shares is None:
        return X.square().sum((-2, -1)) / X.shape[-2]
    return (shares * X.square().sum(-1)).sum(-1)


def _gram(X: Tensor, shares: Tensor | None) -> Tensor:
    """The average of x_n x_n^T, (..., d, d)."""
    return X.mT @ X / X.shape[-2] if shares is None else (shares.unsqueeze(-1) * X).mT @ X


def whitened_third_moment(
    X: Tensor, W: Tensor, variance: Tensor, shares: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """T = M3(W, W, W): X (..., N, d), W (..., d, K), s (...) -> (..., K, K, K), and its rounding error (...).

    T_abc = (1/N) sum_n y_a y_b y_c - s (h_a G_bc + h_b G_ac + h_c G_ab), y = W^T x, h the average of y and
    G = W^T W. The error bounds the Frobenius norm of what rounding changes for the y as computed: two
    products, a sum of N and a division make (N + 2) u c, c the average of |y|^3; h is off by N u a, a the
    average of |y|, and G by d u |W|_F^2, so each of the three terms by (N + d + 3) u s a |W|_F^2; two sums
    and the difference add 3 u of everything. Together at most (N + d + 6) u (c + 3 s a |W|_F^2). shares as
    in second_moment.
    """
    N, d = _terms(X, shares), X.shape[-1]
    K = W.shape[-1]
    Y = X @ W
    pairs = (Y.unsqueeze(-1) * Y.unsqueeze(-2)).flatten(-2)
    if shares is None:
        raw = (Y.mT @ pairs).unflatten(-1, (K, K)) / N
    else:
        raw = ((shares.unsqueeze(-1) * Y).mT @ pairs).unflatten(-1, (K, K))
    h, G = average(Y, shares), W.mT @ W
    outer = h[..., None, None] * G.unsqueeze(-3)
    noise = outer + outer.transpose(-3, -2) + outer.transpose(-3, -1)
    lengths = Y.square().sum(-1).sqrt()
    cubes, averages = (average(v.unsqueeze(-1), shares).squeeze(-1) for v in (lengths.pow(3), lengths))
    size = cubes + 3 * variance * averages * W.square().sum((-2, -1))
    return raw - variance[..., None, None, None] * noise, roundoff(X) * (N + d + 6) * size


def roundoff(values: Tensor) -> float:
    """u: half the distance from 1 to the next number of the dtype."""
    return torch.finfo(values.dtype).eps / 2
