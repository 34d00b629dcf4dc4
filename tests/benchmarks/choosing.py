"""How often the number of components is found, and at what price: select_many beside scikit-learn with BIC.

    python -m tests.benchmarks.choosing [--sets 60] [--seed 0]

Data like those of Cluster-PFN (arXiv 2510.24318): K uniform on 1 to 10, N uniform on 100 to 500, weights from
a flat Dirichlet, (mu_k, S_k) normal-inverse-Wishart with kappa 0.01, 2 degrees of freedom, scale I, d = 2; a
column scaled to [0, 1]. Both sides try K = 1 to 10 with full covariances, tol 1e-3, reg_covar 1e-6 and one
start. Prints how often each finds the K drawn, and CPU seconds of one thread, in this process, in turns.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings

import numpy as np
from scipy.stats import invwishart
from sklearn.mixture import GaussianMixture

from baselines.choosing import select_many

from .measure import Row, one_thread

KAPPA, DEGREES, MOST_COMPONENTS, FEWEST, MOST = 0.01, 2, 10, 100, 500
COUNTS = range(1, MOST_COMPONENTS + 1)


def prior_sets(n_sets: int, seed: int) -> tuple[list[np.ndarray], np.ndarray]:
    """Data sets (N_b, 2), and how many components each was drawn from, (n_sets,)."""
    generator = np.random.default_rng(seed)
    sets, truth = [], []
    for _ in range(n_sets):
        K, N = generator.integers(1, MOST_COMPONENTS + 1), generator.integers(FEWEST, MOST + 1)
        weights = generator.dirichlet(np.ones(K))
        covariances = invwishart(DEGREES, np.eye(2)).rvs(K, random_state=generator).reshape(K, 2, 2)
        roots = np.linalg.cholesky(covariances)
        means = np.einsum("kij,kj->ki", roots, generator.normal(size=(K, 2))) / np.sqrt(KAPPA)
        labels = generator.choice(K, N, p=weights)
        X = means[labels] + np.einsum("nij,nj->ni", roots[labels], generator.normal(size=(N, 2)))
        sets.append((X - X.min(0)) / (X.max(0) - X.min(0)))
        truth.append(K)
    return sets, np.array(truth)


def ours(sets: list[np.ndarray]) -> np.ndarray:
    """K chosen for every data set."""
    return np.array(select_many(sets, COUNTS, "full", "bic").n_components)


def theirs(sets: list[np.ndarray]) -> np.ndarray:
    """K chosen for every data set."""
    chosen = []
    for X in sets:
        levels = [GaussianMixture(K, random_state=0).fit(X).bic(X) for K in COUNTS]
        chosen.append(1 + int(np.argmin(levels)))
    return np.array(chosen)


def choosing_rows(n_sets: int = 60, seed: int = 0, rounds: int = 3) -> list[Row]:
    """One row: seconds of a data set, and how often each side finds K."""
    sets, truth = prior_sets(n_sets, seed)
    seconds: dict[str, list[float]] = {"ours": [], "theirs": []}
    found = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # fits that did not converge count as they are, on both sides
        ours(sets[:2])
        theirs(sets[:1])
        for _ in range(rounds):
            for name, side in (("ours", ours), ("theirs", theirs)):
                began = time.process_time()
                found[name] = float((side(sets) == truth).mean())
                seconds[name].append((time.process_time() - began) / n_sets)
    note = f"K found {found['ours']:.3f}, peer {found['theirs']:.3f}"
    times = float(np.median(seconds["ours"])), float(np.median(seconds["theirs"]))
    work = f"choosing K of 1 to 10, {n_sets} data sets, seed {seed}"
    return [Row("choosing", work, "scikit-learn", *times, rounds, note=note)]


def main() -> int:
    """Exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.choosing", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--sets", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    one_thread()
    for row in choosing_rows(asked.sets, asked.seed, asked.rounds):
        print(f"{row.work}: {row.note}")
        print(
            f"CPU seconds a data set: select_many {row.ours:.4f}, scikit-learn {row.theirs:.4f}, "
            f"{1 / row.ratio:.1f} times as fast"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
