"""Who is measured: what fits data sets of known K, and what chooses K as well."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.mixture import GaussianMixture

from baselines.choosing.select import select_many
from baselines.em import em
from baselines.em_estimator import EMMixture
from baselines.estimator import MixtureEstimator
from baselines.fitted_mixtures import FittedMixtures
from baselines.methods import SKLEARN_TYPES
from baselines.mixture import Mixture
from baselines.mixture_kinds import as_kind
from training.counting.choose import CRITERIA, learned_count, load_criterion
from training.serving.estimator import TGMMMixture
from training.tasks.priors import HeldOut, Prior

Found = list[Mixture | None]
"""Of every data set its mixture, None where there is none."""

RESTARTS = 10


@dataclass(frozen=True)
class Solver:
    """name, description: for tables. run: (data sets, seed) -> a mixture each.

    chooses  K is not told; a solver that is told reads it off the truth, and nothing else.
    counts   numbers of components that it can fit; None: any.
    """

    name: str
    description: str
    run: Callable[[Sequence[HeldOut], int], Found]
    chooses: bool = False
    counts: tuple[int, ...] | None = None

    def serves(self, n_components: int) -> bool:
        """Whether it can fit so many."""
        return self.counts is None or n_components in self.counts


def solvers(prior: Prior, model: Any, counts: tuple[int, ...] | None) -> list[Solver]:
    """All of them; ``model`` is that of TGMMMixture, None for no network, ``counts`` the K that it serves."""
    kind = prior.covariance_type
    told = [
        Solver("truth", "the mixture that the points are drawn from", _truth),
        Solver(
            "EM from the truth",
            f"EM of {kind} covariances started there, until it ends",
            partial(_oracle, kind),
        ),
        Solver("EM", "EMMixture, one start by k-means", _of(EMMixture(covariance_type=kind))),
        Solver(
            f"EM, {RESTARTS} restarts",
            f"EMMixture, the likeliest of {RESTARTS} starts",
            _of(EMMixture(covariance_type=kind, n_init=RESTARTS)),
        ),
        Solver(
            "scikit-learn",
            f"GaussianMixture, one start, {SKLEARN_TYPES[kind]} covariances",
            partial(_peer, kind, 1),
        ),
        Solver(
            f"scikit-learn, {RESTARTS} restarts",
            f"GaussianMixture, n_init = {RESTARTS}",
            partial(_peer, kind, RESTARTS),
        ),
    ]
    components = prior.law.components
    choosing = [
        Solver(
            f"select, {name}",
            f"select_many, K by {name}",
            partial(_selected, kind, components, name.lower()),
            True,
        )
        for name in ("BIC", "ICL")
    ]
    if (prior.law.n_features, kind) in _criteria():
        choosing.append(
            Solver(
                "learned K",
                "training.counting: the fits of select_many, K by a network that learned on such mixtures",
                partial(_learned_count, _criteria()[prior.law.n_features, kind]),
                True,
            )
        )
    choosing.append(
        Solver("scikit-learn, BIC", "GaussianMixture of every K", partial(_peer_bic, kind, components), True)
    )
    learned: list[Solver] = []
    if model is not None and counts is not None:
        told_counts = tuple(sorted({1, *counts}))
        for steps, views in ((0, 1), (1, 1), (10, 1), (10, 4)):
            name = "network" + (f", {views} views" if views > 1 else "")
            name += f" + {steps} EM step{'s' * (steps > 1)}" if steps else ""
            estimator = TGMMMixture(model=model, covariance_type=kind, polish_steps=steps, n_views=views)
            described = f"TGMMMixture, {views} forward pass{'es' * (views > 1)}, {steps} steps of EM"
            learned.append(Solver(name, described, _of(estimator), counts=told_counts))
        served = [K for K in components if K in told_counts]
        if served:
            estimator = TGMMMixture(model=model, covariance_type=kind)
            choosing.append(
                Solver(
                    "network + 10 EM steps, BIC",
                    f"TGMMMixture of every K from {served[0]} to {served[-1]}, the least BIC",
                    partial(_network_bic, estimator, served),
                    True,
                )
            )
    return told[:2] + learned + told[2:] + (choosing if len(components) > 1 else [])


def points_of(sets: Sequence[HeldOut]) -> list[NDArray[np.float64]]:
    """As estimators take them."""
    return [one.X.numpy() for one in sets]


def _truth(sets: Sequence[HeldOut], seed: int) -> Found:
    return [one.truth for one in sets]


def _oracle(kind: str, sets: Sequence[HeldOut], seed: int) -> Found:
    found: Found = []
    for one in sets:
        result = em(one.X, init=as_kind(one.truth, kind), tol=1e-6, max_iter=1000, reg_covar=1e-6)
        found.append(result.mixture)
    return found


def _of(estimator: MixtureEstimator) -> Callable[[Sequence[HeldOut], int], Found]:
    def run(sets: Sequence[HeldOut], seed: int) -> Found:
        counts = [one.truth.n_components for one in sets]
        fits = _fits(estimator, points_of(sets), counts, seed)
        return [_fitted(fits, place) if there else None for place, there in enumerate(fits.found)]

    return run


def _fits(
    estimator: MixtureEstimator, points: list[NDArray[np.float64]], counts: list[int], seed: int
) -> FittedMixtures:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what has not converged counts as it is
        return estimator.set_params(random_state=seed).fit_many(points, counts)


def _fitted(fits: FittedMixtures, place: int) -> Mixture:
    return _mixture(fits.weights[place], fits.means[place], fits.covariances[place], fits.covariance_type)


def _mixture(weights: Any, means: Any, covariances: Any, kind: str) -> Mixture:
    pi, mu = (torch.from_numpy(np.array(part, dtype=np.float64)) for part in (weights, means))
    S = None if kind == "unit" else torch.from_numpy(np.array(covariances, dtype=np.float64))
    return Mixture(pi, mu, S, kind)


def _peer(kind: str, n_init: int, sets: Sequence[HeldOut], seed: int) -> Found:
    return [_peer_fit(kind, n_init, one.X.numpy(), one.truth.n_components, seed)[1] for one in sets]


def _peer_fit(kind: str, n_init: int, X: NDArray[np.float64], K: int, seed: int) -> tuple[float, Mixture]:
    """BIC and the mixture."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = GaussianMixture(K, covariance_type=SKLEARN_TYPES[kind], n_init=n_init, random_state=seed).fit(
            X
        )
    ours = "spherical" if kind == "unit" else kind  # it has no unit covariances
    return float(model.bic(X)), _mixture(model.weights_, model.means_, model.covariances_, ours)


