"""What probes look for: EM's iterates of a task, in the order of the network's own components.

    a path      theta_0 (the start), theta_t = EM step of theta_{t-1} for t = 1..T, and where it ends
    at a point  l_k = max(log r_k, -FLOOR), centred over k;  c = sum_k r_k mu_k
    at token k  mu_k;  max(log pi_k, -FLOOR)

r are the responsibilities under theta_t. Below e^-12 a responsibility is as good as none: 128 points of
that size make up 8e-4 of a point in the M step. Without the bound the squares would be decided by how
far a point lies from components that have nothing to do with it. Centred over k, log-responsibilities
are log-odds. The component order of a whole path is the one that brings its end nearest to the
network's estimate (baselines.align), the same for all its iterates. c, the posterior mean of the centre
that the point belongs to, needs no order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from baselines.align import align
from baselines.em import EMResult, Status, em
from baselines.mixture import Mixture
from constructions.language.shown import short_repr

FLOOR = 12.0
OWN_START = "own estimate"
LINE = "no EM: straight line"
TO_THE_END = 200
"""EM steps after the last iterate until its end, unless the log-likelihood settles before."""
SETTLED = 1e-6
"""Change of the log-likelihood per point below which it has settled."""


@dataclass(frozen=True, eq=False)
class Path:
    """EM on B tasks from one start.

    iterates   theta_0 .. theta_T.
    converged  where it ends.
    failed     (B,) True where a component ran empty on the way; the iterates then stay where they were.
    """

    iterates: list[Mixture]
    converged: Mixture
    failed: Tensor

    __repr__ = short_repr

    def aligned(self, estimate: Mixture) -> Path:
        """With the components in the order that brings the end nearest to the estimate."""
        converged, permutation = align(self.converged, estimate)
        return Path([mixture.permute(permutation) for mixture in self.iterates], converged, self.failed)

    def straight_line(self) -> Path:
        """Control, no EM: T + 1 mixtures evenly on the line from the start to the end of this path."""
        start, end, steps = self.iterates[0], self.converged, len(self.iterates) - 1
        shares = [t / steps for t in range(steps + 1)]
        mixtures = [
            Mixture(start.weights.lerp(end.weights, a), start.means.lerp(end.means, a)) for a in shares
        ]
        return Path(mixtures, end, self.failed)


def em_path(X: Tensor, start: Mixture, steps: int) -> Path:
    """EM steps from a start on X (B, N, d), float64; T = steps."""
    iterates, failed = [start], torch.zeros(len(X), dtype=torch.bool)
    for _ in range(steps):
        step = em(X, init=iterates[-1], max_iter=1, tol=0.0)
        failed |= _failed(step)
        iterates.append(step.mixture)
    end = em(X, init=iterates[-1], max_iter=TO_THE_END, tol=SETTLED)
    return Path(iterates, end.mixture, failed | _failed(end))


def _failed(result: EMResult) -> Tensor:
    return result.status > int(Status.MAX_ITER)


def log_responsibilities(X: Tensor, mixtures: Sequence[Mixture]) -> Tensor:
    """(B, P, G, K) of points X (B, P, d) under G mixtures: at least -FLOOR, then centred over k."""
    found = []
    for mixture in mixtures:
        bounded = mixture.log_joint(X).log_softmax(-2).mT.clamp_min(-FLOOR)
        found.append(bounded - bounded.mean(-1, keepdim=True))
    return torch.stack(found, 2)


def posterior_centres(X: Tensor, mixtures: Sequence[Mixture]) -> Tensor:
    """(B, P, G, d): sum_k r_ik mu_k."""
    return torch.stack([mixture.responsibilities(X).mT @ mixture.means for mixture in mixtures], 2)


def component_means(mixtures: Sequence[Mixture]) -> Tensor:
    """(B, K, G, d)."""
    return torch.stack([mixture.means for mixture in mixtures], 2)


def component_log_weights(mixtures: Sequence[Mixture]) -> Tensor:
    """(B, K, G, 1): bounded below by -FLOOR, as weights that small have no points."""
    weights = torch.stack([mixture.weights for mixture in mixtures], 2)
    return weights.log().clamp_min(-FLOOR)[..., None]
