"""What kind of failure an estimate is, by where its means stand."""

from __future__ import annotations

import math

import torch
from scipy import stats
from torch import Tensor

from baselines.align import align
from baselines.metrics import mean_error
from baselines.mixture import Mixture
from training.comparison.common.regimes import BAD

KINDS = ("far", "doubled", "weights", "imprecise")
KIND_NAMES = {
    "far": "a mean far from every point",
    "doubled": "two means on one cluster, another without",
    "weights": "the weights alone",
    "imprecise": "each mean at its own cluster, not near enough",
}
NONE = -1
OUTSIDE = 1e-3
"""A mean is far from every point when a point of its component would be so near with 1 - OUTSIDE."""


def kinds_of(X: Tensor, estimate: Mixture, truth: Mixture, floor: Tensor, failed: Tensor) -> Tensor:
    """(T,) index into KINDS of every failed task, NONE of the others; the first that applies.

    far        a mean is farther from its nearest point than r, P(|z| > r) = OUTSIDE for z ~ N(0, I_d).
    doubled    two estimated means have the same nearest true mean, so another true mean has none: the
               signature of a bad optimum of EM, one cluster split, two others merged or one left out.
    weights    the error of the means alone is not above BAD floors.
    imprecise  every true mean has its own estimated mean nearest to it.
    """
    d = truth.n_features
    radius = math.sqrt(float(stats.chi2.ppf(1 - OUTSIDE, d)))
    to_points = torch.cdist(estimate.means, X).amin(-1)
    far = (to_points > radius).any(-1)
    nearest = torch.cdist(estimate.means, truth.means).argmin(-1)
    doubled = (nearest.sort(-1).values.diff(dim=-1) == 0).any(-1)
    aligned, _ = align(estimate, truth)
    weights = mean_error(aligned, truth) <= BAD * floor
    kind = torch.full_like(nearest[:, 0], KINDS.index("imprecise"))
    for name, applies in (("weights", weights), ("doubled", doubled), ("far", far)):
        kind[applies] = KINDS.index(name)
    return kind.masked_fill(~failed, NONE)
