"""The spectral construction in the ledger."""

from __future__ import annotations

import numpy as np
import torch

from baselines.spectral import Status
from constructions.spectral.exact import Problem
from constructions.spectral.hypotheses import SpectralError
from constructions.spectral.weights import SOURCE, spectral_construction
from verify.engine import claims
from verify.engine.record import Check, Record
from verify.engine.theorem import Theorem
from verify.spectral.families import points
from verify.spectral.measure import WEIGHTS_ONLY
from verify.spectral.reference import reference
from verify.spectral.theorem import ESTIMATED, SPECTRAL, SQUARES
from verify.spectral.wide_search import search_sizes

FEWER = 20
"""Instances of a search are this many times fewer: one is a run of hundreds of layers."""
ERROR = 1e-11


def check_search(seed: int, instances: int) -> list[Record]:
    """With products, s given."""
    return _searched(SPECTRAL, seed, instances)


def check_search_squares(seed: int, instances: int) -> list[Record]:
    """With squares by the MLP."""
    return _searched(SQUARES, seed, instances)


def check_search_variance(seed: int, instances: int) -> list[Record]:
    """With s estimated by the layers."""
    return _searched(ESTIMATED, seed, instances)


def _searched(theorem: Theorem[Problem], seed: int, instances: int) -> list[Record]:
    return claims.check_search(theorem, seed, max(1, instances // FEWER), torch.float64, "structured")


def check_sizes(seed: int, instances: int) -> list[Record]:
    """Sizes d from 2 to 32, K from 1 to d, N from 64 to 4,096, with the default ranges."""
    check = Check(SOURCE, seed, torch.float64)
    found = search_sizes(max(1, instances // FEWER), seed)
    claim = f"structured evaluation: {SPECTRAL.name}: no bound is broken, d <= 32, K <= d, N <= 4096"
    return [claims.found_record(check, claim, found)]


def check_size(seed: int, instances: int) -> list[Record]:
    """d = 8, K = 4, N = 2000: the median error of a mean, over the length of the largest."""
    check = Check(SOURCE, seed, torch.float64)
    generator = torch.Generator().manual_seed(seed)
    tasks = max(1, min(200, instances // 100))
    X = points("Gaussian means", tasks, 4, 8, 2000, generator)
    directions = torch.randn(tasks, 10, 8, generator=generator, dtype=torch.float64)
    basis = torch.randn(tasks, 4, 8, generator=generator, dtype=torch.float64)
    weights = spectral_construction(8, 4)
    run = weights.run(X, 4, directions, basis, on_failure="mark")
    found = reference(Problem(X, torch.ones(tasks, dtype=torch.float64), directions, basis), 1.0, 30)
    size = found.means.norm(dim=-1).amax(-1)
    error = ((run.means - found.means).norm(dim=-1).amax(-1) / size).nan_to_num(nan=torch.inf)
    solved = int(error.isfinite().sum())
    claim = "structured evaluation: spectral algorithm, median error of the means, d = 8, K = 4, N = 2000"
    middle, worst = float(np.median(error.numpy())), float(error[error.isfinite()].max())
    note = f"{solved} of {tasks} tasks solved by both; largest {worst:.1e}"
    return [check.record(claim, ERROR, middle, tasks, middle <= ERROR, note)]


def check_failures(seed: int, instances: int) -> list[Record]:
    """Where the baseline has no estimate the construction says so, with the same status."""
    check = Check(SOURCE, seed, torch.float64)
    generator = torch.Generator().manual_seed(seed)
    weights = spectral_construction(3, 2, starts=2)
    tasks = max(4, min(400, instances // 50))
    X = 0.2 * torch.randn(tasks, 40, 3, generator=generator, dtype=torch.float64)  # no means: rank too low
    X[::4] = X[::4].sign() * (1 + X[::4].abs())  # symmetric about 0: no third moment
    directions = torch.randn(tasks, 2, 3, generator=generator, dtype=torch.float64)
    basis = torch.randn(tasks, 2, 3, generator=generator, dtype=torch.float64)
    found = reference(Problem(X, torch.ones(tasks, dtype=torch.float64), directions, basis), 1.0, 30)
    run = weights.run(X, 2, directions, basis, on_failure="mark")
    wrong = 0
    for task in range(tasks):
        theirs, error = Status(int(found.status[task])).name, run.failures.get(task)
        ours = error.status if isinstance(error, SpectralError) else "OK"
        wrong += theirs != ours and not (theirs == "OK" and ours in WEIGHTS_ONLY)
    claim = "structured evaluation: spectral algorithm, a task without an estimate has the baseline's status"
    note = f"{len(run.failures)} of {tasks} refused"
    return [check.record(claim, 0.0, float(wrong), tasks, wrong == 0 and bool(run.failures), note)]
