"""Many small fits: EM, the spectral method and the network beside loops over scikit-learn and tensorly.

Tasks of arXiv 2505.11918 with d = 8, K = 5, N = 128. A task is solved when its error is below ten times that
of EM started from the truth.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorly.decomposition
import torch
from sklearn.mixture import GaussianMixture

from baselines.em import em
from baselines.em_estimator import EMMixture
from baselines.metrics import errors
from baselines.mixture import Mixture
from baselines.spectral import spectral
from baselines.tasks import Tasks, paper_tasks
from training.serving.estimator import TGMMMixture

from .measure import ROUNDS, Row, in_turns

TASKS, PEER_TASKS = 1024, 64
"""Tasks of ours in one call; the loops take the first few of them, and times are a task's."""
K, SIZE = 5, (8, 5, 128)
N_STARTS, TENSORLY_ITERATIONS = 10, 10
"""tensorly's defaults; an iteration of a cubic tensor there is three steps."""


Estimates = tuple[torch.Tensor, torch.Tensor]
"""Weights (n, K) and means (n, K, d); NaN where a task has no estimate."""


def parts(mixture: Mixture) -> Estimates:
    """Of a mixture."""
    return mixture.weights, mixture.means


def sklearn_fits(X: Any, n_init: int = 1, covariance_type: str = "spherical") -> Estimates:
    """One scikit-learn fit after another, its defaults but for the covariance type."""
    fitted = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for seed, points in enumerate(X):
            model = GaussianMixture(K, covariance_type=covariance_type, n_init=n_init, random_state=seed)
            fitted.append(model.fit(points))
    weights = torch.from_numpy(np.stack([model.weights_ for model in fitted]))
    return weights, torch.from_numpy(np.stack([model.means_ for model in fitted]))


def tensorly_fit(X: Any) -> tuple[Any, Any]:
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


def tensorly_fits(X: Any) -> Estimates:
    """A loop over the tasks."""
    weights, means = (torch.from_numpy(np.stack(part)) for part in zip(*map(tensorly_fit, X), strict=True))
    return weights, means


def share_solved(found: Estimates, tasks: Tasks, oracle: torch.Tensor) -> float:
    """Of the first tasks, as many as were tried; no estimate is no success."""
    weights, means = found
    n, good = len(means), means.isfinite().all(-1).all(-1)
    estimate = Mixture(weights[good], means[good])
    truth = tasks.truth[:n][good].to(dtype=means.dtype)
    return float((errors(estimate, truth).total < 10 * oracle[:n][good]).sum()) / n


def many_rows() -> list[Row]:
    """Milliseconds of one processor for a task, ours in one call of 1,024 of them, the peer's in a loop."""
    generator = torch.Generator().manual_seed(0)
    tasks = paper_tasks(TASKS, *SIZE, generator=generator)
    oracle = errors(em(tasks.X, init=tasks.truth, tol=1e-6, max_iter=1000).mixture, tasks.truth).total
    X = tasks.X.numpy()
    peers: dict[str, Callable[[], Estimates]] = {
        "scikit-learn, 1 start": lambda: sklearn_fits(X[:PEER_TASKS]),
        "scikit-learn, 10 starts": lambda: sklearn_fits(X[:PEER_TASKS], 10),
        "scikit-learn, full": lambda: sklearn_fits(X[:PEER_TASKS], 1, "full"),
        "tensorly": lambda: tensorly_fits(X[:PEER_TASKS]),
    }

    def fitted(kind: str, dtype: torch.dtype, n_init: int = 1) -> Callable[[], Estimates]:
        data, settings = tasks.X.to(dtype), {"n_init": n_init, "generator": generator}
        return lambda: parts(em(data, K, covariance_type=kind, tol=1e-3, **settings).mixture)

    def served(estimator: Any) -> Callable[[], Estimates]:
        def run() -> Estimates:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # the share solved says what did not converge
                found = estimator.fit_many(X)
            return torch.from_numpy(found.weights), torch.from_numpy(found.means)

        return run

    spectral_ours = {"n_starts": N_STARTS, "n_iter": 3 * TENSORLY_ITERATIONS, "generator": generator}
    cases = {
        ("EM, spherical, float64", "scikit-learn, 1 start"): fitted("spherical", torch.float64),
        ("EM, spherical, float32", "scikit-learn, 1 start"): fitted("spherical", torch.float32),
        ("EM, unit, float64", "scikit-learn, 1 start"): fitted("unit", torch.float64),
        ("EM, full, float64", "scikit-learn, full"): fitted("full", torch.float64),
        ("EM, spherical, 10 starts", "scikit-learn, 10 starts"): fitted("spherical", torch.float64, 10),
        ("EMMixture.fit_many, spherical", "scikit-learn, 1 start"): served(
            EMMixture(K, covariance_type="spherical", random_state=0)
        ),
        ("network and 10 EM steps", "scikit-learn, 1 start"): served(TGMMMixture(K, random_state=0)),
        ("network and 10 constructed EM layers", "scikit-learn, 1 start"): served(
            TGMMMixture(K, polish="construction", random_state=0)
        ),
        ("spectral, 10 starts", "tensorly"): lambda: parts(spectral(tasks.X, K, **spectral_ours).mixture),
    }
    rows = []
    for (name, peer), ours in cases.items():
        took = in_turns({"ours": ours, "peer": peers[peer]})
        solved = [share_solved(run(), tasks, oracle) for run in (ours, peers[peer])]
        note = f"solved {solved[0]:.0%}, peer {solved[1]:.0%}"
        times = took["ours"] / TASKS, took["peer"] / PEER_TASKS
        rows.append(Row("many small fits", f"{name}, {TASKS:,} tasks", peer, *times, ROUNDS, note=note))
    return rows
