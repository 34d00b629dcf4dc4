"""What is grouped: draws of mixtures, of shapes that are no mixtures, and the real data of scikit-learn.

A draw of synthetic data comes with as many points again of the same law, which nobody fits: for likelihoods.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn import datasets as sklearn_datasets

from baselines.mixture import Mixture
from baselines.real_data import real_data_sets
from baselines.shown import short_repr
from baselines.standardise import standardised
from training.clusterings.names import DATA
from training.tasks import TaskDistribution
from training.tasks.priors import PRIORS, Prior, held_out

Array = NDArray[np.float64]
datasets: Any = sklearn_datasets
"""Untyped: what its stubs say of arguments and results is too narrow or too wide."""

FULL = Prior(
    "full-d2",
    "means uniform in [-5, 5]^2, full covariances, deviations log-uniform on 0.15 to 1.5",
    TaskDistribution(
        2, (3, 4, 5), (200, 500), "full", (0.15, 1.5), deviation_law="log-uniform", max_cosine=2.0
    ),
    "full",
)
BUNDLED = {"iris": "iris", "wine": "wine", "cancer": "breast cancer", "digits": "digits"}
"""Names of baselines.real_data by those of the options."""
SHAPE_POINTS = 500
QUICK_POINTS = 200
"""Points of real data that are taken by --quick: evenly spaced ones."""


@dataclass(frozen=True, eq=False)
class DataSet:
    """X (N, d) with the group of each point (N,); `unseen` (M, d) of the same law, None where there are none.

    truth  the mixture that the points are drawn from, None where there is none.
    unit   whether its covariances are known to be I.
    """

    X: Array
    groups: NDArray[np.int64]
    unseen: Array | None = None
    truth: Mixture | None = None
    unit: bool = False

    __repr__ = short_repr

    @property
    def n_groups(self) -> int:
        """K, which contenders are told."""
        return len(np.unique(self.groups)) if self.truth is None else self.truth.n_components


@dataclass(frozen=True)
class Source:
    """draw: (place, seed) -> the data set of this place. random: whether places differ. law: for the page."""

    name: str
    law: str
    draw: Callable[[int, int], DataSet]
    random: bool = True


def sources(quick: bool = False) -> dict[str, Source]:
    """All of them by name, in the order of DATA."""
    found = [
        Source("unit-d2", PRIORS["paper-d2"].source, _mixtures(PRIORS["paper-d2"])),
        Source("unit-d8", PRIORS["paper-d8"].source, _mixtures(PRIORS["paper-d8"])),
        Source("full-d2", f"d = 2, K 3 to 5, {FULL.source}, N = 200 to 500", _mixtures(FULL)),
        Source("aniso", "three round groups of equal size, all stretched by one map", _shape(_aniso)),
        Source("varied", "three round groups of equal size, deviations 1, 2.5 and 0.5", _shape(_varied)),
        Source("moons", "two half circles, each within the other's bend, noise 0.05", _shape(_moons)),
        Source("circles", "two circles about one centre, radii 1 and 0.5, noise 0.05", _shape(_circles)),
    ]
    for name, label in (
        ("iris", "iris"),
        ("wine", "wine"),
        ("cancer", "breast cancer"),
        ("digits", "digits"),
    ):
        law = f"{label}, standardised" + (", 10 principal components" if name == "digits" else "")
        found.append(Source(name, law, _real(label, quick), random=False))
    found.append(
        Source("digits-all", "digits, standardised, all columns that vary", _all_digits(quick), False)
    )
    by_name = {source.name: source for source in found}
    return {name: by_name[name] for name in DATA}


def _mixtures(prior: Prior) -> Callable[[int, int], DataSet]:
    def draw(place: int, seed: int) -> DataSet:
        *_, one = held_out(prior, place + 1, seed)
        generator = torch.Generator().manual_seed(_number(seed, prior.name, place))
        unseen, _ = one.truth.sample(len(one.X), generator)
        unit = prior.covariance_type == "unit"
        return DataSet(one.X.numpy(), one.labels.numpy(), unseen.numpy(), one.truth, unit)

    return draw


def _number(seed: int, name: str, place: int) -> int:
    """A seed of its own for every purpose."""
    sequence = np.random.SeedSequence([seed, place, *name.encode()])
    return int(sequence.generate_state(1)[0])


def _shape(make: Callable[[int, int], tuple[Array, Any]]) -> Callable[[int, int], DataSet]:
    """Drawn twice as long and cut in two at random, in units in which the first half has deviation 1."""

    def draw(place: int, seed: int) -> DataSet:
        number = _number(seed, make.__name__, place)
        X, groups = make(2 * SHAPE_POINTS, number)
        order = np.random.default_rng([number, 1]).permutation(len(X))
        X, groups = X[order], np.asarray(groups, dtype=np.int64)[order]
        first = X[:SHAPE_POINTS]
        X = (X - first.mean(0)) / first.std(0)
        return DataSet(X[:SHAPE_POINTS], groups[:SHAPE_POINTS], X[SHAPE_POINTS:])

    return draw


def _aniso(n: int, number: int) -> tuple[Array, Any]:
    X, groups = datasets.make_blobs(n, random_state=number)[:2]
    return X @ np.array([[0.6, -0.6], [-0.4, 0.8]]), groups


def _varied(n: int, number: int) -> tuple[Array, Any]:
    return datasets.make_blobs(n, cluster_std=[1.0, 2.5, 0.5], random_state=number)[:2]


def _moons(n: int, number: int) -> tuple[Array, Any]:
    return datasets.make_moons(n, noise=0.05, random_state=number)


def _circles(n: int, number: int) -> tuple[Array, Any]:
    return datasets.make_circles(n, noise=0.05, factor=0.5, random_state=number)


@cache
def _bundled() -> dict[str, DataSet]:
    return {one.name: DataSet(one.X, one.classes) for one in real_data_sets()}


def _real(label: str, quick: bool) -> Callable[[int, int], DataSet]:
    return lambda place, seed: _fewer(_bundled()[label], quick)


def _all_digits(quick: bool) -> Callable[[int, int], DataSet]:
    def draw(place: int, seed: int) -> DataSet:
        X, classes = datasets.load_digits(return_X_y=True)
        return _fewer(DataSet(standardised(np.asarray(X, dtype=np.float64))[0], np.asarray(classes)), quick)

    return draw


def _fewer(data: DataSet, quick: bool) -> DataSet:
    if not quick or len(data.X) <= QUICK_POINTS:
        return data
    taken = np.linspace(0, len(data.X) - 1, QUICK_POINTS).round().astype(int)
    return replace(data, X=data.X[taken], groups=data.groups[taken])
