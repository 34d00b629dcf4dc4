"""Plain EM steps of many tasks at once, where one that loses a component is marked and the others go on."""

import torch
from torch import Tensor

from baselines.em_steps import Update, e_step, isotropic_moments, update
from baselines.gaussian import isotropic_features
from baselines.mixture import Mixture


def reference_step(X: Tensor, weights: Tensor, means: Tensor) -> Update:
    """One float64 EM step for (B, N, d), (B, K), (B, K, d); weights up to a factor.

    A component that gets no points is marked ``empty`` instead of ending the batch. A start with a weight of
    exactly 0, or with a value that is not finite, is no mixture: all its components come back as ``empty``.
    """
    X, weights, means = (v.to(torch.float64) for v in (X, weights, means))
    known = weights.isfinite().all(-1) & means.isfinite().flatten(1).all(-1)
    dead = ~known[:, None] | (weights <= 0).any(-1, keepdim=True)
    usable, means = torch.where(dead, 1.0, weights), torch.where(dead[..., None], 0.0, means)
    responsibilities, _ = e_step(X, Mixture(usable / usable.sum(-1, keepdim=True), means))
    centre = X.mean(-2, keepdim=True)
    moments = isotropic_moments(responsibilities, isotropic_features(X - centre))
    new = update(moments, torch.zeros_like(means), X.new_full(X.shape[:-2], X.shape[-2]), "unit")
    empty = new.empty | dead
    new_means = torch.where(empty[..., None], 0.0, new.means + centre)
    return new._replace(means=new_means, empty=empty)


def reference_path(X: Tensor, weights: Tensor, means: Tensor, steps: int) -> tuple[Tensor, Tensor, Tensor]:
    """The EM path: (B, L + 1, K), (B, L + 1, K, d), and (B, L) True while it is defined."""
    path, defined = [(weights, means)], []
    alive = torch.ones(len(X), dtype=torch.bool)
    for _ in range(steps):
        new = reference_step(X, *path[-1])
        alive = alive & ~new.empty.any(-1)
        # A lost task keeps its last state, so that the others can go on; it is not compared any more.
        kept = alive[:, None]
        path.append(
            (
                torch.where(kept, new.weights, path[-1][0]),
                torch.where(kept[..., None], new.means, path[-1][1]),
            )
        )
        defined.append(alive)
    stacked = [torch.stack(part, 1) for part in zip(*path, strict=True)]
    return stacked[0], stacked[1], torch.stack(defined, 1)
