"""Whether the units of data suit unit covariances, and which kind of covariance they ask for."""

from __future__ import annotations

import torch
from scipy import stats
from torch import Tensor

from baselines.mixture import Mixture
from baselines.unit_scale import FACTOR, LEVEL, unit_scale
from verify.em.estimates import Best

EACH = 1.5
"""By how much two coordinates differ within every component, where they differ by FACTOR in all."""


def scale_remark(best: Best, standardised: bool) -> str | None:
    """One line where unit covariances do not suit the data, with the kind that would.

    That is where no standard deviation from 1/2 to 2 within the components explains the data
    (baselines.unit_scale), or where those of two coordinates differ (:func:`_uneven_coordinates`). The bounds
    hold at any scale; but far from 1 every point belongs to one component, and a step is easy.
    """
    X, end = best.measurement.problem.X[best.task], best.mixture
    found = unit_scale(X[None], Mixture(end.weights[None], end.means[None]))
    counts, deviations = _within(X, end)
    uneven = _uneven_coordinates(counts, deviations)
    if bool(found.wrong[0]):
        shown = f"{float(found.deviation[0]):.3g}"
        kind = "diagonal" if uneven else "spherical" if _uneven_components(counts, deviations) else None
        remedy = f"divide the data by about {shown}"
        if not standardised:
            remedy = "--standardise brings them to one scale"
        return (
            "the components have standard deviation 1 in the units of the data, which show "
            f"{shown}: the bounds hold and say little of such data; {remedy}, or --covariance "
            f"{kind or 'tied_spherical'} estimates it"
        )
    if uneven:
        total = (counts[:, None] * deviations.square()).sum(0) / counts.sum()
        low, high = (f"{float(end.sqrt()):.3g}" for end in (total.amin(), total.amax()))
        return (
            f"within the components the coordinates have standard deviations from {low} to {high}, and unit "
            "covariances take 1 for all; --covariance diagonal estimates them"
        )
    return None


def _within(X: Tensor, mixture: Mixture) -> tuple[Tensor, Tensor]:
    """n_k (K,) and standard deviations (K, d) of the points of each component about its mean."""
    shares = mixture.responsibilities(X)
    squares = (X[None] - mixture.means[:, None]).square()
    counts = shares.sum(-1)
    mean_squares = (shares[..., None] * squares).sum(1) / counts.clamp_min(torch.finfo(X.dtype).tiny)[:, None]
    return counts, mean_squares.sqrt()


def _uneven_coordinates(counts: Tensor, deviations: Tensor) -> bool:
    """Whether the deviations of two coordinates differ.

    That is by more than FACTOR over all components, by more than EACH within every one of more than two
    points, and equal ones would do so with a chance below LEVEL (an F test). Within every one, for a
    component that EM left over two groups is wide along one direction in data of the right units.
    """
    judged, d = counts > 2, deviations.shape[1]
    if d == 1 or not bool(judged.any()):
        return False
    n, squares = counts[judged], deviations[judged].square()
    within = squares[:, :, None] > EACH**2 * squares[:, None]
    variances, freedom = (n[:, None] * squares).sum(0) / n.sum(), (n - 1).sum().expand(d)
    return bool((_differ(variances, freedom) & within.all(0)).any())


def _uneven_components(counts: Tensor, deviations: Tensor) -> bool:
    """Whether the deviations of two components differ, over all coordinates, by FACTOR and an F test."""
    judged, d = counts > 2, deviations.shape[1]
    return bool(_differ(deviations[judged].square().mean(-1), d * (counts[judged] - 1)).any())


def _differ(variances: Tensor, freedom: Tensor) -> Tensor:
    """(n, n) which of n variances are larger than which, by FACTOR^2 and beyond chance."""
    ratio = torch.where(variances > 0, variances[:, None] / variances, 0.0)
    chance = stats.f.sf(ratio.numpy(), freedom[:, None].numpy(), freedom[None].numpy())
    return (ratio > FACTOR**2) & (torch.from_numpy(chance) < LEVEL / len(variances) ** 2)
