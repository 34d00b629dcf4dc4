"""baselines/spectral.py from starts in the space of the points."""

from __future__ import annotations

import torch

from baselines.spectral import SpectralResult, second_moment, smallest_variance, spectral, whiten
from constructions.spectral.exact import Problem


def reference(problem: Problem, variance: float | None, steps: int) -> SpectralResult:
    """The start g of the problem is W^T g in the baseline's own whitened coordinates.

    Args:
        variance: s of all tasks; None estimates it. steps: of the power iteration, twice.
    """
    X, K = problem.X, problem.n_components
    s = smallest_variance(X)[0] if variance is None else torch.full_like(problem.s, variance)
    moment, rounding = second_moment(X, s)
    # Where there is no whitening any start does: the task fails whatever it is.
    starts = (problem.directions @ whiten(moment, K, rounding).W).nan_to_num(nan=1.0)
    starts = starts[:, None].expand(-1, K, -1, -1)
    return spectral(X, K, variance=variance, starts=starts, n_iter=steps, on_failure="mark")
