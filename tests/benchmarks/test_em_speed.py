"""EM against scikit-learn's GaussianMixture: many small fits, and one large one. No time is asserted.

Run by `make bench`. Both sides run in the same test, one thread each, and their figures and ratio are printed
and saved in pytest-benchmark's extra_info. Medians over rounds; the rounds of the two sides alternate.
"""

import resource
import statistics
import sys
import warnings
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest
import torch
from measuring import record, timed
from sklearn.mixture import GaussianMixture
from threadpoolctl import threadpool_limits

from baselines.em import em
from baselines.metrics import errors
from baselines.mixture import Mixture
from baselines.tasks import Tasks, paper_tasks

SMALL = {"n_tasks": 1024, "n_features": 8, "n_components": 5, "n_samples": 128}
LARGE = {"n_samples": 1_000_000, "n_features": 16, "n_components": 8, "n_iter": 20, "chunk_size": 8192}


def sklearn_fits(X, n_components):
    """One scikit-learn fit after another, defaults but for the covariance type (k-means start, tol 1e-3)."""
    fitted = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for seed, points in enumerate(X):
            model = GaussianMixture(n_components, covariance_type="spherical", random_state=seed)
            fitted.append(model.fit(points))
    return fitted


def sklearn_mixture(fitted):
    weights = torch.stack([torch.from_numpy(model.weights_) for model in fitted])
    means = torch.stack([torch.from_numpy(model.means_) for model in fitted])
    return Mixture(weights, means)


def success_rate(estimate: Mixture, tasks: Tasks, oracle: torch.Tensor) -> float:
    """Share of tasks whose total error is below ten times that of EM started from the truth."""
    found = Mixture(estimate.weights, estimate.means)
    return (errors(found, tasks.truth.to(dtype=found.means.dtype)).total < 10 * oracle).double().mean().item()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("covariance_type", ["spherical", "unit"])
def test_many_small_fits(benchmark, one_thread, covariance_type, dtype):
    """Fits a second at d = 8, K = 5, N = 128, tol 1e-3, one start each (greedy k-means++ against k-means)."""
    generator = torch.Generator().manual_seed(0)
    tasks = paper_tasks(**SMALL, generator=generator)
    K, n_tasks = SMALL["n_components"], SMALL["n_tasks"]
    oracle = errors(em(tasks.X, init=tasks.truth, tol=1e-6, max_iter=1000).mixture, tasks.truth).total
    X, peer_X = tasks.X.to(dtype), tasks.X.numpy()

    def ours():
        return em(X, K, covariance_type=covariance_type, tol=1e-3, generator=generator)

    ours()
    our_times, peer_times, our_success, peer_success = [], [], [], []
    for _ in range(5):
        seconds, result = timed(ours)
        our_times.append(seconds)
        our_success.append(success_rate(result.mixture, tasks, oracle))
        seconds, fitted = timed(lambda: sklearn_fits(peer_X, K))
        peer_times.append(seconds)
        peer_success.append(success_rate(sklearn_mixture(fitted), tasks, oracle))
    benchmark.pedantic(ours, rounds=5)
    our_rate, peer_rate = n_tasks / statistics.median(our_times), n_tasks / statistics.median(peer_times)
    record(
        benchmark,
        fits_per_second=our_rate,
        peer_fits_per_second=peer_rate,
        ratio=our_rate / peer_rate,
        success=statistics.median(our_success),
        peer_success=statistics.median(peer_success),
    )


def large_data(dtype: torch.dtype) -> tuple[torch.Tensor, Mixture]:
    """A million points of eight unit components, and a start at eight of the points."""
    generator = torch.Generator().manual_seed(0)
    K, d, N = LARGE["n_components"], LARGE["n_features"], LARGE["n_samples"]
    means = torch.rand(K, d, dtype=dtype, generator=generator) * 10 - 5
    X = torch.empty(N, d, dtype=dtype)
    for part in X.split(10_000):
        part.normal_(generator=generator)
        part += means[torch.randint(K, (len(part),), generator=generator)]
    return X, Mixture(
        torch.full((K,), 1 / K, dtype=dtype), X[:K].clone(), torch.full((K,), 4.0, dtype=dtype), "spherical"
    )


def our_large_fit(X: torch.Tensor, start: Mixture) -> torch.Tensor:
    return em(X, init=start, tol=0, max_iter=LARGE["n_iter"], chunk_size=LARGE["chunk_size"]).mixture.means


def peer_large_fit(X: torch.Tensor, start: Mixture) -> torch.Tensor:
    model = GaussianMixture(
        start.n_components,
        covariance_type="spherical",
        reg_covar=0,
        tol=0,
        max_iter=LARGE["n_iter"],
        weights_init=start.weights.numpy(),
        means_init=start.means.numpy(),
        precisions_init=1 / start.covariances.numpy(),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.from_numpy(model.fit(X.numpy()).means_)


LARGE_FITS = {"ours": our_large_fit, "peer": peer_large_fit}


def peak_bytes() -> int:
    """Largest resident size of this process so far.

    From the kernel's VmHWM where there is one: getrusage also counts the parent before this one started.
    """
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return 1024 * int(line.split()[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def large_fit_here(side: str, dtype: torch.dtype) -> tuple[float, int, list[list[float]]]:
    """Seconds of one fit, and how far it raised the peak above libraries, data and a small fit."""
    torch.set_num_threads(1)
    with threadpool_limits(1):
        X, start = large_data(dtype)
        LARGE_FITS[side](X[:1000], start)
        before = peak_bytes()
        seconds, means = timed(lambda: LARGE_FITS[side](X, start))
        return seconds, peak_bytes() - before, means.tolist()


def large_fit(side: str, dtype: torch.dtype) -> tuple[float, int, torch.Tensor]:
    """One fit in a fresh process, so that the peak is that of the fit alone."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        seconds, extra, means = pool.submit(large_fit_here, side, dtype).result()
    return seconds, extra, torch.tensor(means, dtype=torch.float64)


@pytest.mark.parametrize("peer_dtype", [torch.float32, torch.float64], ids=["peer32", "peer64"])
def test_one_large_fit(benchmark, one_thread, peer_dtype):
    """N = 1e6, d = 16, K = 8, spherical, 20 iterations from one start: float32 here, either at the peer."""
    ours, peer = [], []
    for _ in range(3):
        ours.append(large_fit("ours", torch.float32))
        peer.append(large_fit("peer", peer_dtype))
    X, start = large_data(torch.float32)
    benchmark.pedantic(lambda: our_large_fit(X, start), rounds=1)
    our_seconds, peer_seconds = (statistics.median(fit[0] for fit in side) for side in (ours, peer))
    our_extra, peer_extra = (statistics.median(fit[1] for fit in side) / 2**20 for side in (ours, peer))
    figures = {
        "seconds": our_seconds,
        "peer_seconds": peer_seconds,
        "ratio": peer_seconds / our_seconds,
        "extra_peak_MiB": our_extra,
        "peer_extra_peak_MiB": peer_extra,
        "memory_ratio": our_extra / peer_extra,
    }
    if peer_dtype == torch.float32:  # only then do both sides see the same data
        figures["largest_difference_of_a_mean"] = (ours[0][2] - peer[0][2]).abs().max().item()
    record(benchmark, **figures)
