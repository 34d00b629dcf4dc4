"""A softmax head that is trained on what the trace of EM says it should attend to.

    p_ik(A) = softmax_k(h_i^T A g_k + o_k),    loss(A) = mean_i KL(p_i(A*) || p_i(A))

The loss is the cross entropy less a constant. It is convex in the form A, and its minimisers are A* + N,

    N = {B: h_i^T B (g_k - g_l) = 0 for every row i and all keys k, l of its task}.

Proofs: paper_notes/finding_the_theorem.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.integrate import solve_ivp
from scipy.special import log_softmax

from constructions.language.shown import short_repr

Floats = NDArray[np.float64]
TOLERANCE = 1e-6
"""Error of one step of the integrator, relative and absolute, that it is asked for."""


@dataclass(frozen=True, eq=False)
class TracedHead:
    """Rows, keys and the form that the construction has.

    queries   (T, R, D): h_i, of T tasks.
    keys      (T, n, E): g_k.
    offset    (T, n): o_k, added to the scores and not learned.
    target    (D, E): A*.
    """

    queries: Floats
    keys: Floats
    offset: Floats
    target: Floats

    __repr__ = short_repr

    def scores(self, form: Floats) -> Floats:
        """(T, R, n)."""
        return self.queries @ form @ self.keys.swapaxes(-1, -2) + self.offset[:, None]

    def weights(self, form: Floats) -> Floats:
        """p (T, R, n)."""
        return np.exp(log_softmax(self.scores(form), axis=-1))

    @cached_property
    def wanted(self) -> Floats:
        """p of the target."""
        return self.weights(self.target)

    def loss(self, form: Floats) -> float:
        """The mean divergence, 0 at the target."""
        gap = log_softmax(self.scores(self.target), axis=-1) - log_softmax(self.scores(form), axis=-1)
        return float(np.mean(np.sum(self.wanted * gap, axis=-1)))

    def gradient(self, form: Floats) -> Floats:
        """(D, E): mean_i sum_k (p_ik - p*_ik) h_i g_k^T."""
        residual = self.weights(form) - self.wanted
        return np.sum(self.queries.swapaxes(-1, -2) @ residual @ self.keys, axis=0) / self.n_rows

    def hessian(self, form: Floats) -> Floats:
        """(D E, D E): mean_i sum_k p_ik c_ik c_ik^T, c_ik = h_i (x) (g_k - the mean of g under p_i)."""
        p = self.weights(form)
        centred = self.keys[:, None] - (p @ self.keys)[:, :, None]  # (T, R, n, E)
        features = self.queries[:, :, None, :, None] * centred[:, :, :, None, :]
        flat = (np.sqrt(p)[..., None, None] * features).reshape(-1, form.size)
        return flat.T @ flat / self.n_rows

    @property
    def n_rows(self) -> int:
        """Rows of all tasks."""
        return self.queries.shape[0] * self.queries.shape[1]

    @cached_property
    def seen(self) -> Floats:
        """(D E, r): an orthonormal basis of the complement of N, by a singular value decomposition.

        Singular values below eps times the larger size of the matrix times the largest count as 0.
        """
        differences = self.keys[:, 1:] - self.keys[:, :1]
        features = self.queries[:, :, None, :, None] * differences[:, None, :, None, :]
        flat = features.reshape(-1, self.target.size)
        _, sizes, rows = np.linalg.svd(flat, full_matrices=False)
        return rows[sizes > np.finfo(np.float64).eps * max(flat.shape) * sizes[0]].T

    def visible(self, form: Floats) -> Floats:
        """(D, E): the part of a form that is orthogonal to N."""
        return (self.seen @ (self.seen.T @ form.ravel())).reshape(form.shape)

    def distance(self, form: Floats) -> float:
        """Largest difference of the scores to the target's, each row without its mean."""
        gap = self.queries @ (form - self.target) @ self.keys.swapaxes(-1, -2)
        return float(np.abs(gap - gap.mean(-1, keepdims=True)).max())

    @property
    def is_product(self) -> bool:
        """Whether the complement of N is {all h} (x) {all g_k - g_l}: the hypothesis on factors."""
        differences = self.keys[:, 1:] - self.keys[:, :1]
        ranks = [
            np.linalg.matrix_rank(part.reshape(-1, part.shape[-1])) for part in (self.queries, differences)
        ]
        return self.seen.shape[1] == ranks[0] * ranks[1]

    @property
    def widest(self) -> float:
        """B: the largest |h_i| |g_k - g_l|."""
        gaps = np.linalg.norm(self.keys[:, :, None] - self.keys[:, None], axis=-1).max((1, 2))
        return float((np.linalg.norm(self.queries, axis=-1).max(1) * gaps).max())

    @property
    def slowest(self) -> float:
        """rho: the smallest eigenvalue of the Hessian at the target on the complement of N."""
        return float(np.linalg.eigvalsh(self.seen.T @ self.hessian(self.target) @ self.seen)[0])


