"""How far Newton's inverse in layers can be from ridge regression.

With A = X^T X + lambda I, R_t = (I - c A)^(2^t) and ``rho_t = rho^(2^t)``, rho >= |I - c A|:

    approximation   w_t = (I - R_t) w*,  so  |w_t - w*| <= rho_t |w*|
    rounding        e_t >= |R_t' - R_t|_F and f_t >= |w_t' - w_t| of what the layers hold,
                    R' R' - R R = R (R' - R) + (R' - R) R + (R' - R)^2, so
                        e <- 2 rho_t e + e^2 + gamma (sqrt(d) rho_t + e)^2
                        f <- (1 + rho_t) f + e (|w_t| + f) + gamma (sqrt(d) rho_t + e + 1) (|w_t| + f)
                    and after it the MLP, which moves the new matrix over the old one in two roundings:
                        3 u / (1 - 3 u) (|new| + |old|)

``gamma = gamma_{T+4}``: the score <row, id> is an entry of the row, exactly; a product, a sum over T tokens,
one over two heads. At the start ``e = gamma_{T+6} (c sum_i |x_i|^2 + sqrt(d))`` and
``f = gamma_{T+6} c sum_i |x_i| |y_i|``, v being rounded twice. A product below the normal numbers may be
flushed: tiny each, counted twice.

rho = max(1 - c lambda_min, c (sum_i |x_i|^2 + lambda) - 1), where lambda_min is bounded from below with the
computed eigenvectors V and eigenvalues: for F = A - V diag V^T and E = V^T V - I,

    z^T A z >= min diag |V^T z|^2 - |F| |z|^2 >= (min diag (1 - |E|) - |F|) |z|^2.

All values are evaluated in float64, or in intervals or balls (verify.intervals, verify.balls), which enclose
them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from constructions.language.rounding import (
    above,
    approximately,
    below,
    gamma,
    number,
    unit_roundoff,
    unrounded,
)
from constructions.language.shown import short_repr

U64 = unit_roundoff(torch.float64)


@dataclass(frozen=True, eq=False)
class RidgeBound:
    """Bounds along a path of L Newton steps.

    Attributes:
        approximation: (B, L + 1) of ``|w_t - w*|`` in real arithmetic.
        rounding: (B, L + 1) what the layers add to it; alone, their distance from Newton's iterates.
        least_eigenvalue: (B,) lower bound of A's. rate: (B,) rho.
    """

    approximation: Tensor
    rounding: Tensor
    least_eigenvalue: Tensor
    rate: Tensor

    __repr__ = short_repr


def least_eigenvalue(X: Tensor, penalty: Tensor) -> Tensor:
    """(B,) a lower bound of the least eigenvalue of ``X^T X + penalty I``."""
    (n, d), one = X.shape[1:], torch.eye(X.shape[2], dtype=X.dtype)
    A = X.mT @ X + penalty[:, None, None] * one
    computed = approximately(A)
    values, V = unrounded(lambda: torch.linalg.eigh(computed))  # whatever they are, the bound holds
    scaled = V * values[:, None]
    left = torch.linalg.matrix_norm(A - scaled @ V.mT)
    left = left + gamma(d + 4, U64) * torch.linalg.matrix_norm(A.abs() + scaled.abs() @ V.abs().mT)
    formed = gamma(n + 4, U64) * (X.square().sum((1, 2)) + penalty * number(d).sqrt())
    apart = torch.linalg.matrix_norm(V.mT @ V - one) + gamma(d + 4, U64) * d
    return torch.maximum(values[:, 0] * (1 - apart) - left - formed, penalty)


def solution_error(X: Tensor, y: Tensor, penalty: Tensor, w: Tensor) -> Tensor:
    """(B,) bound on ``|w - w*|`` of any w (B, d), from its residual ``b - A w = X^T (y - X w) - lambda
    w``."""
    n, d = X.shape[1:]
    inner = y - (X @ w[..., None])[..., 0]
    residual = (X.mT @ inner[..., None])[..., 0] - penalty[:, None] * w
    sizes = y.abs() + (X.abs() @ w.abs()[..., None])[..., 0]
    sizes = (X.abs().mT @ sizes[..., None])[..., 0] + penalty[:, None] * w.abs()
    off = residual.norm(dim=-1) + gamma(n + d + 8, U64) * sizes.norm(dim=-1)
    least = least_eigenvalue(X, penalty)
    return torch.where(below(least) > 0, off / least, math.inf)


def solution(A: Tensor, b: Tensor) -> Tensor:
    """(B, d) near ``A^-1 b``; how near, its residual says."""
    return unrounded(lambda: torch.linalg.lstsq(A, b).solution[..., 0])


def ridge_bound(
    X: Tensor, y: Tensor, penalty: Tensor, scale: Tensor, steps: int, tokens: int, dtype: torch.dtype
) -> RidgeBound:
    """The bounds at the head of this file.

    Args:
        X: (B, n, d). y: (B, n). penalty, scale: (B,) lambda and c. All float64.
        steps: L. tokens: T. dtype: in which the layers run.
    """
    u, d = unit_roundoff(dtype), X.shape[2]
    root, total = number(d).sqrt(), X.square().sum((1, 2))
    least = least_eigenvalue(X, penalty)
    rate = torch.maximum(1 - scale * least, scale * (total + penalty) - 1).clamp_min(0) + 8 * U64
    A = X.mT @ X + penalty[:, None, None] * torch.eye(d, dtype=X.dtype)
    solved = solution(approximately(A), approximately(X.mT @ y[..., None]))
    size = solved.norm(dim=-1) + solution_error(X, y, penalty, solved)
    lengths = (X.norm(dim=-1) * y.abs()).sum(1)
    flushed = 2 * torch.finfo(dtype).tiny * (tokens + 8) * (d + 1)
    e = gamma(tokens + 6, u) * (scale * total + root) + flushed
    f = gamma(tokens + 6, u) * scale * lengths + flushed
    g, m = gamma(tokens + 4, u), number(3 * u) / (1 - 3 * u)
    rho, approximation, rounding = rate, [rate * size], [f]
    for _ in range(steps):
        then = rho.square() * (1 + 4 * U64)
        w, w_then = (1 + rho) * size, (1 + then) * size
        new_e = 2 * rho * e + e.square() + g * (root * rho + e).square() + flushed
        new_f = (1 + rho) * f + e * (w + f) + g * (root * rho + e + 1) * (w + f) + flushed
        f = new_f + m * (w_then + new_f + w + f)
        e = new_e + m * (root * then + new_e + root * rho + e)
        rho, e, f = above(then), above(e), above(f)
        approximation.append(rho * size)
        rounding.append(f)
    known = (below(least) > 0)[:, None]

    def claimed(parts: list[Tensor]) -> Tensor:
        values = torch.stack(parts, 1)
        return torch.where(known & values.isfinite(), values, math.inf)

    return RidgeBound(claimed(approximation), claimed(rounding), least, rate)
