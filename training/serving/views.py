"""Several looks at the same data: the network on signed permutations of the coordinates, the likeliest kept.

The tasks it was trained on are as likely as their images under any signed permutation of the coordinates (the
box and the unit covariances are symmetric), but the network is not exactly equivariant: where it errs in one
image it may not in another. What restarts are to EM, views are to the network, one forward pass each.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from baselines.checks import check_count
from baselines.mixture import Mixture

MOST_VIEWS = 1024
"""Each is a forward pass over all the data; their results are held together until the likeliest is known."""

SEED = 0
"""Of the images other than the identity: equal calls give equal views."""


def signed_permutations(n_features: int, n_views: int) -> Tensor:
    """Q (n_views, d, d): the identity, then different matrices with one +-1 in each row and column.

    Raises ValueError for more views than the 2^d d! there are, or than MOST_VIEWS.
    """
    check_count("n_features", n_features)
    check_views("n_views", n_views)
    most = 2**n_features * math.factorial(n_features)
    if n_views > most:
        raise ValueError(f"n_views is {n_views}, needs at most 2^d d! = {most} at d = {n_features}")
    generator = torch.Generator().manual_seed(SEED)
    chosen = {(tuple(range(n_features)), (1,) * n_features): None}
    while len(chosen) < n_views:
        order = torch.randperm(n_features, generator=generator).tolist()
        signs = (2 * torch.randint(2, (n_features,), generator=generator) - 1).tolist()
        chosen[tuple(order), tuple(signs)] = None
    images = torch.zeros(n_views, n_features, n_features, dtype=torch.float64)
    for image, (order, signs) in zip(images, chosen, strict=True):
        image[range(n_features), order] = torch.tensor(signs, dtype=torch.float64)
    return images


def check_views(name: str, n_views: int) -> None:
    """Refuse anything but an integer from 1 to MOST_VIEWS: ValueError."""
    check_count(name, n_views)
    if n_views > MOST_VIEWS:
        raise ValueError(
            f"{name} is {n_views}, needs at most {MOST_VIEWS}: each view is a forward pass over all the data"
        )


def likeliest(
    candidates: Sequence[Mixture], X: Tensor, weight: Tensor | None
) -> tuple[Mixture, Tensor, Tensor]:
    """Task by task the candidate of the largest log-likelihood of X (B, N, d), weights (B, N) or None.

    All are of batch shape (B,). Returns it, its place among them (B,), and the log-likelihood per point of
    all, (V, B).
    """
    levels = torch.stack([one.log_likelihood_per_point(X, weight) for one in candidates])
    place = levels.max(0).indices

    def chosen(parts: list[Tensor]) -> Tensor:
        return torch.stack(parts)[place, torch.arange(len(place), device=place.device)]

    covariances = [one.covariances for one in candidates if one.covariances is not None]
    best = Mixture(
        chosen([one.weights for one in candidates]),
        chosen([one.means for one in candidates]),
        chosen(covariances) if covariances else None,
        candidates[0].covariance_type,
    )
    return best, place, levels


def likelier(candidate: Mixture, best: Mixture, X: Tensor, mask: Tensor | None) -> Mixture:
    """Task by task the mixture with the larger log-likelihood of X (B, N, d); both of batch shape (B,)."""
    weight = None if mask is None else mask.to(X.dtype)
    wins = candidate.log_likelihood(X, weight) > best.log_likelihood(X, weight)
    covariances = None
    if candidate.covariances is not None and best.covariances is not None:
        covariances = _where(wins, candidate.covariances, best.covariances)
    return Mixture(
        _where(wins, candidate.weights, best.weights),
        _where(wins, candidate.means, best.means),
        covariances,
        candidate.covariance_type,
    )


def _where(wins: Tensor, yes: Tensor, no: Tensor) -> Tensor:
    return torch.where(wins.reshape(-1, *[1] * (yes.dim() - 1)), yes, no)