def _peer_bic(kind: str, components: Sequence[int], sets: Sequence[HeldOut], seed: int) -> Found:
    found: Found = []
    for one in sets:
        fits = [_peer_fit(kind, 1, one.X.numpy(), K, seed) for K in components]
        found.append(min(fits, key=lambda fit: fit[0])[1])
    return found


def _selected(
    kind: str, components: Sequence[int], criterion: str, sets: Sequence[HeldOut], seed: int
) -> Found:
    chosen = select_many(points_of(sets), components, kind, criterion, random_state=seed)
    fits = (chosen[place].estimator for place in range(len(sets)))
    return [_mixture(fit.weights_, fit.means_, fit.covariances_, fit.covariance_type_) for fit in fits]


def _criteria() -> dict[tuple[int, str], str]:
    """Names of the shipped criteria by the d and the covariances that they are of."""
    configs = {name: load_criterion(name).config for name in CRITERIA}
    return {(config.n_features, config.covariance_type): name for name, config in configs.items()}


def _learned_count(criterion: str, sets: Sequence[HeldOut], seed: int) -> Found:
    chosen = learned_count(points_of(sets), criterion)
    fits = (chosen.fitted(place) for place in range(len(sets)))
    return [_mixture(fit.weights_, fit.means_, fit.covariances_, fit.covariance_type_) for fit in fits]


def _network_bic(
    estimator: MixtureEstimator, components: Sequence[int], sets: Sequence[HeldOut], seed: int
) -> Found:
    points = points_of(sets)
    best: Found = [None] * len(sets)
    least = np.full(len(sets), np.inf)
    for K in components:
        fits = _fits(estimator, points, [K] * len(sets), seed)
        for place in np.flatnonzero(fits.found).tolist():
            level = fits[place].bic(points[place])
            if level < least[place]:
                best[place], least[place] = _fitted(fits, place), level
    return best
