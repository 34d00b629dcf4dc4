"""The learned network as a scikit-learn estimator: a start in one forward pass, then EM steps."""

from __future__ import annotations

import math
from functools import lru_cache, reduce
from numbers import Integral, Real
from typing import Any

import torch
from torch import Tensor

from baselines.em import Status, em
from baselines.estimator import MixtureEstimator
from baselines.estimator_sets import BatchFit, as_count
from baselines.gaussian import check_covariance_type
from baselines.mixture import Mixture
from baselines.points import prepare
from baselines.starts import start_covariances
from training.model.tgmm import LARGEST_COORDINATE, TGMM
from training.serving.bounded_polish import ACCURACY, constructed_steps
from training.serving.loading import Released, fingerprint, load_released
from training.serving.trained_range import remarks_on_range, trained_tasks
from training.serving.views import check_views, likelier, signed_permutations
from training.tasks import TaskDistribution

POLISHES = ("construction", "em")


class TGMMMixture(MixtureEstimator):
    """p(x) = sum_k pi_k N(x; mu_k, S_k) by a trained TGMM, whose estimate ``polish_steps`` EM steps refine.

    model            "auto" (the shipped model of d = 2 for data of d <= 2, else that of d = 8), a name or
                     path for training.serving.loading.load_tgmm, or a TGMM without scales.
    polish_steps     EM steps behind the network; 0 gives the estimate of the network alone.
    polish           "em" (baselines.em, fast) or "construction" (the hand-built layers of Theorem 1: means,
                     weights and covariances the same within 1e-3, which is measured, some ten times slower;
                     bounded_polish.py says in what units).
    n_views          signed permutations of the coordinates that the network is shown (views.py), at
                     most 1,024; the likeliest result is kept.
    covariance_type  of the EM steps and of the result. The network itself takes covariances for unit; the
                     steps start from those pooled around its means (baselines.starts).
    tol              converged_ says whether one more EM step raises the log-likelihood per point by less.
    random_state     of `sample`, and of the noise columns below.

    n_components must be 1 or one that the model was trained for (2 to 5 for the shipped ones). It was trained
    on means within 5 of the origin and standard deviation 1 within a group: the data are centred for
    it but not scaled, so units matter as for EMMixture. Data of d below the model's get columns of N(0, 1)
    noise, which are one more mean at 0 in each; data of larger d are shown to it by their leading principal
    components, and the means are the averages of the points under the responsibilities it finds there.

    One DataWarning names what is outside of what the network was trained on (N, d, units), or hand-built
    layers that are not within 1e-3 of EM.
    """

    _pads = True

    def __init__(
        self,
        n_components: int = 2,
        *,
        model: str | TGMM = "auto",
        polish_steps: int = 10,
        polish: str = "em",
        n_views: int = 1,
        covariance_type: str = "unit",
        tol: float = 1e-3,
        random_state: Any = None,
    ) -> None:
        self.n_components = n_components
        self.model = model
        self.polish_steps = polish_steps
        self.polish = polish
        self.n_views = n_views
        self.covariance_type = covariance_type
        self.tol = tol
        self.random_state = random_state

    def _fit_batch(
        self, X: Tensor, n_components: int, sample_weight: Tensor | None, generator: torch.Generator
    ) -> BatchFit:
        steps = self._steps()
        tol = _not_negative("tol", self.tol)
        n_views = as_count("n_views", self.n_views)
        check_views("n_views", n_views)
        check_covariance_type(self.covariance_type)
        if self.polish not in POLISHES:
            raise ValueError(f"polish is {self.polish!r}, needs one of {', '.join(POLISHES)}")
        mask = None if sample_weight is None else sample_weight > 0
        shares = X.new_ones(X.shape[:2]) if sample_weight is None else sample_weight
        centre = shares[:, None] @ X / shares.sum(-1)[:, None, None]
        centred = X - centre if mask is None else (X - centre).masked_fill(~mask[:, :, None], 0.0)
        # A set beyond the network's range has no estimate; nothing of it goes further.
        sizes = centred.abs().amax((1, 2))
        usable = sizes <= LARGEST_COORDINATE
        centred = centred.where(usable[:, None, None], torch.zeros_like(centred))
        if n_components == 1:  # the average, which needs no network
            starts = [Mixture(shares.new_ones(len(X), 1), torch.zeros_like(centre))]
            remarks = {}
        else:
            model, tasks = self._model(X.shape[-1])
            starts = _starts(model, centred, n_components, n_views, mask, generator)
            remarks = remarks_on_range(model, tasks, centred, mask)
        results, gaps = zip(
            *(self._polished(centred, start, sample_weight, steps) for start in starts), strict=True
        )
        best = reduce(lambda kept, other: likelier(other, kept, centred, mask), results)
        # One more step tells whether the estimate has converged; its result is not used.
        check = em(centred, init=best, max_iter=1, tol=0.0, sample_weight=sample_weight)
        failed = check.status > Status.MAX_ITER
        # A step that failed leaves NaN, or no second column where all failed.
        settled = ~failed & ((check.history[:, -1] - check.history[:, 0]).abs() < tol)
        mixture = Mixture(best.weights, best.means + centre, best.covariances, best.covariance_type)
        problems = {
            place: self._problem(Status(int(check.status[place])), steps)
            for place in (~settled).nonzero().squeeze(-1).tolist()
        }
        problems |= {
            place: f"a coordinate is {float(sizes[place]):g} from the average, the network takes at most "
            f"{LARGEST_COORDINATE:g}; use other units"
            for place in (~usable).nonzero().squeeze(-1).tolist()
        }
        n_iter = torch.full_like(check.n_iter, steps)
        gap = torch.stack(gaps).amax(0)
        remarks = {place: line for place, line in remarks.items() if usable[place]}
        remarks |= {
            place: f"the hand-built EM layers {_apart(float(gap[place]))}"
            for place in (usable & ~(gap <= ACCURACY)).nonzero().squeeze(-1).tolist()
        }
        return BatchFit(mixture, usable, problems, n_iter, check.history[:, 0], remarks)

    def _steps(self) -> int:
        steps = self.polish_steps
        if isinstance(steps, Integral) and not isinstance(steps, bool) and int(steps) == 0:
            return 0
        return as_count("polish_steps", steps)

    def _polished(
        self, X: Tensor, start: Mixture, sample_weight: Tensor | None, steps: int
    ) -> tuple[Mixture, Tensor]:
        """`start` after the EM steps asked for, covariances of the type asked for; how far off it is."""
        exact = X.new_zeros(len(X))
        if self.covariance_type != "unit":
            points = prepare(X, sample_weight, None)
            covariances = start_covariances(points, start.means, self.covariance_type)
            start = Mixture(start.weights, start.means, covariances, self.covariance_type)
        if not steps:
            return start, exact
        if self.polish == "construction":
            return constructed_steps(X, start, None if sample_weight is None else sample_weight > 0, steps)
        return em(X, init=start, max_iter=steps, tol=0.0, sample_weight=sample_weight).mixture, exact

    def _problem(self, status: Status, steps: int) -> str:
        if status <= Status.MAX_ITER:
            return (
                f"after polish_steps = {steps} another EM step still raises the log-likelihood per point "
                f"by tol = {self.tol} or more"
            )
        return f"EM cannot go on after polish_steps = {steps}: {status.name.lower()} component"

    def _model(self, n_features: int) -> tuple[TGMM, TaskDistribution | None]:
        """The network, and the tasks it was trained on where that is known."""
        if isinstance(self.model, TGMM):
            model, tasks = self.model, None
        else:
            auto = "d2" if n_features <= 2 else "d8"
            released = _loaded(auto if self.model == "auto" else str(self.model))
            model, tasks = released.model, trained_tasks(released.training)
        if model.config.scales:
            raise ValueError("model estimates scales, needs one for unit covariances")
        return model, tasks


