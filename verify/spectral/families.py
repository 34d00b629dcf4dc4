"""Mixtures of many kinds, random and hostile, for the spectral algorithm; s = 1."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from constructions.spectral.exact import Problem, exact
from constructions.spectral.hypotheses import LEAST_LEAN, least_eigenvalue
from constructions.spectral.plan import Plan
from constructions.spectral.variance_bounds import LARGEST_GROWTH, growth_of_squares

MEANS = 3.0
"""Scale of the means: standard deviation of their coordinates."""

DRAWS = 200
"""How often tasks are drawn before a family is given up."""


def _weights(count: int, K: int, g: torch.Generator) -> Tensor:
    pi = 0.2 + 0.6 * torch.rand(count, K, generator=g, dtype=torch.float64)
    return pi / pi.sum(-1, keepdim=True)


def _gaussian(count: int, K: int, d: int, g: torch.Generator) -> tuple[Tensor, Tensor]:
    """Means N(0, MEANS^2 I), weights as in the paper but not sorted."""
    means = MEANS * torch.randn(count, K, d, generator=g, dtype=torch.float64)
    return means, _weights(count, K, g)


def _orthogonal(count: int, K: int, d: int, g: torch.Generator) -> tuple[Tensor, Tensor]:
    """Orthogonal means of one length: eigenvalues of M2 nearly equal where the weights are."""
    q = torch.linalg.qr(torch.randn(count, d, d, generator=g, dtype=torch.float64))[0]
    return 2 * MEANS * q[:, :K], _weights(count, K, g)


def _equal(count: int, K: int, d: int, g: torch.Generator) -> tuple[Tensor, Tensor]:
    """The same with equal weights: lambda_k are equal but for the sample."""
    means, _ = _orthogonal(count, K, d, g)
    return means, torch.full((count, K), 1 / K, dtype=torch.float64)


def _light(count: int, K: int, d: int, g: torch.Generator) -> tuple[Tensor, Tensor]:
    """One weight of 0.02."""
    means, pi = _gaussian(count, K, d, g)
    if K > 1:
        pi[:, 1:] *= 0.98 / pi[:, 1:].sum(1, keepdim=True)
        pi[:, 0] = 0.02
    return 2 * means, pi


def _origin(count: int, K: int, d: int, g: torch.Generator) -> tuple[Tensor, Tensor]:
    """A mean near the origin: the last eigenvalue of M2 is small."""
    means, pi = _gaussian(count, K, d, g)
    means[:, 0] *= 0.1
    return means, pi


def _long(count: int, K: int, d: int, g: torch.Generator) -> tuple[Tensor, Tensor]:
    """Means of very different lengths."""
    means, pi = _gaussian(count, K, d, g)
    return means * torch.logspace(0, 1, K, dtype=torch.float64)[:, None], pi


MIXTURES = {
    "orthogonal means": _orthogonal,
    "Gaussian means": _gaussian,
    "equal weights": _equal,
    "a weight of 0.02": _light,
    "a mean near the origin": _origin,
    "means of different lengths": _long,
}
"""(number of tasks, K, d, generator) -> means and weights."""


def points(kind: str, count: int, K: int, d: int, N: int, g: torch.Generator) -> Tensor:
    """(count, N, d) of a mixture; every point twice where the kind says so."""
    name, _, twice = kind.partition(", ")
    means, pi = MIXTURES[name](count, K, d, g)
    labels = torch.multinomial(pi, N, replacement=True, generator=g)
    X = means.gather(1, labels[..., None].expand(-1, -1, d))
    X = X + torch.randn(X.shape, generator=g, dtype=torch.float64)
    return X[:, torch.arange(N) // 2] if twice else X


FAMILIES = (*MIXTURES, "Gaussian means, every point twice")


def draw(
    kind: str, count: int, sizes: dict[str, int], plan: Plan, g: torch.Generator, draws: int = DRAWS
) -> Problem:
    """``count`` tasks within the hypotheses, with starts: others are drawn again.

    Raises:
        RuntimeError: too few of many draws are within the hypotheses.
    """
    K, d, N = sizes["K"], sizes["d"], sizes["N"]
    kept: list[Problem] = []
    for _ in range(draws):
        X = points(kind, count, K, d, N, g)
        directions = torch.randn(count, plan.starts, d, generator=g, dtype=torch.float64)
        basis = torch.randn(count, K, d, generator=g, dtype=torch.float64)
        s = least_eigenvalue(X) if plan.variance == "estimated" else torch.ones(count, dtype=torch.float64)
        problem = Problem(X, s, directions, basis)
        within = covered(problem, plan)
        kept += [chosen(problem, [i]) for i in within.nonzero()[:, 0].tolist()]
        if len(kept) >= count:
            return _together(kept[:count])
    raise RuntimeError(f"{kind}: {len(kept)} of {draws * count} tasks keep the hypotheses at {dict(sizes)}")


def covered(problem: Problem, plan: Plan) -> Tensor:
    """(B,) whether each task is within the hypotheses, with a little room for data that are rounded."""
    found, room = exact(problem), 1.01
    low, high = plan.eigenvalues
    kept = (found.least > room * low) & (room * found.largest < high)
    kept &= (room * found.largest < plan.condition * found.least) & (room * found.decay < 1)
    kept &= room * problem.s < plan.largest_variance
    space = torch.linalg.svdvals(problem.basis @ found.vectors[..., : problem.n_components])[:, -1]
    kept &= space > room * LEAST_LEAN * torch.linalg.matrix_norm(problem.basis, 2)
    if plan.variance == "estimated":
        kept &= problem.s > room * plan.least_variance
        kept &= room * growth_of_squares(problem, plan) < LARGEST_GROWTH
    if plan.read_in == "squares":
        kept &= room * found.reach < plan.reach
    return kept & (room * found.T.flatten(1).norm(dim=-1) < plan.tensor_bound)


FIELDS: tuple[Callable[[Problem], Tensor], ...] = (
    lambda p: p.X,
    lambda p: p.s,
    lambda p: p.directions,
    lambda p: p.basis,
)


def chosen(problem: Problem, tasks: list[int]) -> Problem:
    """Some of the tasks."""
    return Problem(*(field(problem)[tasks] for field in FIELDS))


def _together(tasks: list[Problem]) -> Problem:
    return Problem(*(torch.cat([field(task) for task in tasks]) for field in FIELDS))
