"""EM against scikit-learn's GaussianMixture: many small fits, and large ones. No time is asserted.

Run by `make bench`. Both sides run in the same test, one thread each, and their figures and ratio are printed
and saved in pytest-benchmark's extra_info. Medians over rounds; the rounds of the two sides alternate.
"""

import statistics
import warnings

import pytest
import torch
from large_fits import CASES, measure
from measuring import record, timed
from sklearn.mixture import GaussianMixture

from baselines.em import em
from baselines.metrics import errors
from baselines.mixture import Mixture
from baselines.tasks import Tasks, paper_tasks

SMALL = {"n_tasks": 1024, "n_features": 8, "n_components": 5, "n_samples": 128}


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


@pytest.mark.parametrize("name", CASES)
def test_large_fits(benchmark, name):
    """N = 1e6, d = 16, K = 8, 20 steps from one start; many fits at d = 32. See large_fits.py."""
    row = benchmark.pedantic(measure, (name,), rounds=1)
    record(
        benchmark,
        cpu_seconds=row.ours,
        peer_cpu_seconds=row.peer,
        ratio=row.peer / row.ours,
        memory_ratio=row.memory_ratio,
    )