def _starts(
    model: TGMM,
    X: Tensor,
    n_components: int,
    n_views: int,
    mask: Tensor | None,
    generator: torch.Generator,
) -> list[Mixture]:
    """The network's estimate of every view, in the coordinates of X."""
    starts = []
    for image in signed_permutations(X.shape[-1], n_views).to(X):
        found = learned_start(model, X @ image.mT, n_components, mask, generator)
        starts.append(Mixture(found.weights, found.means @ image))
    return starts


def _apart(gap: float) -> str:
    """What is wrong with layers that are so far from EM."""
    if math.isnan(gap):
        return "are not compared with EM, which cannot take so many steps from the network's estimate"
    if math.isinf(gap):
        return "end where a component shrinks out of their range of eigenvalues; use polish='em'"
    return f"are {gap:.2g} from EM, above {ACCURACY:g}; use polish='em', or smaller units"


def _not_negative(name: str, value: object) -> float:
    if not isinstance(value, Real) or isinstance(value, bool) or not float(value) >= 0:
        raise ValueError(f"{name} is {value!r}, needs a number of at least 0")
    return float(value)


def learned_start(
    model: TGMM, X: Tensor, n_components: int, mask: Tensor | None, generator: torch.Generator
) -> Mixture:
    """The network's estimate for centred points X (B, N, d) of any d, unit covariances, in float64."""
    d, own = X.shape[-1], model.config.n_features
    network = model.with_polish(0)
    if d <= own:
        noise = torch.randn(*X.shape[:2], own - d, dtype=X.dtype, generator=generator)
        shown = torch.cat([X, noise if mask is None else noise.masked_fill(~mask[:, :, None], 0.0)], dim=-1)
        estimate = network.estimate(shown, n_components, mask)
        return Mixture(estimate.weights, estimate.means[..., :d])
    axes = torch.linalg.eigh(X.mT @ X).eigenvectors[..., -own:]
    shown = X @ axes
    estimate = network.estimate(shown, n_components, mask)
    shares = estimate.responsibilities(shown)
    if mask is not None:
        shares = shares * mask[:, None]
    total = shares.sum(-1, keepdim=True)
    # A component that no point is given (its mass underflows) stays where the network put it.
    lifted = torch.where(total > 0, shares @ X / total, estimate.means @ axes.mT)
    return Mixture(estimate.weights, lifted)


def _loaded(name: str) -> Released:
    """The model as its files are now, wherever the name points to now."""
    content = fingerprint(name)
    return load_released(name) if content is None else _of_content(name, content)


@lru_cache(maxsize=8)
def _of_content(name: str, content: str) -> Released:
    return load_released(name)
