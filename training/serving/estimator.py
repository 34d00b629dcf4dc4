"""The learned network as a scikit-learn estimator: a start in one forward pass, then EM steps."""

from __future__ import annotations

import math
from functools import lru_cache
from numbers import Integral
from typing import Any

import torch
from torch import Tensor

from baselines.em import Status, em
from baselines.em_progress import reporter
from baselines.estimator import MixtureEstimator, Places
from baselines.estimator_sets import BatchFit, as_amount, as_count
from baselines.gaussian import canonical, check_covariance_type
from baselines.given_starts import fitted_start
from baselines.mixture import Mixture
from baselines.mixture_kinds import as_kind
from baselines.points import prepare
from baselines.scaling import scaled_weights
from baselines.starts import start_covariances
from training.model.tgmm import LARGEST_COORDINATE, TGMM
from training.serving.bounded_polish import ACCURACY, constructed_steps
from training.serving.loading import Released, fingerprint, load_released
from training.serving.shipped import automatic
from training.serving.trained_range import remarks_on_range, trained_tasks
from training.serving.views import check_views, likeliest, signed_permutations
from training.tasks import TaskDistribution

POLISHES = ("construction", "em")


class TGMMMixture(MixtureEstimator):
    """p(x) = sum_k pi_k N(x; mu_k, S_k) by a trained TGMM, whose estimate ``polish_steps`` EM steps refine.

    model            "auto" (the shipped model for data of this d, K and covariance_type:
                     training.serving.shipped.automatic), a name or path for
                     training.serving.loading.load_tgmm, or a TGMM.
    polish_steps     EM steps behind the network; 0 gives the estimate of the network alone.
    polish           "em" (baselines.em, fast) or "construction" (the hand-built layers of Theorem 1: means,
                     weights and covariances the same within 1e-3, which is measured, some ten times slower;
                     bounded_polish.py says in what units).
    n_views          signed permutations of the coordinates that the network is shown (views.py), at
                     most 1,024; the likeliest result is kept.
    covariance_type  of the EM steps and of the result; "diag" is "diagonal". They start from the network's
                     own covariances, turned into this type (baselines.mixture_kinds.as_kind), or, behind a
                     network that takes them for unit, from those pooled around its means
                     (baselines.starts).
    tol              converged_ says whether one more EM step changes the log-likelihood per point by less.
    reg_covar        of the EM steps and of the pooled covariances, as in EMMixture; not of the hand-built
                     layers.
    warm_start       a further `fit` takes polish_steps steps from what the last one found, without the
                     network; `fit_many` does not read it.
    verbose          0, 1 (a line for every view) or 2 (and one for every verbose_interval steps), to stdout.
    random_state     of `sample`, and of the noise columns below.

    n_components must be 1 or one that the model was trained for; of the shipped ones 2 to 8 for d <= 2 and,
    with diagonal covariances, for d = 8, and 2 to 5 elsewhere. Those of unit covariances ("d2", "d2-long",
    "d8", "d8-long", "d8-constructed") were trained on means within 5 of the origin and standard deviation 1
    within a group: the data are centred for them but not scaled, so units matter as for EMMixture; the last
    one's start, and so its estimate, depends on the order of the points. "d2-full" and "d8-diagonal"
    say covariances and take data in any units. Data of d below the model's get columns of N(0, 1) noise,
    which are one more mean at 0 in each; data of larger d are shown to it by their leading principal
    components, and the means are the averages of the points under the responsibilities it finds there.

    Sample weights count exactly in the EM steps and in every likelihood: 2 is the point twice. The network
    cannot count: it is shown each point of positive weight once, centred by the weights, so that its start is
    not that of repeated points. The hand-built layers take equal weights only, or 0.

    n_restarts_agreeing_ says how many of n_views ended within tol of the likeliest. lower_bounds_ follows the
    EM steps; behind hand-built layers it holds lower_bound_ alone.

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
        reg_covar: float = 1e-6,
        warm_start: bool = False,
        verbose: int = 0,
        verbose_interval: int = 10,
        random_state: Any = None,
    ) -> None:
        self.n_components = n_components
        self.model = model
        self.polish_steps = polish_steps
        self.polish = polish
        self.n_views = n_views
        self.covariance_type = covariance_type
        self.tol = tol
        self.reg_covar = reg_covar
        self.warm_start = warm_start
        self.verbose = verbose
        self.verbose_interval = verbose_interval
        self.random_state = random_state

    def _fit_batch(
        self,
        X: Tensor,
        n_components: int,
        sample_weight: Tensor | None,
        generator: torch.Generator,
        places: Places | None,
    ) -> BatchFit:
        steps = self._steps()
        tol, reg_covar = as_amount("tol", self.tol), as_amount("reg_covar", self.reg_covar)
        n_views = as_count("n_views", self.n_views)
        check_views("n_views", n_views)
        kind = canonical(self.covariance_type)
        check_covariance_type(kind)
        if self.polish not in POLISHES:
            raise ValueError(f"polish is {self.polish!r}, needs one of {', '.join(POLISHES)}")
        mask = None if sample_weight is None else sample_weight > 0
        if self.polish == "construction":
            _check_equal(sample_weight)
            reg_covar = 0.0
        if sample_weight is not None:
            sample_weight = scaled_weights(sample_weight)
        shares = X.new_ones(X.shape[:2]) if sample_weight is None else sample_weight
        centre = shares[:, None] @ X / shares.sum(-1)[:, None, None]
        centred = X - centre if mask is None else (X - centre).masked_fill(~mask[:, :, None], 0.0)
        # A set beyond the network's range has no estimate; nothing of it goes further.
        sizes = centred.abs().amax((1, 2))
        usable = sizes <= LARGEST_COORDINATE
        centred = centred.where(usable[:, None, None], torch.zeros_like(centred))
        remarks: dict[int, str] = {}
        if self.warm_start and places is None and hasattr(self, "means_"):
            fitted = fitted_start(self, kind, n_components, X.shape[-1])
            covariances = None if fitted.covariances is None else fitted.covariances.unsqueeze(0)
            means = fitted.means - centre
            starts = [Mixture(fitted.weights.unsqueeze(0), means, covariances, kind)]
        elif n_components == 1:  # the average, which needs no network
            starts = [Mixture(shares.new_ones(len(X), 1), torch.zeros_like(centre))]
        else:
            model, tasks = self._model(X.shape[-1], n_components, kind)
            starts = _starts(model, centred, n_components, n_views, mask, generator)
            remarks = remarks_on_range(model, tasks, centred, mask)
        results, gaps, histories = zip(
            *(
                self._polished(centred, start, sample_weight, steps, kind, reg_covar, f"view {view + 1}")
                for view, start in enumerate(starts)
            ),
            strict=True,
        )
        best, history, agreeing = results[0], histories[0], torch.ones_like(usable, dtype=torch.long)
        if len(results) > 1:
            best, place, levels = likeliest(results, centred, sample_weight)
            agreeing = (levels >= levels.amax(0) - tol).sum(0)
            if history is not None:
                history = torch.stack(histories)[place, torch.arange(len(X))]
        # One more step tells whether the estimate has converged; its result is not used.
        check = em(centred, init=best, max_iter=1, tol=0.0, sample_weight=sample_weight, reg_covar=reg_covar)
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
        level = check.history[:, 0]
        return BatchFit(mixture, usable, problems, n_iter, level, remarks, history, agreeing)

    def _steps(self) -> int:
        steps = self.polish_steps
        if isinstance(steps, Integral) and not isinstance(steps, bool) and int(steps) == 0:
            return 0
        return as_count("polish_steps", steps)

    def _polished(
        self,
        X: Tensor,
        start: Mixture,
        sample_weight: Tensor | None,
        steps: int,
        kind: str,
        reg_covar: float,
        name: str,
    ) -> tuple[Mixture, Tensor, Tensor | None]:
        """`start` after the EM steps asked for, of covariance type `kind`; how far off it is; the history."""
        exact = X.new_zeros(len(X))
        if start.covariance_type != "unit":
            start = as_kind(start, kind)
        elif kind != "unit":
            points = prepare(X, sample_weight, None)
            covariances = start_covariances(points, start.means, kind, reg_covar)
            start = Mixture(start.weights, start.means, covariances, kind)
        if not steps:
            return start, exact, None
        if self.polish == "construction":
            mask = None if sample_weight is None else sample_weight > 0
            return *constructed_steps(X, start, mask, steps), None
        verbose = int(as_amount("verbose", int(self.verbose)))
        interval = as_count("verbose_interval", self.verbose_interval)
        found = em(
            X,
            init=start,
            max_iter=steps,
            tol=0.0,
            reg_covar=reg_covar,
            sample_weight=sample_weight,
            report=reporter(f"{type(self).__name__}, {name}", verbose, interval),
        )
        missing = steps + 1 - found.history.shape[-1]  # of steps that no task could take
        return found.mixture, exact, torch.nn.functional.pad(found.history, (0, missing), value=torch.nan)

    def _problem(self, status: Status, steps: int) -> str:
        if status <= Status.MAX_ITER:
            return (
                f"after polish_steps = {steps} another EM step still raises the log-likelihood per point "
                f"by tol = {self.tol} or more"
            )
        return f"EM cannot go on after polish_steps = {steps}: {status.name.lower()} component"

    def _model(self, n_features: int, n_components: int, kind: str) -> tuple[TGMM, TaskDistribution | None]:
        """The network, and the tasks it was trained on where that is known."""
        if isinstance(self.model, TGMM):
            model, tasks = self.model, None
        else:
            auto = self.model == "auto"
            released = _loaded(automatic(n_features, n_components, kind) if auto else str(self.model))
            model, tasks = released.model, trained_tasks(released.training)
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
    for look, image in enumerate(signed_permutations(X.shape[-1], n_views).to(X)):
        found = learned_start(model, X @ image.mT, n_components, mask, generator, look)
        starts.append(turned(found, image))
    return starts


def turned(mixture: Mixture, image: Tensor) -> Mixture:
    """Of Q^T x for x of the mixture, Q (d, d) a signed permutation; unit, diagonal or full covariances."""
    S, kind = mixture.covariances, mixture.covariance_type
    if S is not None:
        S = S @ image.abs() if kind == "diagonal" else image.mT @ S @ image
    return Mixture(mixture.weights, mixture.means @ image, S, kind)


def marginal(mixture: Mixture, d: int) -> Mixture:
    """Of the first d coordinates; unit, diagonal or full covariances."""
    S, kind = mixture.covariances, mixture.covariance_type
    if S is not None:
        S = S[..., :d] if kind == "diagonal" else S[..., :d, :d]
    return Mixture(mixture.weights, mixture.means[..., :d], S, kind)


def _apart(gap: float) -> str:
    """What is wrong with layers that are so far from EM."""
    if math.isnan(gap):
        return "are not compared with EM, which cannot take so many steps from the network's estimate"
    if math.isinf(gap):
        return "end where a component shrinks out of their range of eigenvalues; use polish='em'"
    return f"are {gap:.2g} from EM, above {ACCURACY:g}; use polish='em', or smaller units"


def _check_equal(sample_weight: Tensor | None) -> None:
    """Refuse weights that are not all equal or 0 within a data set."""
    if sample_weight is None:
        return
    largest = sample_weight.amax(-1, keepdim=True)
    other = (sample_weight > 0) & (sample_weight != largest)
    if other.any():
        values = sample_weight[other][0].item(), largest.expand_as(sample_weight)[other][0].item()
        raise ValueError(
            f"sample_weight holds {values[0]} and {values[1]}, needs equal weights or 0 with "
            "polish='construction', whose layers count every point once; use polish='em'"
        )


def learned_start(
    model: TGMM, X: Tensor, n_components: int, mask: Tensor | None, generator: torch.Generator, look: int = 0
) -> Mixture:
    """The network's estimate for centred points X (B, N, d) of any d, in float64; `look` as TGMM.network.

    For d below the network's own, columns of N(0, 1) noise stand behind. If x is of a mixture, so are x and
    noise together: of the same weights, means with zeros behind, covariances with an identity block, and the
    same responsibilities, since the noise's density is a factor that all components share. The estimate of x
    is the marginal of theirs. For larger d the covariances are left to the EM steps, which pool them.
    """
    d, own = X.shape[-1], model.config.n_features
    network = model.with_polish(0)
    if d <= own:
        noise = torch.randn(*X.shape[:2], own - d, dtype=X.dtype, generator=generator)
        shown = torch.cat([X, noise if mask is None else noise.masked_fill(~mask[:, :, None], 0.0)], dim=-1)
        return marginal(network.estimate(shown, n_components, mask, look), d)
    axes = torch.linalg.eigh(X.mT @ X).eigenvectors[..., -own:]
    shown = X @ axes
    estimate = network.estimate(shown, n_components, mask, look)
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