def form_flow(head: TracedHead, start: Floats, until: float) -> tuple[Floats, Floats]:
    """Gradient flow of the form: times (n,) and forms (n, D, E), at the times that the integrator chose.

    Implicit (Radau) with the exact Hessian: rates differ by many powers of ten.

    Raises:
        RuntimeError: the integrator gave up; its words.
    """
    shape = start.shape
    return _integrated(
        lambda flat: -head.gradient(flat.reshape(shape)).ravel(),
        lambda flat: -head.hessian(flat.reshape(shape)),
        start,
        until,
    )


def factor_flow(head: TracedHead, start: tuple[Floats, Floats], until: float) -> tuple[Floats, Floats]:
    """Gradient flow of W_Q (D, H), W_K (E, H), A = W_Q W_K^T: times (n,) and forms (n, D, E); as above."""
    left, right = start
    rows, inner = left.shape

    def split(flat: Floats) -> tuple[Floats, Floats]:
        return flat[: left.size].reshape(rows, inner), flat[left.size :].reshape(-1, inner)

    def velocity(flat: Floats) -> Floats:
        q, k = split(flat)
        gradient = head.gradient(q @ k.T)
        return -np.concatenate([(gradient @ k).ravel(), (gradient.T @ q).ravel()])

    def jacobian(flat: Floats) -> Floats:
        q, k = split(flat)
        form = q @ k.T
        gradient = head.gradient(form)
        # of vec(q k^T) by q and by k, all row by row
        by_q = np.kron(np.eye(rows), k)
        by_k = np.einsum("ah,bc->abch", q, np.eye(len(k))).reshape(form.size, -1)
        by = np.concatenate([by_q, by_k], axis=1)
        found = by.T @ head.hessian(form) @ by
        mixed = np.einsum("ac,gh->agch", gradient, np.eye(inner)).reshape(left.size, right.size)
        found[: left.size, left.size :] += mixed
        found[left.size :, : left.size] += mixed.T
        return -found

    times, flat = _integrated(velocity, jacobian, np.concatenate([left.ravel(), right.ravel()]), until)
    pairs = (split(one) for one in flat)
    return times, np.stack([q @ k.T for q, k in pairs])


def _integrated(
    velocity: Callable[[Floats], Floats], jacobian: Callable[[Floats], Floats], start: Floats, until: float
) -> tuple[Floats, Floats]:
    """Times (n,) and points (n, ...) of y' = velocity(y) from start, of its shape."""
    found = solve_ivp(
        lambda _, y: velocity(y),
        (0, until),
        start.ravel(),
        "Radau",
        jac=lambda _, y: jacobian(y),
        rtol=TOLERANCE,
        atol=TOLERANCE,
    )
    if not found.success:
        raise RuntimeError(f"the flow until t = {until:g}: {found.message}")
    return found.t, found.y.T.reshape(-1, *start.shape)
