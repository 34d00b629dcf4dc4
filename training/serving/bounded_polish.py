"""EM steps by the hand-built layers, as fine as the data need, each result compared with EM itself.

A step of the construction is off by at most D (tanh(rho/4) + b/(1 + b)) in a mean (lemma 3 of
paper_notes/theorem_1_em.md): D is the diameter of the data, at most 2 R sqrt(d) at radius R; rho, made of
logit_spread and log_chord_error, falls with the square of the number of pieces; b = N floor e^rho / W_k, W_k
the least mass of a component on the way. So the floor is taken with D N floor / W_k <= ACCURACY/4, and the
pieces with D rho/4 <= slack ACCURACY for a slack of SLACKS. The bound takes every point for one in doubt, so
that a slack far above 1 mostly does; what it did is measured, and what is not within ACCURACY is done again,
finer.

Covariances of another kind (theorem_1_covariances.md) have no such bound here: PIECES are tried one after
the other, and what each did is measured. With l the largest eigenvalue of a task's covariances by EM, a
deviation is sqrt(l): misplaced mass N floor / W_k moves a mean by up to D and a covariance by up to D^2 times
that, so the floor is taken with t^2 N floor / W_k <= ACCURACY/4, t = D / sqrt(l) >= 1.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import cast

import torch
from torch import Tensor

from baselines.em import Status, em
from baselines.mixture import Mixture
from constructions.em.pieces import Pieces, log_chord_error, logit_spread, split_pieces
from constructions.em.tasks import CovarianceType
from training.model.estimate import Estimate
from training.model.polish import Polish, radii
from training.model.polish_kinds import MATRICES, eigenvalues
from training.model.tgmm import NUMBERS_AT_ONCE

ACCURACY = 1e-3
"""Promised distance of means and of weights from those of EM, in standard deviations and as a share.

