"""Gradient flow of one attention score to the E step of symmetric mixtures in one dimension.

    f_a = mean_i x_i tanh(a m x_i)    the next mean, when the E head's score is a x m
    L(a) = mean over tasks of (f_a - f_1)^2,    a = <q, k>,    q' = -L'(a) k,    k' = -L'(a) q

a = 1 is the construction's. The mixture has means m and -m, equal weights and variance 1.
Proofs: paper_notes/finding_the_theorem.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.integrate import solve_ivp

from constructions.language.shown import short_repr

Floats = NDArray[np.float64]
TOLERANCE = 1e-11
"""Error of one step of the integrator, unless told otherwise."""


@dataclass(frozen=True, eq=False)
class SymmetricTasks:
    """T data sets in one dimension, and the mean m that stands in each before the step.

    points   (T, N).
    means    (T,).

    Raises:
        ValueError: other shapes, or no task with m != 0 and a point != 0: every score then has loss 0.
    """

    points: Floats
    means: Floats

    __repr__ = short_repr

    def __post_init__(self) -> None:
        if self.points.ndim != 2 or self.means.shape != self.points.shape[:1]:
            raise ValueError(
                f"points are {self.points.shape} and means {self.means.shape}, needs (T, N) and (T,)"
            )
        if not np.any(self.means[:, None] * self.points):
            raise ValueError("m x is 0 at every point of every task, needs one that is not")

    def next_means(self, a: float) -> Floats:
        """f_a, (T,)."""
        return np.mean(self.points * np.tanh(a * self.means[:, None] * self.points), axis=1)

    def derivatives(self, a: float) -> Floats:
        """df_a / da = m mean_i x_i^2 / cosh(a m x_i)^2, (T,): of the sign of m."""
        tanh = np.tanh(a * self.means[:, None] * self.points)
        return self.means * np.mean(self.points**2 * (1 - tanh**2), axis=1)

    def loss(self, a: float) -> float:
        """L(a)."""
        return float(np.mean((self.next_means(a) - self.next_means(1.0)) ** 2))

    def slope(self, a: float) -> float:
        """L'(a): of the sign of a - 1."""
        return float(2 * np.mean((self.next_means(a) - self.next_means(1.0)) * self.derivatives(a)))

    def least_pull(self, reach: float) -> float:
        """mu with L'(a) / (a - 1) >= 2 mu for all |a| <= reach, where reach >= 1.

        mean over tasks of (m mean_i x_i^2 / cosh(reach m x_i)^2)^2.
        """
        return float(np.mean(self.derivatives(reach) ** 2))

    @property
    def largest_pull(self) -> float:
        """M with L'(a) / (a - 1) <= 2 M for all a: mean over tasks of (m mean_i x_i^2)^2."""
        return float(np.mean(self.derivatives(0.0) ** 2))

    @property
    def curvature(self) -> float:
        """L''(1) = 2 mean over tasks of (df/da)^2 at the construction."""
        return float(2 * np.mean(self.derivatives(1.0) ** 2))


@dataclass(frozen=True, eq=False)
class Path:
    """A trajectory of the weights.

    times     (n,) of the flow, or the numbers of the steps.
    weights   (n, 2, E): the query's, then the key's.
    """

    times: Floats
    weights: Floats

    __repr__ = short_repr

    @property
    def scores(self) -> Floats:
        """a = <q, k>, (n,)."""
        return np.sum(self.weights[:, 0] * self.weights[:, 1], axis=1)

    @property
    def balances(self) -> Floats:
        """q q^T - k k^T, (n, E, E): the flow keeps it."""
        q, k = self.weights[:, 0], self.weights[:, 1]
        return q[:, :, None] * q[:, None] - k[:, :, None] * k[:, None]


def flow(tasks: SymmetricTasks, start: Floats, until: float, tolerance: float = TOLERANCE) -> Path:
    """The gradient flow from start (2, E), at the times that the integrator chose.

    Explicit Runge-Kutta of order 8, steps of relative and absolute error `tolerance`.

    Raises:
        RuntimeError: the integrator gave up; its words.
    """

    def velocity(_: float, flat: Floats) -> Floats:
        q, k = flat.reshape(2, -1)
        return -tasks.slope(float(q @ k)) * np.concatenate([k, q])

    found = solve_ivp(velocity, (0, until), start.ravel(), "DOP853", rtol=tolerance, atol=tolerance)
    if not found.success:
        raise RuntimeError(f"the flow until t = {until:g}: {found.message}")
    return Path(found.t, found.y.T.reshape(-1, *start.shape))


def halves(weights: Floats) -> tuple[Floats, Floats]:
    """u = (q + k) / sqrt 2 and v = (q - k) / sqrt 2 of (2, E): a = (|u|^2 - |v|^2) / 2.

    The flow stretches u and shrinks v while a < 1, by the same factor.
    """
    q, k = weights
    return (q + k) / math.sqrt(2), (q - k) / math.sqrt(2)


def limit(start: Floats) -> Floats:
    """Where the flow from start (2, E) ends, whatever the tasks: a = 1, or 0 from q = -k."""
    u, v = halves(start)
    plus, minus = float(u @ u), float(v @ v)
    if plus == 0:
        return np.zeros_like(start)
    stretch = math.sqrt((1 + math.sqrt(1 + plus * minus)) / plus)
    u, v = stretch * u, v / stretch
    return np.stack([u + v, u - v]) / math.sqrt(2)


def safe_rate(tasks: SymmetricTasks, start: Floats) -> float:
    """1 / (4 M S), S = sqrt(4 max(a^2, 1) + 4 |u|^2 |v|^2): gradient descent at it, or below, converges."""
    q, k = start
    u, v = halves(start)
    widest = math.sqrt(4 * max(float(q @ k) ** 2, 1.0) + 4 * float(u @ u) * float(v @ v))
    return 1 / (4 * tasks.largest_pull * widest)


def descend(tasks: SymmetricTasks, start: Floats, rate: float, steps: int) -> Path:
    """Gradient descent q <- q - rate L'(a) k, k <- k - rate L'(a) q; its path, the start included."""
    weights = [start]
    for _ in range(steps):
        q, k = weights[-1]
        weights.append(weights[-1] - rate * tasks.slope(float(q @ k)) * np.stack([k, q]))
    return Path(np.arange(steps + 1, dtype=np.float64), np.stack(weights))
