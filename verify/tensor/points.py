"""Theorem 2 on a person's points: the whitened third moment, its directions by the layers, weights and means.

    x ~ sum_k pi_k N(mu_k, s I),   T = M3(W, W, W) = sum_k lambda_k v_k (x) v_k (x) v_k,
    pi_k = lambda_k^-2,   mu_k = lambda_k B v_k

Moments, whitening and the way back are those of baselines.spectral; the power iterations are the layers'.
Source: Hsu and Kakade 2013; Anandkumar et al. 2014, Theorem 4.3 and Algorithm 1.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

import torch
from rich.console import Console
from torch import Tensor

from baselines.agreement import Agreement
from baselines.mixture import Mixture
from baselines.robust_tensor_power import contract
from baselines.spectral import (
    SpectralError,
    SpectralResult,
    Whitening,
    recover,
    second_moment,
    spectral,
    whiten,
    whitened_third_moment,
)
from console.errors import BadInputError
from console.fit_table import Fit, print_agreement, print_fit
from constructions.tensor_power.iteration import PowerIteration
from verify.em.own_data import UserData
from verify.engine.tables import print_rows
from verify.spectral.options import UNRESOLVED
from verify.tensor.data import TensorProblem, unit_vectors
from verify.tensor.measure import Runtime, along_path

COLUMNS = (
    *(("component", "component"), ("lambda", "eigenvalue", 4), ("error", "error"), ("bound", "bound")),
    *(("mean from baseline", "from_baseline"), ("bound", "broken")),
)

STARTS, STEPS = 10, 30
"""Of the power iteration for each component, as by default in baselines.spectral."""


@dataclass(frozen=True, eq=False)
class WhitenedPoints:
    """The third moment of points (N, d) on the K leading directions of the second.

    Attributes:
        T: (K, K, K). whitening: W and B, (d, K) each. variance: s. starts: (K, STARTS, K) of the iterations.
        baseline: what baselines.spectral finds from the same starts.
    """

    user: UserData
    T: Tensor
    whitening: Whitening
    variance: Tensor
    starts: Tensor
    baseline: SpectralResult

    @property
    def name(self) -> str:
        """For tables."""
        return f"{self.user.name}, whitened, d={len(self.T)}"


def whitened(
    user: UserData, components: int, variance: float | None, generator: torch.Generator
) -> WhitenedPoints:
    """T of the user's points; ``variance`` None estimates it.

    Raises:
        BadInputError: the points do not show so many means that are linearly independent.
    """
    K, X = components, user.X
    starts = unit_vectors(K * STARTS, K, generator).reshape(K, STARTS, K)
    try:
        found = spectral(X, K, variance=variance, n_iter=STEPS, starts=starts)
    except SpectralError as problem:
        detail = str(problem).partition(": ")[2]
        raise BadInputError(
            f"{user.name}: {detail} ({problem.status.name}); fewer --components may help"
        ) from None
    except ValueError as problem:
        raise BadInputError(f"--components {K}: {user.name}: {problem}") from None
    moment, rounding = second_moment(X, found.variance)
    whitening = whiten(moment, K, rounding)
    T, _ = whitened_third_moment(X, whitening.W, found.variance)
    return WhitenedPoints(user, T, whitening, found.variance, starts, found)


@dataclass(frozen=True)
class Component:
    """One direction that the layers find, and what it says of the mixture.

    Attributes:
        eigenvalue: lambda_k. weight: pi_k, of weights that sum to 1. mean: mu_k in the data's coordinates.
        error, bound: |v - exact iteration| after the last run, from the same start, and the bound on it.
        from_baseline: |mean - baselines.spectral's|, over the length of the largest mean.
        broken: 1 where the bound does not hold.
    """

    component: int
    eigenvalue: float
    weight: float
    mean: list[float]
    error: float
    bound: float
    from_baseline: float
    broken: int


@dataclass(frozen=True)
class PointsFound:
    """The mixture by the layers; its covariances are ``variance`` times the identity."""

    components: list[Component]
    variance: float
    columns: tuple[str, ...]
    agreement: Agreement | None
    unresolved: bool


def find_components(power: PowerIteration, points: WhitenedPoints, on: Runtime) -> PointsFound:
    """Restarts and deflation with the layers, then back to weights and means; ``power`` is normalised."""
    rest = points.T
    values, vectors, errors, bounds = [], [], [], []
    for directions in points.starts:
        rounded = TensorProblem(points.name, rest.expand(STARTS, -1, -1, -1), directions).rounded(on.dtype)
        ends = power.run(rounded.T, rounded.v, steps=STEPS, **on.arguments).v.to("cpu", torch.float64)
        ends = ends / ends.norm(dim=-1, keepdim=True)
        best = ends[(ends * contract(rest, ends)).sum(-1).argmax()]
        again = along_path(
            power, TensorProblem(points.name, rest[None], best[None]).rounded(on.dtype), on, STEPS
        )
        v = again.last[0] / again.last[0].norm()
        value = v @ contract(rest, v)
        rest = rest - value * torch.einsum("i,j,m->ijm", v, v, v)
        values.append(value)
        vectors.append(v)
        errors.append(float(again.error[0, -1]))
        bounds.append(float(again.bound[0, -1]))
    eigenvalues = torch.stack(values)
    raw, means = recover(eigenvalues, torch.stack(vectors), points.whitening.B)
    weights = raw / raw.sum()
    size = points.baseline.means.norm(dim=-1).max()
    apart = (means - points.baseline.means).norm(dim=-1) / size
    rows = zip(
        eigenvalues.tolist(), weights.tolist(), means.tolist(), errors, bounds, apart.tolist(), strict=True
    )
    found = [Component(k, *row, broken=int(not row[3] <= row[4])) for k, row in enumerate(rows)]
    mixture = Mixture(weights, means, points.variance, "tied_spherical")
    labels, unresolved = points.user.agreement(mixture), bool(points.baseline.unresolved)
    return PointsFound(found, float(points.variance), points.user.columns, labels, unresolved)


def print_found(console: Console, user: UserData, found: PointsFound) -> None:
    """The mixture, how far it is from the baseline's, and how its components agree with labels."""
    console.print(user.described, markup=False, highlight=False, soft_wrap=True)
    rows = found.components
    of = [row.weight for row in rows], [row.mean for row in rows], "tied_spherical", found.variance
    print_fit(
        console,
        Fit("The fit: directions found by the layers, brought back to the points", found.columns, *of),
    )
    print_rows(console, "Directions, by restarts and deflation with the layers", COLUMNS, rows)
    if found.agreement is not None:
        print_agreement(console, **vars(found.agreement))
    if found.unresolved:
        print(f"warning: {UNRESOLVED}", file=sys.stderr)
