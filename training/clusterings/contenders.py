"""Who groups the points: mixtures, classical clusterings, deep ones, each by one function."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn import cluster as sklearn_cluster
from sklearn.mixture import BayesianGaussianMixture, GaussianMixture

from baselines.deep.dec import DEC
from baselines.deep.vade import VaDE
from baselines.em_estimator import EMMixture
from baselines.mixture import Mixture
from constructions.language.shown import short_repr
from training.clusterings.data_sets import Array, DataSet
from training.clusterings.names import METHODS
from training.serving.estimator import TGMMMixture

cluster: Any = sklearn_cluster
"""Untyped: what its stubs say of arguments is too narrow."""

RESTARTS = 10
MAX_ITER = 1000
SHARE = 0.05
"""Of the points that a group of "hdbscan-5" has at least."""
QUICK_STEPS = 60
"""Of every kind of training of the deep ones, with --quick."""
FULL_STEPS, UNIT_STEPS, VIEWS = 100, 10, 4


@dataclass(frozen=True, eq=False)
class Grouping:
    """labels (N,), -1 where a point is left out. level: X -> mean log density a point, or a lower bound."""

    labels: NDArray[np.int64]
    level: Callable[[Array], float] | None = None

    __repr__ = short_repr


@dataclass(frozen=True)
class Contender:
    """group: (data, seed) -> a Grouping; ValueError, in one line, where it cannot.

    mixture  whether its model is a Gaussian mixture on the points themselves.
    chooses  K is not told.
    seeded   whether its seed changes anything.
    bound    whether its level is a lower bound of the log-likelihood, not that itself.
    """

    name: str
    title: str
    description: str
    group: Callable[[DataSet, int], Grouping]
    mixture: bool = False
    chooses: bool = False
    seeded: bool = True
    bound: bool = False


def contenders(quick: bool = False) -> dict[str, Contender]:
    """All of them by name, in the order of METHODS."""
    steps: dict[str, Any] = {"pretrain_steps": QUICK_STEPS} if quick else {}
    refined: dict[str, Any] = steps | ({"max_updates": 2} if quick else {})
    varied: dict[str, Any] = steps | ({"steps": QUICK_STEPS} if quick else {})
    found = [
        Contender(
            "truth", "the true mixture", "the mixture that the points are drawn from, where one is", _truth,
            mixture=True, seeded=False,
        ),
        Contender(
            "em", "EM, full", f"EMMixture of full covariances, the likeliest of {RESTARTS} starts", _em,
            mixture=True,
        ),
        Contender(
            "em-unit", "EM, unit",
            f"EMMixture of unit covariances, {RESTARTS} starts, where they are known to be I", _em_unit,
            mixture=True,
        ),
        Contender(
            "network", "network + EM",
            f"TGMMMixture, {VIEWS} views: unit covariances and {UNIT_STEPS} EM steps where they are known "
            f"to be I, else full ones and {FULL_STEPS} steps, from the network that 'auto' takes "
            "(training.serving.shipped)",
            _network, mixture=True,
        ),
        Contender(
            "sklearn-gmm", "GaussianMixture", f"scikit-learn, full covariances, n_init = {RESTARTS}",
            _peer, mixture=True,
        ),
        Contender(
            "bayesian", "BayesianGaussianMixture",
            f"scikit-learn, full covariances, n_init = {RESTARTS}, at most K components; its level is "
            "that of the mixture of the posterior's averages", _bayesian, mixture=True,
        ),
        Contender("k-means", "k-means", f"scikit-learn, n_init = {RESTARTS}", _kmeans),
        Contender(
            "spectral", "spectral clustering",
            "scikit-learn, the graph of 10 nearest neighbours, k-means on its eigenvectors", _spectral,
        ),
        Contender(
            "ward", "agglomerative", "scikit-learn, Ward's linkage",
            _labels(lambda data: cluster.AgglomerativeClustering(data.n_groups)), seeded=False,
        ),
        Contender(
            "birch", "BIRCH", "scikit-learn, its default threshold of 0.5 in the units of the data",
            _labels(lambda data: cluster.Birch(n_clusters=data.n_groups)), seeded=False,
        ),
        Contender(
            "mean-shift", "mean shift", "scikit-learn, its default bandwidth, from a grid of starts",
            _labels(lambda data: cluster.MeanShift(bin_seeding=True)), chooses=True, seeded=False,
        ),
        Contender(
            "hdbscan", "HDBSCAN", "scikit-learn, its default of at least 5 points a group",
            _labels(lambda data: cluster.HDBSCAN(copy=True)), chooses=True, seeded=False,
        ),
        Contender(
            "hdbscan-5", "HDBSCAN, 5 %", f"the same with at least {100 * SHARE:g} % of the points a group",
            _labels(lambda data: cluster.HDBSCAN(min_cluster_size=_least(data), copy=True)),
            chooses=True, seeded=False,
        ),
        Contender(
            "vade", "VaDE", "a Gaussian-mixture variational autoencoder (baselines.deep.vade); its level is "
            "a lower bound", lambda data, seed: _vade(VaDE(data.n_groups, random_state=seed, **varied), data),
            bound=True,
        ),
        Contender(
            "dec", "DEC", "deep embedded clustering (baselines.deep.dec)",
            lambda data, seed: Grouping(DEC(data.n_groups, random_state=seed, **refined).fit(data.X).labels_),
        ),
    ]  # fmt: skip
    by_name = {one.name: one for one in found}
    return {name: by_name[name] for name in METHODS}


def _truth(data: DataSet, seed: int) -> Grouping:
    truth = data.truth
    if truth is None:
        raise ValueError("the points are not drawn from a mixture that is at hand")

    def level(X: Array) -> float:
        return float(truth.log_likelihood_per_point(torch.from_numpy(X)))

    return Grouping(truth.predict(torch.from_numpy(data.X)).numpy(), level)


def _fitted(model: Any, data: DataSet) -> Grouping:
    model.fit(data.X)
    return Grouping(model.predict(data.X), lambda X: float(model.score(X)))


def _em(data: DataSet, seed: int) -> Grouping:
    model = EMMixture(data.n_groups, covariance_type="full", n_init=RESTARTS, random_state=seed)
    return _fitted(model, data)


def _em_unit(data: DataSet, seed: int) -> Grouping:
    if not data.unit:
        raise ValueError("the spread within a group is not known")
    return _fitted(EMMixture(data.n_groups, n_init=RESTARTS, random_state=seed), data)


def _network(data: DataSet, seed: int) -> Grouping:
    kind, steps = ("unit", UNIT_STEPS) if data.unit else ("full", FULL_STEPS)
    model = TGMMMixture(
        data.n_groups, covariance_type=kind, polish_steps=steps, n_views=VIEWS, random_state=seed
    )
    return _fitted(model, data)


def _peer(data: DataSet, seed: int) -> Grouping:
    model = GaussianMixture(data.n_groups, n_init=RESTARTS, max_iter=MAX_ITER, random_state=seed)
    return _fitted(model, data)


def _bayesian(data: DataSet, seed: int) -> Grouping:
    """Its own score is of expected logarithms, which are no logarithm of a density."""
    settings: dict[str, Any] = {"n_init": RESTARTS, "max_iter": MAX_ITER, "random_state": seed}
    model = BayesianGaussianMixture(n_components=data.n_groups, **settings).fit(data.X)
    pi, mu, S = (torch.from_numpy(part) for part in (model.weights_, model.means_, model.covariances_))
    mixture = Mixture(pi, mu, S, "full")
    return Grouping(
        model.predict(data.X), lambda X: float(mixture.log_likelihood_per_point(torch.from_numpy(X)))
    )


def _labels(build: Callable[[DataSet], Any]) -> Callable[[DataSet, int], Grouping]:
    def group(data: DataSet, seed: int) -> Grouping:
        return Grouping(np.asarray(build(data).fit_predict(data.X), dtype=np.int64))

    return group


def _kmeans(data: DataSet, seed: int) -> Grouping:
    model = cluster.KMeans(data.n_groups, n_init=RESTARTS, random_state=seed)
    return Grouping(np.asarray(model.fit_predict(data.X), dtype=np.int64))


def _spectral(data: DataSet, seed: int) -> Grouping:
    model = cluster.SpectralClustering(data.n_groups, affinity="nearest_neighbors", random_state=seed)
    return Grouping(np.asarray(model.fit_predict(data.X), dtype=np.int64))


def _least(data: DataSet) -> int:
    """Points of a group for "hdbscan-5"; it takes 2 at least."""
    return max(2, round(SHARE * len(data.X)))


def _vade(model: VaDE, data: DataSet) -> Grouping:
    model.fit(data.X)
    return Grouping(model.labels_, model.score_bound)
