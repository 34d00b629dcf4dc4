"""Cross-validated deviance: every candidate fitted to all folds but one, and judged on that one."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from baselines.choosing.candidates import CandidateFits, Settings, fit_candidate
from baselines.choosing.packing import pack
from baselines.estimator_sets import Array, check_enough, stack, to_tensor
from baselines.families.names import Family

SETS_AT_ONCE = 64  # scored together


def held_out(
    sets: Sequence[Array],
    counts: Sequence[int],
    families: Sequence[Family],
    settings: Settings,
    n_folds: int,
    generator: torch.Generator,
) -> dict[tuple[str, int], Tensor]:
    """-2 sum of log p(x_n) over the points held out, for every (family, K): (B,), inf where a fit failed.

    The points of a data set are shuffled and dealt into n_folds parts, the same for all candidates.
    ValueError where a data set has fewer points than folds, or a training part fewer than max(counts).
    """
    if n_folds < 2:
        raise ValueError(f"n_folds is {n_folds}, needs an integer of at least 2")
    training, testing = [], []
    for place, points in enumerate(sets):
        if len(points) < n_folds:
            raise ValueError(f"n_folds is {n_folds}, needs at most {len(points)}, the points of X[{place}]")
        order = torch.randperm(len(points), generator=generator).numpy()
        for fold in range(n_folds):
            inside = np.arange(len(points)) % n_folds != fold
            training.append(points[order[inside]])
            testing.append(points[order[~inside]])
        check_enough(f"the least training part of X[{place}]", len(training[-n_folds]), max(counts))
    blocks = pack(training, counts)
    found = {}
    for family in families:
        for K in counts:
            fits = fit_candidate(blocks, K, family, settings, generator)
            found[family.name, K] = _deviance(fits, testing).reshape(len(sets), n_folds).sum(-1)
    return found


def _deviance(fits: CandidateFits, testing: Sequence[Array]) -> Tensor:
    parts = []
    for first in range(0, len(testing), SETS_AT_ONCE):
        places = range(first, min(first + SETS_AT_ONCE, len(testing)))
        X, weight = stack(list(testing), places)
        scores = fits.mixture[places.start : places.stop].score_samples(to_tensor(X))
        parts.append((scores if weight is None else scores * to_tensor(weight)).sum(-1))
    deviance = -2 * torch.cat(parts)
    return torch.where(fits.failed, torch.inf, deviance)
