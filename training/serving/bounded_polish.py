"""EM steps by the hand-built layers, as fine as the data need, each result compared with EM itself.

A step of the construction is off by at most D (tanh(rho/4) + b/(1 + b)) in a mean (lemma 3 of
paper_notes/theorem_1_em.md): D is the diameter of the data, at most 2 R sqrt(d) at radius R; rho, made of
logit_spread and log_chord_error, falls with the square of the number of pieces; b = N floor e^rho / W_k, W_k
the least mass of a component on the way. So the floor is taken with D N floor / W_k <= ACCURACY/4, and the
pieces with D rho/4 <= slack ACCURACY for a slack of SLACKS. The bound takes every point for one in doubt, so
that a slack far above 1 mostly does; what it did is measured, and what is not within ACCURACY is done again,
finer.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

from baselines.em import em
from baselines.mixture import Mixture
from constructions.em.pieces import Pieces, log_chord_error, logit_spread, split_pieces
from training.model.polish import Polish, radii
from training.model.tgmm import NUMBERS_AT_ONCE, Estimate

ACCURACY = 1e-3
"""Promised distance of means and of weights from those of EM, in standard deviations and as a share."""

SLACKS = (64.0, 4.0, 0.25)
"""Of the bound over ACCURACY, one try after the other: each has four times the pieces of the one before."""

MOST_PIECES = 2**14
"""Average pieces a function: the layers then have about 150,000 hidden units at K = 3, d = 2."""

FLOORS = (1e-8, 1e-12, 1e-16, 1e-32, 1e-64, 1e-128, 1e-256, 1e-300)
"""The floor is the largest of these that will do, so that tasks share weights."""


def constructed_steps(X: Tensor, start: Mixture, mask: Tensor | None, steps: int) -> tuple[Mixture, Tensor]:
    """`steps` constructed EM steps from `start`, and how far each task is from `steps` steps of EM, (B,).

    The distance is the largest of |mu - mu_EM|_2 over the components and of |pi - pi_EM|; NaN where EM itself
    cannot go on. Every task has weights of its own radius and floor; companions change nothing.

    Args:
        X: (B, N, d) float64, finite. mask: (B, N) bool, True at points.
        start: unit covariances, batch shape (B,).
    """
    expected, mass = _exact(X, start, mask, steps)
    points = X if mask is None else X.masked_fill(~mask[:, :, None], 0.0)
    radius = radii(points, start.means)
    d, N = X.shape[-1], X.shape[1]
    floors = _floors(ACCURACY * mass / (8 * radius * math.sqrt(d) * N))
    weights, means = torch.empty_like(start.weights), torch.empty_like(start.means)
    gap = torch.full_like(radius, torch.inf)
    for slack in SLACKS:
        left = ~(gap <= ACCURACY)
        for R, floor in {(float(radius[i]), float(floors[i])) for i in left.nonzero()[:, 0]}:
            places = (left & (radius == R) & (floors == floor)).nonzero()[:, 0]
            pieces = _pieces(slack, floor, R, d)
            if pieces is None and bool(gap[places].isfinite().any()):
                continue  # no finer than what was tried
            polish = _polish(d, start.n_components, steps, pieces or MOST_PIECES // 16, floor)
            found = _run(polish, points[places], start[places], None if mask is None else mask[places])
            distance = _distance(found, expected[places])
            better = ~(distance >= gap[places])
            kept = places[better]
            weights[kept], means[kept] = found.weights[better], found.means[better]
            gap[kept] = distance[better]
    return Mixture(weights, means), gap


def _exact(X: Tensor, start: Mixture, mask: Tensor | None, steps: int) -> tuple[Mixture, Tensor]:
    """EM after `steps` steps, and the least mass sum_n w_kn of a component on the way, (B,)."""
    weight = None if mask is None else mask.to(X.dtype)
    current, least = start, X.new_full((len(X),), math.inf)
    for _ in range(steps):
        log_pi = current.weights.log()[:, :, None]
        logits = current.means @ X.mT - current.means.square().sum(-1, keepdim=True) / 2 + log_pi
        log_shares = logits.log_softmax(1)
        if mask is not None:
            log_shares = log_shares.masked_fill(~mask[:, None], -math.inf)
        least = torch.minimum(least, log_shares.logsumexp(-1).amin(-1).exp())
        current = em(X, init=current, max_iter=1, tol=0.0, sample_weight=weight).mixture
    return current, least


def _floors(most: Tensor) -> Tensor:
    """The largest of FLOORS that is at most `most`, else the smallest."""
    found = torch.full_like(most, FLOORS[-1])
    for floor in reversed(FLOORS):
        found = torch.where(most >= floor, floor, found)
    return found


def _pieces(slack: float, floor: float, radius: float, dim: int) -> int | None:
    """Average pieces a function with D rho/4 <= slack ACCURACY, a power of 2; None beyond MOST_PIECES."""
    wanted = 4 * slack * ACCURACY / (2 * radius * math.sqrt(dim))
    pieces = 32
    while _rho(split_pieces(pieces, "optimal", floor, radius, dim), floor, radius, dim) > wanted:
        pieces *= 2
        if pieces > MOST_PIECES:
            return None
    return pieces


def _rho(pieces: Pieces, floor: float, radius: float, dim: int) -> float:
    spread = logit_spread(floor, radius, dim, pieces.log_pi, pieces.square)
    return float(spread + log_chord_error(floor, pieces.log_resp))


def _run(polish: Polish, X: Tensor, start: Mixture, mask: Tensor | None) -> Mixture:
    """The layers on all tasks, some at a time."""
    at_once = max(1, NUMBERS_AT_ONCE // (64 * X.shape[1]))
    parts = [
        polish(
            X[i : i + at_once],
            start.weights[i : i + at_once].log(),
            start.means[i : i + at_once],
            None if mask is None else mask[i : i + at_once],
        )
        for i in range(0, len(X), at_once)
    ]
    log_weights, means = (torch.cat(part) for part in zip(*parts, strict=True))
    return Estimate(log_weights, means).to_mixture()


def _distance(found: Mixture, expected: Mixture) -> Tensor:
    """(B,) as :func:`constructed_steps` says."""
    means = (found.means - expected.means).norm(dim=-1).amax(-1)
    return torch.maximum(means, (found.weights - expected.weights).abs().amax(-1))


@lru_cache(maxsize=8)
def _polish(n_features: int, n_components: int, steps: int, pieces: int, floor: float) -> Polish:
    return Polish(n_features, n_components, steps, pieces, floor)
