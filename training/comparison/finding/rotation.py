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

from training.comparison.probes.ridge import Ridge

RATE = 0.01
BATCH = 24
DECODER_PENALTY = 1e-4
NO_DIRECTION = 1e-6
"""Relative singular value below which a direction is none; a random one stands in its place."""

Distances = Callable[[Tensor, Tensor], Tensor]
"""(V, numbers of pairs) -> squared distance to the wanted answer of each pair."""


def put_in(base: Tensor, source: Tensor, V: Tensor) -> Tensor:
    """The stream (B, N, D) of the base with the source's part in the columns of V."""
    return base + ((source - base) @ V) @ V.mT


def coordinates(width: int, columns: Sequence[int], dtype: torch.dtype) -> Tensor:
    """(width, k) unit vectors of these columns."""
    return torch.eye(width, dtype=dtype)[:, list(columns)]


def decoder_directions(H: Tensor, Y: Tensor, generator: torch.Generator) -> Tensor:
    """(D, k) orthonormal: what ridge regression reads targets Y (n, k) from in H (n, D), float64."""
    ridge = Ridge(H)
    read = ridge.weights(Y / _deviation(Y), (DECODER_PENALTY,))[0][0] / ridge.scale[:, None]
    directions = H.new_zeros(H.shape[1], Y.shape[1])
    directions[ridge.kept] = read
    return orthonormal(directions, generator)


def encoder_directions(H: Tensor, Y: Tensor, generator: torch.Generator) -> Tensor:
    """(D, k) orthonormal: along which H (n, D) moves with Y (n, k), float64."""
    ridge = Ridge(Y)
    directions = H.new_zeros(H.shape[1], Y.shape[1])
    directions[:, ridge.kept] = ridge.weights(H, (DECODER_PENALTY,))[0][0].mT
    return orthonormal(directions, generator)


def orthonormal(directions: Tensor, generator: torch.Generator) -> Tensor:
    """(D, k) columns that span these k directions, filled up with random ones where they depend on others."""
    left, sizes, _ = torch.linalg.svd(directions, full_matrices=False)
    kept = left[:, sizes > NO_DIRECTION * sizes[0]]
    random = torch.randn(directions.shape, generator=generator, dtype=directions.dtype)
    return torch.linalg.qr(torch.cat([kept, random], dim=1)).Q[:, : directions.shape[1]]


def _deviation(Y: Tensor) -> Tensor:
    deviation = Y.std(0, correction=0)
    return deviation.where(deviation > 0, torch.ones_like(deviation))


def learned(
    starts: Sequence[Tensor], distances: Distances, n_pairs: int, steps: int, generator: torch.Generator
) -> Tensor:
    """(D, k) the subspace after so many Adam steps on BATCH pairs each, from the best of the starts.

    The rate falls to 0 in a straight line. A start whose error is no finite number comes last.
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
            group["lr"] = RATE * (1 - step / steps)
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
