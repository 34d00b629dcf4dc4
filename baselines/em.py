"""EM for a batch of tasks: every task from its own start, each stopping by itself, the best restart kept."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from baselines.checks import check_count, check_points, check_sample_weight
from baselines.em_loop import Fit, Status, concatenate, run_em
from baselines.em_parameters import Parameters
from baselines.em_pass import numbers_per_point
from baselines.families.names import Family, family_of
from baselines.gaussian import covariance_shape
from baselines.mixture import Mixture
from baselines.points import Points, prepare
from baselines.shown import short_repr
from baselines.starts import STARTS, start_covariances, start_means
from baselines.ward import labels_of, partition_start

__all__ = ["EMResult", "Status", "em", "improves", "named_start"]

AGREE = 100  # restarts that end within so many tol of the best ended at it
NUMBERS_AT_ONCE = 2**20  # a block of tasks or a chunk of points is this large (8 MiB in float64), for cache


class Progress(NamedTuple):
    """Where EM is: passes over the points of `n_tasks` tasks from start `restart` of `n_init`, from 0.

    step      passes so far.
    running   tasks that go on; once `ended`, those that did not converge.
    level     log-likelihood per point, averaged over the tasks in the computation.
    ended     the last report of this start.
    """

    n_tasks: int
    restart: int
    n_init: int
    step: int
    running: int
    level: float
    ended: bool


@dataclass(frozen=True, eq=False)
class EMResult:
    """What EM found for every task of a batch (...).

    mixture                    parameters of the best restart; of the last defined step where a task failed.
    log_likelihood_per_point   (...): sum_n a_n log p(x_n) / sum_n a_n at `mixture`, natural log.
    history                    (..., T): the same after 0 (the start), 1, ..., n_iter steps; NaN after those.
    n_iter                     (...): EM steps taken, the one that met `tol` included.
    status                     (...): a `Status` as an integer.
    component                  (...): the component that is EMPTY or SINGULAR, else -1.
    restart                    (...): which of the n_init starts was kept, from 0.
    restart_levels             (..., n_init): log_likelihood_per_point of every restart, NaN where it failed.
    """

    mixture: Mixture
    log_likelihood_per_point: Tensor
    history: Tensor
    n_iter: Tensor
    status: Tensor
    component: Tensor
    restart: Tensor
    restart_levels: Tensor

    __repr__ = short_repr

    @property
    def converged(self) -> Tensor:
        """(...) booleans: the task met `tol`."""
        return self.status == Status.CONVERGED


def em(
    X: Tensor,
    n_components: int | None = None,
    *,
    covariance_type: str | None = None,
    init: str | Mixture = "k-means++",
    n_init: int = 1,
    max_iter: int = 100,
    tol: float = 1e-3,
    reg_covar: float = 0.0,
    sample_weight: Tensor | None = None,
    generator: torch.Generator | None = None,
    chunk_size: int | None = None,
    weights_init: Tensor | None = None,
    covariances_init: Tensor | None = None,
    report: Callable[[Progress], None] | None = None,
) -> EMResult:
    """Fit a mixture to every task of X (..., N, d) by the EM steps of baselines.em_steps.

    covariance_type  a name of baselines.families.names, ours, mclust's or scikit-learn's; that of `init` when
                     init is a Mixture, else "unit". A Mixture need only have the layout of the family: the
                     first step ends within it.
    init             one of baselines.starts.STARTS, as "k-means++" (greedy), or a Mixture whose batch
                     shape broadcasts to that of X. Named starts need `n_components`, and all but "ward"
                     `generator`. They have equal weights and a pooled covariance (baselines.starts), "ward"
                     those of the groups of a tree (baselines.ward).
    n_init           restarts; the likeliest result is kept, a failed one only if all failed. With "ward"
                     those after the first are from "k-means".
    tol              a task stops after a step that found the log-likelihood per point within tol of the step
                     before, as scikit-learn's GaussianMixture; 0 never stops early.
    max_iter         at most so many steps; with 0 the result is the start.
    reg_covar        >= 0, in squared units of X: added to the diagonal of every covariance after each M step,
                     and to the pooled one of a named start. Unit covariances stay I.
    sample_weight    (..., N), >= 0. A point of weight 0 is absent; a point of weight 2 counts twice.
    weights_init, covariances_init    (..., K) and as in Mixture, of batch shapes that broadcast to that of X:
                     in place of the equal weights and of the pooled covariance of a named start.
    report           called after every pass over the points, and at the end of every start.
    chunk_size       how many points are worked on at a time; None takes what NUMBERS_AT_ONCE allows: all of
                     several tasks where they are few. Beyond X and the chunk one number a point is kept.

    With reg_covar = r > 0 the M step maximises

        sum_kn a_n w_kn (log(pi_k N(x_n; mu_k, S_k)) - r tr(S_k^-1) / 2),

    the expected log-likelihood of points blurred by N(0, r I), while the E step is that of the points as they
    are. So no covariance has an eigenvalue below r, and the log-likelihood may fall from one step to the next
    and end below that of a maximum; both differences are of first order in r over the least variance. With
    0, the default here, every step raises it.

    Rounding: coordinates are measured from the centre of each task. For the isotropic types a log-density
    then carries an absolute error of about (d + 4) u R^2 / s, R the radius of the data about that centre, s
    the variance, u the unit roundoff (float64, d = 8, R = 20, s = 1: 5e-13; float32: 3e-4). So it does for
    "diagonal", while R^2 / s is so small that this costs 12 bits at most; there and for "tied" and "full"
    the task is else worked on more slowly, without cancellation (baselines.em_pass).

    Raises ValueError for bad input. A task that fails on the way does not raise and does not disturb the
    others: see `status` and `component`.
    """
    check_points(X)
    if isinstance(init, Mixture):
        covariance_type, n_components = _check_start(init, X, covariance_type, n_components, n_init)
    elif init not in STARTS:
        raise ValueError(f"init is {init!r}, needs a Mixture or one of {', '.join(STARTS)}")
    elif n_components is None:
        raise ValueError("n_components is None, needs an integer unless init is a Mixture")
    family = family_of(covariance_type or "unit")
    covariance_type = family.layout
    _check_settings(n_components, n_init, max_iter, tol, reg_covar, chunk_size)
    _check_enough_points(X, n_components, sample_weight)

    batch = X.shape[:-2]
    flat = X.reshape(-1, *X.shape[-2:])
    if sample_weight is not None:
        sample_weight = sample_weight.expand(X.shape[:-1]).reshape(flat.shape[:2])
    given = _flat_parameters(init, batch) if isinstance(init, Mixture) else None
    weights_init = None if weights_init is None else _flat("weights_init", weights_init, batch, 1)
    if covariances_init is not None:
        own = len(covariance_shape(covariance_type, n_components, X.shape[-1]))
        covariances_init = _flat("covariances_init", covariances_init, batch, own)
    N, per_point = X.shape[-2], numbers_per_point(covariance_type, X.shape[-1], n_components)
    at_once = chunk_size or max(1, NUMBERS_AT_ONCE // per_point)
    chunk_size = at_once if chunk_size or at_once < N else None
    n_tasks = max(1, NUMBERS_AT_ONCE // (per_point * min(N, at_once)))
    fits, centres, levels = [], [], []
    for first in range(0, len(flat), n_tasks):
        block = slice(first, first + n_tasks)
        points = prepare(flat[block], None if sample_weight is None else sample_weight[block], chunk_size)
        best, block_levels = None, []
        for restart in range(n_init):
            if given is None:
                rule = "k-means" if init == "ward" and restart else str(init)
                start = named_start(points, n_components, family, rule, reg_covar, generator)
                if weights_init is not None:
                    start = start._replace(weights=weights_init[block])
                if covariances_init is not None:
                    start = start._replace(covariances=covariances_init[block])
            else:
                start = given.rows(block)
                start = start._replace(means=start.means - points.centre)
            tell = None if report is None else _teller(report, len(points.tasks), restart, n_init)
            fit = run_em(points, start, family, max_iter, tol, restart, reg_covar, tell)
            if report is not None:
                unsettled = int((fit.status != Status.CONVERGED).sum())
                level, steps = float(fit.log_likelihood_per_point.mean()), int(fit.n_iter.max())
                report(Progress(len(points.tasks), restart, n_init, steps, unsettled, level, True))
            failed = fit.status > Status.MAX_ITER
            block_levels.append(fit.log_likelihood_per_point.masked_fill(failed, torch.nan))
            best = fit if best is None else best.replaced(improves(fit, best), fit)
        fits.append(best)
        centres.append(points.centre)
        levels.append(torch.stack(block_levels, -1))
    return _result(concatenate(fits), torch.cat(centres), torch.cat(levels), batch, covariance_type)


def named_start(
    points: Points,
    n_components: int,
    family: Family,
    init: str,
    reg_covar: float,
    generator: torch.Generator | None,
) -> Parameters:
    """Where EM of a family starts by the rule `init`, one of STARTS; positions are about the centre.

    ValueError where the rule draws and generator is None.
    """
    if init == "ward":
        labels = labels_of(points, n_components)
        return partition_start(points, labels, n_components, family, reg_covar)
    if generator is None:
        raise ValueError(f"generator is None, needs a torch.Generator for init {init!r}")
    means = start_means(points, n_components, init, generator)
    weights = torch.full_like(means[..., 0], 1 / n_components)
    return Parameters(weights, means, start_covariances(points, means, family.layout, reg_covar))


def _teller(
    report: Callable[[Progress], None], n_tasks: int, restart: int, n_init: int
) -> Callable[[int, int, float], None]:
    def tell(step: int, running: int, level: float) -> None:
        report(Progress(n_tasks, restart, n_init, step, running, level, False))

    return tell


def _flat(name: str, values: Tensor, batch: torch.Size, own: int) -> Tensor:
    """Values (..., own shape of so many dimensions) with one batch dimension, broadcast to the batch of X."""
    shape = values.shape[values.dim() - own :]
    try:
        return values.expand((*batch, *shape)).reshape((-1, *shape))
    except RuntimeError:
        raise ValueError(
            f"{name} has shape {tuple(values.shape)}, needs one that broadcasts to {(*batch, *shape)}"
        ) from None


def _flat_parameters(mixture: Mixture, batch: torch.Size) -> Parameters:
    """The parameters with one batch dimension, broadcast to the batch of X."""

    def flatten(values: Tensor) -> Tensor:
        own = values.shape[len(mixture.batch_shape) :]
        return values.expand((*batch, *own)).reshape((-1, *own))

    covariances = mixture.covariances
    return Parameters(
        flatten(mixture.weights),
        flatten(mixture.means),
        None if covariances is None else flatten(covariances),
    )


def improves(fit: Fit, best: Fit) -> Tensor:
    """True where `fit` is to be kept: it succeeded and best did not, or both alike and it is likelier."""
    fit_ok, best_ok = fit.status <= Status.MAX_ITER, best.status <= Status.MAX_ITER
    likelier = fit.log_likelihood_per_point > best.log_likelihood_per_point
    return (fit_ok & ~best_ok) | ((fit_ok == best_ok) & likelier)


def _result(fit: Fit, centre: Tensor, levels: Tensor, batch: torch.Size, covariance_type: str) -> EMResult:
    weights, means, covariances = fit.parameters[:3]

    def unflatten(values: Tensor) -> Tensor:
        return values.reshape((*batch, *values.shape[1:]))

    mixture = Mixture(
        unflatten(weights),
        unflatten(means + centre),
        None if covariances is None else unflatten(covariances),
        covariance_type,
    )
    return EMResult(mixture, *(unflatten(values) for values in (*fit[1:], levels)))


def _check_start(
    init: Mixture, X: Tensor, covariance_type: str | None, n_components: int | None, n_init: int
) -> tuple[str, int]:
    """Covariance type and K of a given start, refusing one that does not fit X or the other arguments."""
    init.check_points(X)
    if covariance_type is not None and family_of(covariance_type).layout != init.covariance_type:
        raise ValueError(f"covariance_type is {covariance_type!r}, needs {init.covariance_type!r} like init")
    if n_components not in (None, init.n_components):
        raise ValueError(f"n_components is {n_components}, needs {init.n_components} like init")
    if n_init != 1:
        raise ValueError(
            f"n_init is {n_init}, needs 1 when init is a Mixture: every restart would be the same"
        )
    if torch.broadcast_shapes(X.shape[:-2], init.batch_shape) != X.shape[:-2]:
        raise ValueError(
            f"init has batch shape {tuple(init.batch_shape)}, "
            f"needs one that broadcasts to {tuple(X.shape[:-2])} of X"
        )
    return covariance_type or init.covariance_type, init.n_components


def _check_settings(
    n_components: int, n_init: int, max_iter: int, tol: float, reg_covar: float, chunk_size: int | None
) -> None:
    check_count("n_components", n_components)
    check_count("n_init", n_init)
    check_count("max_iter", max_iter, least=0)
    if not tol >= 0:
        raise ValueError(f"tol is {tol}, needs >= 0")
    if not 0 <= reg_covar < float("inf"):
        raise ValueError(f"reg_covar is {reg_covar}, needs a finite number >= 0")
    if chunk_size is not None:
        check_count("chunk_size", chunk_size)


def _check_enough_points(X: Tensor, n_components: int, sample_weight: Tensor | None) -> None:
    fewest = X.shape[-2]
    if sample_weight is not None:
        check_sample_weight(sample_weight, X)
        fewest = int((sample_weight > 0).sum(-1).min())
    if fewest < n_components:
        kind = "points" if sample_weight is None else "points of positive weight"
        raise ValueError(f"X has {fewest} {kind}, needs at least n_components = {n_components}")
