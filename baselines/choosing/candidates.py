"""Every candidate fitted to every data set: the data sets of a block together, candidate after candidate."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from baselines import gaussian
from baselines.choosing.packing import Block
from baselines.em import Status, improves, named_start
from baselines.em_loop import Fit, concatenate, run_em
from baselines.em_parameters import Parameters
from baselines.em_pass import Expanded, Subtracted, Whitened, is_near
from baselines.families.names import Family
from baselines.mixture import Mixture
from baselines.points import Points
from baselines.shown import short_repr
from baselines.ward import partition_start


@dataclass(frozen=True)
class Settings:
    """How a candidate is fitted: as EMMixture(init="ward") of the same parameters."""

    n_init: int
    max_iter: int
    tol: float
    reg_covar: float


@dataclass(frozen=True, eq=False)
class CandidateFits:
    """One family and K fitted to B data sets, in their order.

    mixture         batch shape (B,).
    log_likelihood  (B,): log p(x_n) averaged over the points.
    log_certainty   (B,): log of the largest responsibility of a point, averaged over the points, at most 0.
    status          (B,) of em.Status; component (B,) that failed, else -1; n_iter (B,).
    """

    family: Family
    mixture: Mixture
    log_likelihood: Tensor
    log_certainty: Tensor
    status: Tensor
    component: Tensor
    n_iter: Tensor

    __repr__ = short_repr

    @property
    def failed(self) -> Tensor:
        """(B,) booleans: a component became empty or singular; the likelihood says nothing then."""
        return self.status > Status.MAX_ITER


def fit_candidate(
    blocks: Sequence[Block], n_components: int, family: Family, settings: Settings, generator: torch.Generator
) -> CandidateFits:
    """The best of n_init starts for every data set: the groups of Ward's tree, then those of k-means."""
    fits, means, certainties = [], [], []
    for block in blocks:
        fit = _best_fit(block, n_components, family, settings, generator)
        fits.append(fit)
        means.append(fit.parameters.means + block.points.centre)
        certainties.append(log_certainty(block.points, fit.parameters, family.layout))
    order = torch.tensor([place for block in blocks for place in block.places]).argsort()
    fit = concatenate([part._replace(history=part.history[:, :1]) for part in fits])
    covariances = fit.parameters.covariances
    mixture = Mixture(
        fit.parameters.weights[order],
        torch.cat(means)[order],
        None if covariances is None else covariances[order],
        family.layout,
    )
    levels = fit.log_likelihood_per_point, torch.cat(certainties), fit.status, fit.component, fit.n_iter
    return CandidateFits(family, mixture, *(values[order] for values in levels))


def _best_fit(
    block: Block, n_components: int, family: Family, settings: Settings, generator: torch.Generator
) -> Fit:
    points, reg_covar = block.points, settings.reg_covar
    best = None
    for restart in range(settings.n_init):
        if restart == 0:
            start = partition_start(points, block.labels[n_components], n_components, family, reg_covar)
        else:
            start = named_start(points, n_components, family, "k-means", reg_covar, generator)
        fit = run_em(points, start, family, settings.max_iter, settings.tol, restart, reg_covar)
        best = fit if best is None else best.replaced(improves(fit, best), fit)
    if best is None:
        raise ValueError(f"n_init is {settings.n_init}, needs an integer of at least 1")
    return best


def log_certainty(points: Points, parameters: Parameters, layout: str) -> Tensor:
    """sum_n a_n log max_k w_kn / sum_n a_n of every task, (B,); w are the responsibilities."""
    fast = Whitened if layout in ("tied", "full") else Expanded
    near = layout in gaussian.ISOTROPIC or bool(is_near(points, parameters, layout).all())
    formula = (fast if near else Subtracted)(parameters, layout, points.scratch)
    total = points.centre.new_zeros(len(points.tasks))
    for features, weight in points.chunks():
        joint = formula.joint(features).values
        largest = joint.amax(1) - joint.logsumexp(1)
        total += (largest if weight is None else weight * largest).sum(-1)
    return total / points.total_weight()
