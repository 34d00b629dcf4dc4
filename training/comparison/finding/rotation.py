"""A learned subspace of the stream whose interchange moves one variable (distributed alignment search).

    h  <-  h_base + (h_source - h_base) V V^T        V (D, k), orthonormal columns, the same at every token

V is the Q of a QR decomposition of a free matrix W, and W is learned by Adam on pairs of tasks so that what
the network says next is the algorithm's counterfactual. Starts: the coordinates in which the construction
holds the variable; the directions that a ridge regression reads it from; those along which the stream moves
with it. The start with the least error on the training pairs is trained; what was learned is kept only
where it is better than the start on all training pairs.

Linear maps only. With a map that may bend as it likes, a network that has nothing to do with an algorithm
can be matched to it: the map then does the computing (arXiv 2507.08802). A turn of the stream computes
nothing; it only says where to look.

Source: arXiv 2303.02536 (distributed alignment search).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

RATE = 0.01
LAST = 0.01
"""The rate of the last step over that of the first; it falls by the same factor at every step."""
BATCH = 24
"""Pairs a step."""
PENALTY = 1e-4
"""Of the ridge regressions, over the mean variance of what is read from."""
NO_DIRECTION = 1e-6
"""Relative singular value below which a direction is none."""

Distances = Callable[[Tensor, Tensor], Tensor]
"""(V, numbers of pairs) -> squared distance to the wanted answer of each pair."""


def put_in(base: Tensor, source: Tensor, V: Tensor) -> Tensor:
    """The stream (B, N, D) of the base with the source's part in the columns of V."""
    return base + ((source - base) @ V) @ V.mT


def coordinates(width: int, columns: Sequence[int], dtype: torch.dtype) -> Tensor:
    """(width, k) unit vectors of these columns."""
    return torch.eye(width, dtype=dtype)[:, list(columns)]


def decoder_directions(H: Tensor, Y: Tensor) -> Tensor:
    """(D, k) orthonormal: what ridge regression reads targets Y (n, k) from in H (n, D), float64.

    (C + lambda I)^-1 H^T Y with H, Y centred, C = H^T H / n, and lambda PENALTY times the mean of C's
    diagonal. Features are not scaled one by one, so that a turn of the stream turns the directions with it.
    """
    return _orthonormal(_ridge(H, Y), _covariance(H))


def encoder_directions(H: Tensor, Y: Tensor) -> Tensor:
    """(D, k) orthonormal: along which H (n, D) moves with Y (n, k), float64: the regression of H on Y."""
    return _orthonormal(_ridge(Y, H).mT, _covariance(H))


def _ridge(inputs: Tensor, targets: Tensor) -> Tensor:
    """(inputs, targets) the weights of the regression."""
    covariance = _covariance(inputs)
    penalty = PENALTY * covariance.diagonal().mean() * torch.eye(len(covariance), dtype=inputs.dtype)
    centred = inputs - inputs.mean(0)
    return torch.linalg.solve(covariance + penalty, centred.mT @ (targets - targets.mean(0)) / len(inputs))


def _covariance(values: Tensor) -> Tensor:
    centred = values - values.mean(0)
    return centred.mT @ centred / len(values)


def _orthonormal(directions: Tensor, covariance: Tensor) -> Tensor:
    """(D, k) orthonormal columns that span these k directions, each of which counts alike.

    Where directions depend on one another, others in which the stream differs least stand in their place:
    there base and source are alike, so that their exchange changes little.
    """
    sizes = directions.norm(dim=0)
    unit = directions / sizes.where(sizes > 0, torch.ones_like(sizes))
    left, values, _ = torch.linalg.svd(unit, full_matrices=False)
    kept = left[:, values > NO_DIRECTION * values[0]]
    taken = kept @ kept.mT
    outside = torch.eye(len(taken), dtype=taken.dtype) - taken
    beyond = 1 + covariance.trace()  # above every eigenvalue: what is taken comes last
    axes = torch.linalg.eigh(outside @ covariance @ outside + beyond * taken).eigenvectors
    return torch.cat([kept, axes[:, : directions.shape[1] - kept.shape[1]]], dim=1)


def learned(
    starts: Sequence[Tensor], distances: Distances, n_pairs: int, steps: int, generator: torch.Generator
) -> Tensor:
    """(D, k) the subspace after so many Adam steps, from the start with the least mean distance.

    The start itself where the steps did not make the mean distance over all pairs smaller, or where a
    distance is not finite.
    """
    everything = torch.arange(n_pairs)
    with torch.no_grad():
        errors = torch.stack([distances(start, everything).mean() for start in starts]).nan_to_num(torch.inf)
    best = int(errors.argmin())
    start, before = starts[best], float(errors[best])
    W = start.clone().requires_grad_(True)
    optimiser = torch.optim.Adam([W], lr=RATE)
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = RATE * LAST ** (step / steps)
        pairs = torch.randperm(n_pairs, generator=generator)[:BATCH]
        loss = distances(torch.linalg.qr(W).Q, pairs).mean()
        if not bool(loss.isfinite()):
            return start
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        end = torch.linalg.qr(W).Q.detach()
        return end if float(distances(end, everything).mean()) < before else start
