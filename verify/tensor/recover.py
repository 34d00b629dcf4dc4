"""Every component of an orthogonally decomposable tensor, by a construction, restarts and deflation.

The construction finds a component of the tensor that is left, ``T - sum lambda_k u_k (x) u_k (x) u_k`` over
those found, and then runs on the whole tensor from there, where an error of an earlier component is no longer
felt (Anandkumar et al. 2014, Algorithm 1, with the polishing on T instead of on what is left).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from baselines.robust_tensor_power import contract
from constructions.tensor_power.iteration import PowerIteration
from verify.intervals.rounded_up import Evaluated
from verify.tensor.data import OrthogonalProblem, TensorProblem, unit_vectors
from verify.tensor.measure import Runtime, along_path

POLISHING_STEPS = 4


@dataclass(frozen=True, eq=False)
class Recovery:
    """What was found of one tensor with K components.

    Attributes:
        found: (K, d) unit vectors up to the construction's length error, in the order of the components.
        distance: (K,) from each true component to the one found next to it.
        error, bound: (K,) of the last run against the exact iteration from the same start on the same tensor.
        eigenvalue_error: (K,) |lambda found - lambda|.
        distinct: whether every component was found once. evaluated: how the bounds were.
    """

    found: Tensor
    distance: Tensor
    error: Tensor
    bound: Tensor
    eigenvalue_error: Tensor
    distinct: bool
    evaluated: Evaluated = "float64"


def recover(
    power: PowerIteration,
    problem: OrthogonalProblem,
    starts: int,
    steps: int,
    on: Runtime,
    generator: torch.Generator,
) -> Recovery:
    """Find the components of ``problem``.

    Args:
        power: a normalised construction. starts: random starts a component; the one with the largest
            T(u, u, u) is kept. steps: of the search for each component.
        on: what the layers run in. generator: of the starts.
    """
    T, left, truth = problem.T[0], problem.T[0].clone(), problem.components
    found = []
    for _ in truth:
        v = unit_vectors(starts, problem.dim, generator)
        run = power.run(left.expand(starts, -1, -1, -1), v, steps=steps, **on.arguments)
        candidates = run.v.to("cpu", torch.float64)
        candidates = candidates / candidates.norm(dim=-1, keepdim=True)
        u = candidates[(candidates * contract(left, candidates)).sum(-1).argmax()]
        found.append(u)
        left = left - (u @ contract(left, u)) * torch.einsum("i,j,m->ijm", u, u, u)
    ends = TensorProblem(problem.name, problem.T, torch.stack(found)).rounded(on.dtype)
    polished = along_path(power, ends, on, POLISHING_STEPS)
    nearest = (truth @ polished.last.mT).argmax(1)
    match = polished.last[nearest]
    values = torch.einsum("ijm,ki,kj,km->k", T, match, match, match) / match.norm(dim=-1) ** 3
    return Recovery(
        match,
        (match - truth).norm(dim=-1),
        polished.error[nearest, -1],
        polished.bound[nearest, -1],
        (values - problem.eigenvalues).abs(),
        len(set(nearest.tolist())) == len(truth),
        polished.evaluated,
    )
