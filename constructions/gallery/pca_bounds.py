"""How far power iteration with deflation in layers can be from the exact iteration, along its path.

Only directions matter to the next step, so a state v' of the layers is taken as u = v' / |v'|, and eta bounds
the distance from u to the exact unit vector v. Let ``M' = (I - u_{p-1} u_{p-1}^T) .. (I - u_1 u_1^T) C`` with
the axes of the layers, M the same with the exact ones, and x = M' u. Then for v = u + delta

    M v = x + M' delta + (M - M') u + (M - M') delta
    |(M - M') u| <= sum_j eta_j (|<u_j, z_{j-1}>| + |z_{j-1}|)
                    with z_0 = C u,  z_j = z_{j-1} - u_j <u_j, z_{j-1}>
    |M - M'|     <= |C| sum_j eta_j

(projections telescope; a a^T - b b^T = (a - b) a^T + b (a - b)^T, and its norm is at most |a - b| for unit
vectors). With P the projection off x, the tangent of the angle between x and M v, which bounds the distance
of the unit vectors, is at most

    (|P M'| eta + eps) / (|x| - |x^T M'| / |x| eta - eps),     eps = |(M - M') u| + |M - M'| eta.

The layers write w with |w / |v'| - x| <= E; unit vectors of a and b are at most 2 |a - b| / (|a| + |b|) apart
(Dunkl and Williams), so this adds 2 E / (2 |x| - E). The norm and the MLP add

    post = gamma_{D+12} + (2 u |v+| + u |v'|) / (1 - 2 u) + D tiny (1 + 1 / |w|^2)

to v+, twice that over |v+| to its direction; ``rest`` shortens it by at most REST^2 / (2 |w|^2), which is the
only error in real arithmetic. E is ``E_p + gamma F``, F = |C|_F + E_p, and E_p the error of the deflated
matrix, which projections do not enlarge:

    E_1      = gamma_{T+6} sum_i |x_i|^2
    E_{p+1}  = E_p + H + 3 u / (1 - 3 u) (2 F + H),   H = F ||v'|^2 - 1| + gamma_{T+d0+8} F (|v'|^2 + 1)

The belt and the new start are moved by the MLP as well: 4 u a component, and 7 u of direction at a start.
All values are evaluated in float64, what this file itself rounds being in `_own`;
or in intervals or balls (verify.intervals, verify.balls), which enclose them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from constructions.language.rounding import above, below, gamma, number, unit_roundoff
from constructions.language.shown import short_repr

U64 = unit_roundoff(torch.float64)


@dataclass(frozen=True, eq=False)
class PCABound:
    """(B, L, K) bounds of ``|v' - v|`` after each step; inf where nothing is claimed.

    Attributes:
        total: all of it. approximation: the share of REST in the length of v.
    """

    total: Tensor
    approximation: Tensor

    __repr__ = short_repr


def pca_bound(
    X: Tensor, path: Tensor, dtype: torch.dtype, sizes: tuple[int, int, int], rest: float
) -> PCABound:
    """The bound at the head of this file.

    Args:
        X: (B, n, d), path: (B, L + 1, K, d), float64.
        dtype: in which the path was run. sizes: T tokens, d0, D. rest: REST, or 0 of an iteration without it.
    """
    T, d0, D = sizes
    u, tiny = unit_roundoff(dtype), torch.finfo(dtype).tiny
    C = X.mT @ X
    squares = X.square().sum((1, 2))
    frobenius = torch.linalg.matrix_norm(C) + gamma(X.shape[1] + 4, U64) * squares
    flushed = 2 * tiny * (T + 8) * (d0 + 1)
    matrix = gamma(T + 6, u) * squares + flushed
    axes: list[tuple[Tensor, Tensor]] = []
    total, approximation = [], []
    for p in range(path.shape[2]):
        own = _own(X, p) * squares
        eta = torch.full_like(squares, 7 * u if p else 0.0)
        for t in range(path.shape[1] - 1):
            now, then = path[:, t, p], path[:, t + 1, p]
            length, after = now.norm(dim=-1), then.norm(dim=-1)
            direction = now / torch.where(length > 0, length, 1.0)[:, None]
            step = _Step.at(C, direction, axes, frobenius, eta)
            written = matrix + gamma(T + d0 + 8, u) * (frobenius + matrix) + own + flushed
            kept = step.size - written
            norm = length * kept
            post = gamma(D + 12, u) + (2 * u * after + u * length) / (1 - 2 * u) + D * tiny * (1 + norm**-2)
            apart = _quotient(2 * written, step.size + kept) + _quotient(step.off + own, step.kept - own)
            short = 0.5 * (rest / norm).square()
            eta = 2 * post / after + apart
            known = (below(kept) > 0) & (above(eta) < 1)
            eta = torch.where(known, above(eta), math.inf)
            belt = 4 * u * path.shape[2]
            total.append(torch.where(known, post + short + apart + belt, math.inf))
            approximation.append(torch.where(known, short, math.inf))
        final = path[:, -1, p]
        length = final.norm(dim=-1)
        axes.append((final / torch.where(length > 0, length, 1.0)[:, None], eta))
        largest = frobenius + matrix
        longer = (length.square() - 1).abs() + gamma(path.shape[-1] + 4, U64)
        deflated = largest * longer + gamma(T + d0 + 8, u) * largest * (length.square() + 1) + flushed
        matrix = matrix + deflated + number(3 * u) / (1 - 3 * u) * (2 * largest + deflated)
    shape = path.shape[2], path.shape[1] - 1
    found = (torch.stack(part, 1).unflatten(1, shape).transpose(1, 2) for part in (total, approximation))
    return PCABound(*(torch.where(part.isfinite(), part, math.inf) for part in found))


@dataclass(frozen=True, eq=False)
class _Step:
    """The exact step from the direction u of the layers. size: |x|. off, kept: numerator and denominator
    above."""

    size: Tensor
    off: Tensor
    kept: Tensor

    @classmethod
    def at(cls, C: Tensor, u: Tensor, axes: list[tuple[Tensor, Tensor]], norm: Tensor, eta: Tensor) -> _Step:
        x, M = (C @ u[..., None])[..., 0], C
        moved, spread = torch.zeros_like(eta), torch.zeros_like(eta)
        for axis, off in axes:
            along = (axis * x).sum(-1)
            moved = moved + off * (along.abs() + x.norm(dim=-1))
            spread = spread + off
            x = x - axis * along[:, None]
            M = M - axis[..., None] * (axis[:, None] @ M)
        size = x.norm(dim=-1)
        unit = x / torch.where(below(size) > 0, size, 1.0)[:, None]
        along = (unit[:, None] @ M)[:, 0]
        off = torch.linalg.matrix_norm(M - unit[..., None] * along[:, None], ord=2)
        eps = moved + norm * spread * eta
        # eta = 0 says that both start alike, whatever is unknown elsewhere.
        carried, lost = (torch.where(above(eta) > 0, part * eta, 0.0) for part in (off, along.norm(dim=-1)))
        return cls(size, carried + eps, size - lost - eps)


def _own(X: Tensor, found: int) -> Tensor:
    """What evaluating x and M in float64 rounds, over the sum of squares, after so many projections."""
    n, d = X.shape[1:]
    return gamma(n + 2 * d + 16, U64) + 6 * found * number(gamma(2 * d + 8, U64))


def _quotient(top: Tensor, bottom: Tensor) -> Tensor:
    """inf where the bottom is not positive: nothing is claimed there."""
    return torch.where(below(bottom) > 0, top / bottom, math.inf)
