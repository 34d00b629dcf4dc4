"""Large fits beside scikit-learn's: CPU seconds and peak memory of both sides, from one start, in one run.

The 20 steps of EM start at eight of the points, with variance 4 and no regularisation; k-means starts at
eight of the points and runs until nothing changes, at most 20 steps; the fits of "full d = 32" start near the
truth and take 20 steps each, ours in one call. Each fit is in a fresh process, in turns with the peer's.
"""

from __future__ import annotations

import statistics
import time
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn.cluster import KMeans
from sklearn.mixture import GaussianMixture
from torch import Tensor

from baselines.em import em
from baselines.kmeans import kmeans
from baselines.mixture import Mixture

from .measure import ROUNDS, Row, in_a_fresh_process, one_thread, peak_mib

N_SAMPLES, N_FEATURES, N_COMPONENTS, N_ITER = 1_000_000, 16, 8, 20
PEER_NAMES = {"spherical": "spherical", "diagonal": "diag", "full": "full"}


class Case(NamedTuple):
    """What is fitted: `data` makes it for a number of points; each side fits it and returns its means."""

    data: Callable[[int], tuple[Tensor, Any]]
    ours: Callable[[Tensor, Any], Any]
    peer: Callable[[Tensor, Any], Any]


def blobs(n_samples: int, dtype: torch.dtype) -> Tensor:
    """Points (N, d) of eight unit components."""
    generator = torch.Generator().manual_seed(0)
    means = torch.rand(N_COMPONENTS, N_FEATURES, dtype=dtype, generator=generator) * 10 - 5
    X = torch.empty(n_samples, N_FEATURES, dtype=dtype)
    for part in X.split(10_000):
        part.normal_(generator=generator)
        part += means[torch.randint(N_COMPONENTS, (len(part),), generator=generator)]
    return X


def em_start(X: Tensor, covariance_type: str) -> Mixture:
    """Equal weights, means at the first points, variance 4."""
    K, d = N_COMPONENTS, N_FEATURES
    shape = {"spherical": (K,), "diagonal": (K, d), "full": (K, d, d)}[covariance_type]
    covariances = 4 * torch.eye(d, dtype=X.dtype).expand(shape) if covariance_type == "full" else None
    if covariances is None:
        covariances = torch.full(shape, 4.0, dtype=X.dtype)
    weights = torch.full((K,), 1 / K, dtype=X.dtype)
    return Mixture(weights, X[:K].clone(), covariances.contiguous(), covariance_type)


def our_em(X: Tensor, start: Mixture) -> Tensor:
    return em(X, init=start, tol=0, max_iter=N_ITER).mixture.means


def peer_em(X: Tensor, start: Mixture) -> Tensor:
    """GaussianMixture from the same start, one task."""
    covariances = start.covariances
    assert covariances is not None
    full = start.covariance_type == "full"
    model = GaussianMixture(
        start.n_components,
        covariance_type=PEER_NAMES[start.covariance_type],
        reg_covar=0,
        tol=0,
        max_iter=N_ITER,
        weights_init=start.weights.numpy(),
        means_init=start.means.numpy(),
        precisions_init=(torch.linalg.inv(covariances) if full else 1 / covariances).numpy(),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tol = 0 never converges, which is meant
        return torch.from_numpy(model.fit(X.numpy()).means_)


def large_em(covariance_type: str, dtype: torch.dtype) -> Case:
    def data(n_samples: int) -> tuple[Tensor, Mixture]:
        X = blobs(n_samples, dtype)
        return X, em_start(X, covariance_type)

    return Case(data, our_em, peer_em)


def large_kmeans(dtype: torch.dtype) -> Case:
    def data(n_samples: int) -> tuple[Tensor, Tensor]:
        X = blobs(n_samples, dtype)
        return X, X[:N_COMPONENTS].clone()

    def peer(X: Tensor, centres: Tensor) -> Tensor:
        settings: Any = {"init": centres.numpy(), "n_init": 1, "max_iter": N_ITER, "tol": 0}
        return torch.from_numpy(KMeans(N_COMPONENTS, **settings).fit(X.numpy()).cluster_centers_)

    return Case(data, lambda X, centres: kmeans(X, N_COMPONENTS, init=centres, max_iter=N_ITER).centres, peer)


def many_full(dtype: torch.dtype, n_tasks: int = 24) -> Case:
    """Fits of N = 512 points at d = 32, K = 5; the number of points is not that of the large fits."""

    def data(_: int) -> tuple[Tensor, Mixture]:
        generator = torch.Generator().manual_seed(0)
        means = torch.randn(n_tasks, 5, 32, dtype=dtype, generator=generator)
        noise = torch.randn(n_tasks, 512, 32, dtype=dtype, generator=generator)
        covariances = 2 * torch.eye(32, dtype=dtype).expand(n_tasks, 5, 32, 32)
        weights = torch.full((n_tasks, 5), 0.2, dtype=dtype)
        start = Mixture(weights, means + 0.3, covariances.contiguous(), "full")
        return means[:, torch.arange(512) % 5] + noise, start

    def peer(X: Tensor, start: Mixture) -> Tensor:
        return torch.stack([peer_em(points, start[task]) for task, points in enumerate(X)])

    return Case(data, our_em, peer)


CASES: dict[str, Callable[[], Case]] = {
    f"{name}, {str(dtype).removeprefix('torch.')}": (lambda make=make, dtype=dtype: make(dtype))
    for name, make in {
        "spherical": lambda dtype: large_em("spherical", dtype),
        "diagonal": lambda dtype: large_em("diagonal", dtype),
        "full": lambda dtype: large_em("full", dtype),
        "k-means": large_kmeans,
        "full d = 32": many_full,
    }.items()
    for dtype in (torch.float64, torch.float32)
}


def fit_here(name: str, side: str, n_samples: int) -> tuple[float, float, list[Any]]:
    """CPU seconds of one fit, MiB by which it raised the peak over libraries, data and a small fit; means."""
    one_thread()
    case = CASES[name]()
    fit = case.ours if side == "ours" else case.peer
    X, start = case.data(n_samples)
    if X.dim() == 2:
        fit(X[:40_000], start)
    else:
        fit(X[:2], start[:2])
    before, began = peak_mib(), time.process_time()
    means = fit(X, start)
    return time.process_time() - began, peak_mib() - before, means.tolist()


def measured(name: str, rounds: int = ROUNDS, n_samples: int = N_SAMPLES) -> Row:
    """Both sides of a case of CASES.

    Raises:
        ValueError: means of the two sides that disagree: it was not the same fit.
    """
    fits = [
        [in_a_fresh_process(fit_here, name, side, n_samples) for side in ("ours", "peer")]
        for _ in range(rounds)
    ]
    ours, peer = zip(*fits, strict=True)
    gap = np.abs(np.array(ours[0][2]) - np.array(peer[0][2])).max()
    if not gap < 1e-2:
        raise ValueError(f"{name}: means of the two sides differ by {gap}, needs < 0.01: not the same fit")
    seconds = [statistics.median(fit[0] for fit in side) for side in (ours, peer)]
    memory = [statistics.median(fit[1] for fit in side) for side in (ours, peer)]
    shown = memory if memory[1] >= 1 else []
    return Row(
        "large fits",
        name,
        "scikit-learn",
        *seconds,
        rounds,
        *shown,
        note=f"{seconds[1] / seconds[0]:.1f} times",
    )


def large_rows() -> list[Row]:
    """All of CASES."""
    return [measured(name) for name in CASES]
