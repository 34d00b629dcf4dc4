"""The spectral estimator for many tasks at once against a loop over tensorly's. No time is asserted.

Run by `make bench`. Both sides run in the same test, one thread each, and their figures and ratio are printed
and saved in pytest-benchmark's extra_info. Medians over rounds; the rounds of the sides alternate.
"""

import statistics
import warnings

import numpy as np
import tensorly.decomposition
import torch
from measuring import timed
from sklearn.mixture import GaussianMixture

from baselines.em import em
from baselines.metrics import errors
from baselines.mixture import Mixture
from baselines.spectral import spectral
from baselines.tasks import paper_tasks

SIZES = {"n_tasks": 1024, "n_features": 8, "n_components": 5, "n_samples": 128}
ROUNDS = 5
PEER_TASKS = 64  # a round of the loop takes these of the 1,024, another 64 in every round
N_STARTS, TENSORLY_ITERATIONS = 10, 10  # tensorly's defaults; an iteration of a cubic tensor there is 3 steps


def tensorly_fit(X, K):
    """One task by numpy and tensorly: whitening, robust tensor power method, un-whitening; variance 1."""
    N, d = X.shape
    eigenvalues, vectors = np.linalg.eigh(X.T @ X / N - np.eye(d))
    U, roots = vectors[:, -K:], np.sqrt(eigenvalues[-K:])
    W, B = U / roots, U * roots
    Y = X @ W
    T = np.einsum("na,nb,nc->abc", Y, Y, Y, optimize=True) / N
    noise = np.einsum("a,bc->abc", Y.mean(0), W.T @ W)
    T -= noise + noise.transpose(1, 0, 2) + noise.transpose(2, 1, 0)
    values, factors = tensorly.decomposition.symmetric_parafac_power_iteration(
        T, rank=K, n_repeat=N_STARTS, n_iteration=TENSORLY_ITERATIONS
    )
    raw = values**-2.0
    return raw / raw.sum(), (values * (B @ factors)).T


def tensorly_fits(X, K):
    fitted = [tensorly_fit(points, K) for points in X]
    weights, means = (torch.from_numpy(np.stack(parts)) for parts in zip(*fitted, strict=True))
    return Mixture(weights, means)


def sklearn_fits(X, K):
    """scikit-learn's EM, defaults but for the covariance type: another method, for orientation."""
    fitted = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for seed, points in enumerate(X):
            fitted.append(GaussianMixture(K, covariance_type="spherical", random_state=seed).fit(points))
    weights = torch.stack([torch.from_numpy(model.weights_) for model in fitted])
    return Mixture(weights, torch.stack([torch.from_numpy(model.means_) for model in fitted]))


def test_many_small_fits(benchmark, one_thread, monkeypatch):
    """Fits a second at d = 8, K = 5, N = 128, variance known, 10 starts of 30 steps, float64.

    success: share of tasks with an error below ten times that of EM started from the truth; on the tasks of
    the loop for all sides, and on all 1,024 for ours.
    """
    monkeypatch.setattr(np.random, "random_sample", np.random.default_rng(0).random)
    generator = torch.Generator().manual_seed(0)
    tasks = paper_tasks(**SIZES, generator=generator)
    K = SIZES["n_components"]
    oracle = errors(em(tasks.X, init=tasks.truth, tol=1e-6, max_iter=1000).mixture, tasks.truth).total

    def success(estimate, part):
        return (errors(estimate, tasks.truth[part]).total < 10 * oracle[part]).double().mean().item()

    def ours():
        return spectral(tasks.X, K, n_starts=N_STARTS, n_iter=3 * TENSORLY_ITERATIONS, generator=generator)

    ours()
    tensorly_fits(tasks.X[:2].numpy(), K)
    seconds = {"ours": [], "loop": [], "sklearn": []}
    shares = {"ours": [], "ours, all tasks": [], "loop": [], "sklearn": []}
    for i in range(ROUNDS):
        part = slice(PEER_TASKS * i, PEER_TASKS * (i + 1))
        points = tasks.X[part].numpy()
        took, result = timed(ours)
        seconds["ours"].append(took / SIZES["n_tasks"])
        shares["ours, all tasks"].append(success(result.mixture, slice(None)))
        shares["ours"].append(success(result.mixture[part], part))
        for name, peer in (("loop", tensorly_fits), ("sklearn", sklearn_fits)):
            took, estimate = timed(lambda peer=peer, points=points: peer(points, K))
            seconds[name].append(took / PEER_TASKS)
            shares[name].append(success(estimate, part))
    benchmark.pedantic(ours, rounds=ROUNDS)
    rates = {name: 1 / statistics.median(values) for name, values in seconds.items()}
    figures = {f"fits_per_second, {name}": rate for name, rate in rates.items()}
    figures |= {"ratio to the loop": rates["ours"] / rates["loop"]}
    figures |= {"ratio to sklearn's EM": rates["ours"] / rates["sklearn"]}
    figures |= {f"success, {name}": statistics.mean(values) for name, values in shares.items()}
    benchmark.extra_info.update(figures)
    for name, value in figures.items():
        print(f"  {name}: {value:.4g}")
