"""The spectral algorithm of one size of task in float64, or in balls: what the bounds are computed from.

Eigenvalues of M2 fall; W (K, d) = D^(-1/2) U^T on the K largest, T = M3(W, W, W). Sizes of rounding are sums
of absolute values over the points, ``ỹ = |W| |x|`` for instance.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.overrides import handle_torch_function, has_torch_function_unary

from constructions.language.rounding import number
from constructions.language.shown import short_repr


@dataclass(frozen=True, eq=False)
class Problem:
    """B tasks of one size in float64: X (B, N, d), s (B,), directions (B, S, d), basis (B, K, d)."""

    X: Tensor
    s: Tensor
    directions: Tensor
    basis: Tensor

    __repr__ = short_repr

    def __len__(self) -> int:
        """B."""
        return len(self.X)

    @property
    def n_components(self) -> int:
        """K."""
        return self.basis.shape[1]


@dataclass(frozen=True, eq=False)
class Exact:
    """What the algorithm computes of a problem before its power iterations.

    Attributes:
        problem: the tasks. eigenvalues, vectors, W: as :func:`leading_axes` gives them. P: (B, K, d), W M2.
        T: (B, K, K, K).
        second: (B,) the average of |x|^2. moment_norm: (B,) |M2|_F.
        outside: (B,) |M3(U', W, W)|_F, U' the eigenvectors beyond the K-th.
        third: (B,) a bound of |M3(A, B, C)|_F for A, B, C of spectral norm 1 and at most K rows.
        reach: (B,) a bound of |y_a +- y_b| over the points and those that stand for the noise, for y up to a
            rotation: a coordinate is at most the length, and a = b doubles it.
        skew: (B,) a bound of |T_abc - T_acb|_F / 2 of the T that the layers make from products.
        spread: (B,) the sum of |y| over the points and over those that stand for the noise, with the absolute
            values of their weights 1 / N, s / 2, s / 2 and s.
        longest: (B,) the largest |x|. length: (B,) the sum of |x| with the same weights as in ``spread``.
        noise, cubes: (B,) sizes for the rounding of the noise: |W| |m| times |W| |W|^T, and, where it is made
            of points, the sum over them of the cube of |W| |x| with the absolute weights.
            The layers' W is a rotation Q W, and |Q W| |x| may be sqrt(K) longer than |W| |x|: these and the
            next two count sqrt(K) for every factor.
        absolute, gated: (B,) sizes for the rounding of T: of |W| |x| in all three places, and with |x|_1 in
            one of them; the noise included.
    """

    problem: Problem
    eigenvalues: Tensor
    vectors: Tensor
    W: Tensor
    P: Tensor
    T: Tensor
    second: Tensor
    moment_norm: Tensor
    outside: Tensor
    third: Tensor
    reach: Tensor
    skew: Tensor
    spread: Tensor
    longest: Tensor
    length: Tensor
    noise: Tensor
    cubes: Tensor
    absolute: Tensor
    gated: Tensor

    __repr__ = short_repr

    @property
    def largest(self) -> Tensor:
        """(B,) the largest absolute eigenvalue of M2."""
        return self.eigenvalues.abs().amax(-1)

    @property
    def least(self) -> Tensor:
        """(B,) the K-th eigenvalue."""
        return self.eigenvalues[:, self.problem.n_components - 1]

    @property
    def beyond(self) -> Tensor:
        """(B,) the largest absolute eigenvalue beyond the K-th; 0 where K = d."""
        rest = self.eigenvalues[:, self.problem.n_components :]
        return rest.abs().amax(-1) if rest.shape[1] else torch.zeros_like(self.least)

    @property
    def next(self) -> Tensor:
        """(B,) the eigenvalue K + 1, where K < d."""
        return self.eigenvalues[:, self.problem.n_components]

    @property
    def decay(self) -> Tensor:
        """(B,) ``rho = beyond / least``, by which a round of subspace iteration multiplies the error."""
        return self.beyond / self.least


def leading_axes(M: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Eigenvalues of M (B, d, d), falling, (B, d); an orthonormal basis (B, d, d); W (B, count, d).

    The first ``count`` columns of the basis span the space of the largest eigenvalues, the others that of
    the rest; W has its rows in the first and ``W M W^T = I``. Here they are the eigenvectors and
    ``D^(-1/2) U^T``, in balls matrices near them: the bounds hold with any, as they are of the layers up to a
    rotation. Where the K-th eigenvalue is not positive nothing is claimed, and any number will do.
    """
    if has_torch_function_unary(M):
        return handle_torch_function(leading_axes, (M,), M, count)
    values, vectors = torch.linalg.eigh(M)
    values, vectors = values.flip(-1), vectors.flip(-1)
    kept = torch.where(values[:, :count] > 0, values[:, :count], 1.0)
    return values, vectors, vectors[:, :, :count].mT / kept.sqrt()[:, :, None]


def exact(problem: Problem) -> Exact:
    """M2, its whitening and T."""
    X, s, K = problem.X, problem.s, problem.n_components
    N, d = X.shape[1:]
    root = number(K).sqrt()
    M2 = X.mT @ X / N - s[:, None, None] * torch.eye(d, dtype=X.dtype)
    values, vectors, W = leading_axes(M2, K)
    P = W @ M2
    Y, m = X @ W.mT, X.mean(1)
    h, G = (W @ m[:, :, None])[..., 0], W @ W.mT
    pairs = Y[..., :, None] * Y[..., None, :]
    # M3(I, W, W), (B, d, K, K): the points' less s (m_a G_bc + W_ba h_c + h_b W_ca).
    raw = torch.einsum("bnd,bnkl->bdkl", X, pairs) / N
    sides = W.mT[:, :, :, None] * h[:, None, None, :]
    moment = raw - s[:, None, None, None] * (m[:, :, None, None] * G[:, None] + sides + sides.transpose(2, 3))
    T = torch.einsum("bad,bdkl->bakl", W, moment)
    outside = torch.einsum("bde,bdkl->bekl", vectors[:, :, K:], moment).flatten(1).norm(dim=-1)
    lengths, norm_m = X.norm(dim=-1), m.norm(dim=-1)
    third = lengths.pow(3).mean(-1) + 3 * s * norm_m * root
    sides_y = torch.cat([h[:, None] + W.mT, h[:, None] - W.mT], 1).norm(dim=-1)
    y_length = Y.norm(dim=-1)
    reach = 2 * torch.maximum(y_length.amax(1), sides_y.amax(1))
    spread = y_length.mean(-1) + s * (sides_y.sum(1) / 2 + d * h.norm(dim=-1))
    size_W = W.abs()
    y_size, h_size = X.abs() @ size_W.mT, (size_W @ m.abs()[:, :, None])[..., 0].norm(dim=-1)
    G_size = (size_W @ size_W.mT).flatten(1).norm(dim=-1)
    y_norm, x_sum = y_size.norm(dim=-1), X.abs().sum(-1)
    absolute = K * root * (y_norm.pow(3).mean(-1) + 3 * s * h_size * G_size)
    # A column of |W| becomes all ones: |x|_1 sqrt(K) for |W| |x|, and sqrt(K) sum |W| for a factor of G.
    ones = K * size_W.sum((1, 2))
    gated = K * root * (x_sum * y_norm.square()).mean(-1) + 3 * s * (
        root * h_size * ones + m.abs().sum(-1) * K * root * G_size
    )
    return Exact(
        problem,
        values,
        vectors,
        W,
        P,
        T,
        lengths.square().mean(-1),
        M2.flatten(1).norm(dim=-1),
        outside,
        third,
        reach,
        2 * s * h.norm(dim=-1) * G.flatten(1).norm(dim=-1),
        spread,
        lengths.amax(1),
        lengths.mean(-1) + s * d * (2 * norm_m + 1),
        K * root * h_size * G_size,
        K * root * s * ((h_size[:, None] + size_W.norm(dim=1)).pow(3).sum(1) + d * h_size.pow(3)),
        absolute,
        gated,
    )