Of other kinds than unit a deviation is the root of the largest eigenvalue of the covariances that EM finds in
the task, and covariances are promised within ACCURACY times that eigenvalue.
"""

SLACKS = (64.0, 4.0, 0.25)
"""Of the bound over ACCURACY, one try after the other: each has four times the pieces of the one before."""

PIECES = (512, 2048, 8192)
"""Tried for kinds other than unit, pieces a function: the error falls with their square."""

MOST_PIECES = 2**14
"""Average pieces a function: the layers then have about 150,000 hidden units at K = 3, d = 2."""

FLOORS = (1e-8, 1e-12, 1e-16, 1e-32, 1e-64, 1e-128, 1e-256, 1e-300)
"""The floor is the largest of these that will do, so that tasks share weights."""


def constructed_steps(X: Tensor, start: Mixture, mask: Tensor | None, steps: int) -> tuple[Mixture, Tensor]:
    """`steps` constructed EM steps from `start`, and how far each task is from `steps` steps of EM, (B,).

    The distance is the largest of |mu - mu_EM|_2 over the components and of |pi - pi_EM|; NaN where EM itself
    cannot go on. Every task has weights of its own radius and floor; companions change nothing.

    Of kinds other than unit the first is divided by sqrt(l), and |S - S_EM|_2 / l is a third, l the largest
    eigenvalue of the task's covariances by EM; inf where the layers left their range of eigenvalues
    (training.model.polish_kinds), and the mixture is that of their last step within. Tied and full ones of a
    task of at most d points stay at the start.

    Args:
        X: (B, N, d) float64, finite. mask: (B, N) bool, True at points.
        start: of any covariance type, batch shape (B,).
    """
    points = X if mask is None else X.masked_fill(~mask[:, :, None], 0.0)
    unit = start.covariance_type == "unit"
    expected, mass, possible = _exact(X, start, mask, steps)
    radius = radii(points, start.means)
    d, N = X.shape[-1], X.shape[1]
    counts = torch.full_like(radius, N) if mask is None else mask.sum(-1)
    enough = counts > (d if start.covariance_type in MATRICES else 0)
    farthest = 2 * radius * math.sqrt(d)
    if not unit:
        farthest = farthest.square() / _largest(expected)
    floors = _floors(ACCURACY * mass / (4 * farthest * N))
    found, gap = start, torch.full_like(radius, torch.nan)
    for trial in SLACKS if unit else _trials():
        left = enough & ~(gap <= ACCURACY)
        for R, floor in {(float(radius[i]), float(floors[i])) for i in left.nonzero()[:, 0]}:
            places = (left & (radius == R) & (floors == floor)).nonzero()[:, 0]
            pieces = _pieces(trial, floor, R, d) if unit else int(trial)
            if pieces is None and bool(gap[places].isfinite().any()):
                continue  # no finer than what was tried
            pieces = pieces or MOST_PIECES // 16
            polish = _polish(d, start.n_components, steps, pieces, floor, start.covariance_type)
            other, done = _run(polish, points[places], start[places], None if mask is None else mask[places])
            distance = _distance(other, expected[places]).masked_fill(~done, torch.inf)
            distance = distance.masked_fill(~possible[places], torch.nan)
            better = ~(distance >= gap[places])
            found = _replaced(found, places[better], other[better])
            gap[places[better]] = distance[better]
    return found, gap


def _exact(X: Tensor, start: Mixture, mask: Tensor | None, steps: int) -> tuple[Mixture, Tensor, Tensor]:
    """EM after `steps` steps, the least mass sum_n w_kn of a component on the way, where EM got so far; (B,).

    Unit covariances are taken to get so far everywhere.
    """
    weight = None if mask is None else mask.to(X.dtype)
    current, least = start, X.new_full((len(X),), math.inf)
    possible = torch.ones_like(least, dtype=torch.bool)
    for _ in range(steps):
        log_shares = _logits(current, X).log_softmax(1)
        if mask is not None:
            log_shares = log_shares.masked_fill(~mask[:, None], -math.inf)
        least = torch.minimum(least, log_shares.logsumexp(-1).amin(-1).exp())
        after = em(X, init=current, max_iter=1, tol=0.0, sample_weight=weight)
        current = after.mixture
        if start.covariance_type != "unit":
            possible = possible & (after.status <= Status.MAX_ITER)
    return current, least, possible


def _logits(mixture: Mixture, X: Tensor) -> Tensor:
    """(B, K, N) log pi_k + log N(x_n; mu_k, S_k), up to a term common to the components of a point."""
    if mixture.covariances is not None:
        return mixture.joint_and_logits(X)[1]
    log_pi = mixture.weights.log()[:, :, None]
    return mixture.means @ X.mT - mixture.means.square().sum(-1, keepdim=True) / 2 + log_pi


def _largest(mixture: Mixture) -> Tensor:
    """(B,) the largest eigenvalue of the covariances."""
    if mixture.covariances is None:
        return torch.ones_like(mixture.weights[:, 0])
    return eigenvalues(mixture.covariances, mixture.covariance_type).amax(-1)


def _trials() -> list[int]:
    """PIECES up to MOST_PIECES, this at least."""
    return [pieces for pieces in PIECES if pieces <= MOST_PIECES] or [MOST_PIECES]


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


def _run(polish: Polish, X: Tensor, start: Mixture, mask: Tensor | None) -> tuple[Mixture, Tensor]:
    """The layers on all tasks, some at a time; where they took all steps, (B,)."""
    at_once = max(1, NUMBERS_AT_ONCE // (64 * X.shape[1]))
    parts = [
        polish.attempt(
            X[i : i + at_once],
            start.weights[i : i + at_once].log(),
            start.means[i : i + at_once],
            None if mask is None else mask[i : i + at_once],
            None if start.covariances is None else start.covariances[i : i + at_once],
        )
        for i in range(0, len(X), at_once)
    ]
    S = [part.covariances for part in parts if part.covariances is not None]
    found = Estimate(
        torch.cat([part.log_weights for part in parts]),
        torch.cat([part.means for part in parts]),
        covariances=torch.cat(S) if S else None,
    )
    done = torch.cat([part.steps for part in parts]) == polish.steps
    return found.to_mixture(polish.covariance_type), done


def _distance(found: Mixture, expected: Mixture) -> Tensor:
    """(B,) as :func:`constructed_steps` says."""
    means = (found.means - expected.means).norm(dim=-1).amax(-1)
    weights = (found.weights - expected.weights).abs().amax(-1)
    if found.covariances is None or expected.covariances is None:
        return torch.maximum(means, weights)
    largest = _largest(expected)
    apart = eigenvalues(found.covariances - expected.covariances, expected.covariance_type).abs().amax(-1)
    return torch.stack([means / largest.sqrt(), weights, apart / largest]).amax(0)


def _replaced(mixture: Mixture, places: Tensor, by: Mixture) -> Mixture:
    """The mixture with others at some tasks."""
    weights = mixture.weights.index_copy(0, places, by.weights)
    means, covariances = mixture.means.index_copy(0, places, by.means), None
    if mixture.covariances is not None and by.covariances is not None:
        covariances = mixture.covariances.index_copy(0, places, by.covariances)
    return Mixture(weights, means, covariances, mixture.covariance_type)


@lru_cache(maxsize=8)
def _polish(n_features: int, n_components: int, steps: int, pieces: int, floor: float, kind: str) -> Polish:
    return Polish(n_features, n_components, steps, pieces, floor, cast(CovarianceType, kind))
