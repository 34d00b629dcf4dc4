"""The EM iteration on plain tensors: the tasks of a block together, finished ones taken out as it goes."""

import math
from collections.abc import Iterator
from enum import IntEnum
from typing import NamedTuple

import torch
from torch import Tensor

from baselines import gaussian
from baselines.em_steps import Moments, Update, anisotropic_moments, isotropic_moments, update
from baselines.points import Points

RUNNING = -1


class Status(IntEnum):
    """Why a task stopped. The last three keep the parameters of the last step that was defined.

    CONVERGED  the log-likelihood per point changed by less than tol.
    MAX_ITER   it did not in max_iter steps.
    EMPTY      a component's share of the points fell below the smallest normal number: its mean is 0/0.
    SINGULAR   a covariance cannot be told from a singular one at the precision of the dtype.
    OVERFLOW   a log-density left the range of the dtype.
    """

    CONVERGED = 0
    MAX_ITER = 1
    EMPTY = 2
    SINGULAR = 3
    OVERFLOW = 4


class Parameters(NamedTuple):
    """Weights (B, K), means (B, K, d) measured from the centre, covariances as in Mixture or None."""

    weights: Tensor
    means: Tensor
    covariances: Tensor | None

    def rows(self, kept: Tensor | slice) -> "Parameters":
        """The parameters of some of the tasks."""
        return Parameters(
            self.weights[kept],
            self.means[kept],
            None if self.covariances is None else self.covariances[kept],
        )

    def replaced(self, where: Tensor, other: "Parameters") -> "Parameters":
        """`other` for the tasks where `where` (B,) is True, these for the rest."""
        covariances = self.covariances
        if covariances is not None and other.covariances is not None:
            covariances = _choose(where, other.covariances, covariances)
        return Parameters(
            _choose(where, other.weights, self.weights), _choose(where, other.means, self.means), covariances
        )


class Fit(NamedTuple):
    """One run of EM over B tasks; EMResult says what the fields mean. history is (B, T)."""

    parameters: Parameters
    log_likelihood_per_point: Tensor
    history: Tensor
    n_iter: Tensor
    status: Tensor
    component: Tensor
    restart: Tensor

    def replaced(self, where: Tensor, other: "Fit") -> "Fit":
        """`other` for the tasks where `where` (B,) is True, this one for the rest."""
        length = max(self.history.shape[1], other.history.shape[1])
        mine = self._replace(history=_pad(self.history, length))
        theirs = other._replace(history=_pad(other.history, length))
        fields = (_choose(where, yes, no) for no, yes in zip(mine[1:], theirs[1:], strict=True))
        return Fit(self.parameters.replaced(where, other.parameters), *fields)


def concatenate(fits: list[Fit]) -> Fit:
    """The fits of successive blocks of tasks as one."""
    length = max(fit.history.shape[1] for fit in fits)
    padded = [fit._replace(history=_pad(fit.history, length)) for fit in fits]
    weights = torch.cat([fit.parameters.weights for fit in fits])
    means = torch.cat([fit.parameters.means for fit in fits])
    covariances = [fit.parameters.covariances for fit in fits if fit.parameters.covariances is not None]
    parameters = Parameters(weights, means, torch.cat(covariances) if covariances else None)
    return Fit(parameters, *(torch.cat(parts) for parts in zip(*(fit[1:] for fit in padded), strict=True)))


def run_em(
    points: Points, start: Parameters, covariance_type: str, max_iter: int, tol: float, restart: int
) -> Fit:
    """Iterate EM from `start` until each task has stopped. Tasks that have stopped keep their parameters.

    Stopped tasks are taken out of the computation whenever they make up an eighth of it.
    """
    n_tasks = len(points.tasks)
    device = points.X.device
    n_iter = torch.zeros(n_tasks, dtype=torch.long, device=device)
    status = torch.full((n_tasks,), int(Status.MAX_ITER), device=device)
    component = torch.full((n_tasks,), -1, device=device)
    final = start.rows(torch.arange(n_tasks, device=device))
    trace: list[tuple[Tensor, Tensor]] = []

    rows = torch.arange(n_tasks, device=device)  # the task of every row still in the computation
    alive = torch.ones(n_tasks, dtype=torch.bool, device=device)
    active, current, before = points, start, start
    last = torch.full((n_tasks,), -torch.inf, dtype=start.means.dtype, device=device)
    for _ in range(max_iter):
        level, moments = expectation(active, current, covariance_type)
        trace.append((rows[alive], level[alive]))
        new = _maximisation(active, moments, current, covariance_type)
        outcome = _outcome(level, last, new, tol)
        proposal = Parameters(new.weights, new.means, new.covariances)
        overflow = alive & (outcome == Status.OVERFLOW)
        moves = alive & (outcome <= Status.CONVERGED)
        n_iter[rows] += moves.long() - (overflow & (n_iter[rows] > 0)).long()
        before, current = current, current.replaced(moves, proposal).replaced(overflow, before)
        last = level

        stops = alive & (outcome != RUNNING)
        status[rows[stops]] = outcome[stops]
        component[rows[stops]] = _failing_component(new, outcome)[stops]
        alive = alive & ~stops
        n_alive = int(alive.sum())
        if n_alive <= 0.875 * len(rows):
            _store(final, rows[~alive], current.rows(~alive))
            kept = alive.nonzero().squeeze(-1)
            rows, alive, last = rows[kept], alive[kept], last[kept]
            active, current, before = active.rows(kept), current.rows(kept), before.rows(kept)
        if n_alive == 0:
            break
    _store(final, rows, current)
    reached = log_likelihood_per_point(points, final, covariance_type)
    status[~torch.isfinite(reached)] = Status.OVERFLOW
    history = _history(trace, n_iter, reached)
    return Fit(final, reached, history, n_iter, status, component, torch.full_like(status, restart))


def expectation(points: Points, parameters: Parameters, covariance_type: str) -> tuple[Tensor, Moments]:
    """Log-likelihood per point (B,) at these parameters, and the moments that the M step needs.

    Moments are about the centre for the isotropic types, about the present means for the others. Sums over
    several chunks are carried in float64.
    """
    sums: list[Tensor] = []
    for joint, features, weight in _joints(points, parameters, covariance_type):
        shares, log_density = _normalise(joint)
        if weight is not None:
            shares.mul_(weight.unsqueeze(1))
            log_density.mul_(weight)
        if covariance_type in gaussian.ISOTROPIC:
            moments = isotropic_moments(shares, features)
        else:
            moments = anisotropic_moments(shares, features[:, :-2].mT, parameters.means, covariance_type)
        part = [log_density.sum(-1), *moments]
        sums = [s.double() + p for s, p in zip(sums, part, strict=True)] if sums else part
    total, *moments = (s.to(parameters.means.dtype) for s in sums)
    return total / points.total_weight(), Moments(*moments)


def log_likelihood_per_point(points: Points, parameters: Parameters, covariance_type: str) -> Tensor:
    """sum_n a_n log p(x_n) / sum_n a_n of every task, (B,)."""
    total = parameters.weights.new_zeros(len(parameters.weights), dtype=torch.float64)
    for joint, _, weight in _joints(points, parameters, covariance_type):
        log_density = torch.logsumexp(joint, dim=1)
        total += (log_density if weight is None else weight * log_density).sum(-1)
    return total.to(parameters.means.dtype) / points.total_weight()


def _joints(
    points: Points, parameters: Parameters, covariance_type: str
) -> Iterator[tuple[Tensor, Tensor, Tensor | None]]:
    """(log joint (B, K, n), features, sample weights) of every chunk."""
    weights, means, covariances = parameters
    if covariances is None or covariance_type in gaussian.ISOTROPIC:
        variances = gaussian.isotropic_variances(covariances, weights, covariance_type)
        coefficients = gaussian.isotropic_coefficients(weights, means, variances)
        for features, weight in points.chunks():
            yield coefficients @ features, features, weight
    else:
        for features, weight in points.chunks():
            X = features[:, :-2].mT
            joint = gaussian.anisotropic_log_joint(X, weights, means, covariances, covariance_type)
            yield joint, features, weight


def _normalise(joint: Tensor) -> tuple[Tensor, Tensor]:
    """Softmax over components and logsumexp, from log joint (B, K, n), whose memory the first reuses.

    A share of at most eight times the smallest normal number is set to exactly 0: where exp underflows it is
    ten to fifty times slower, and with components far apart that would be most of the time.
    """
    tiny = torch.finfo(joint.dtype).tiny
    peak = joint.amax(1, keepdim=True)
    shares = joint.sub_(peak).clamp_(min=math.log(4 * tiny)).exp_()
    shares = torch.threshold_(shares, 8 * tiny, 0.0)
    total = shares.sum(1, keepdim=True)
    return shares.div_(total), (total.log() + peak).squeeze(1)


def _maximisation(points: Points, moments: Moments, current: Parameters, covariance_type: str) -> Update:
    isotropic = covariance_type in gaussian.ISOTROPIC
    origin = torch.zeros_like(current.means) if isotropic else current.means
    return update(moments, origin, points.total_weight(), covariance_type)


def _outcome(level: Tensor, last: Tensor, new: Update, tol: float) -> Tensor:
    """RUNNING or a Status for every row; where several hold, the later line wins."""
    outcome = torch.full(level.shape, RUNNING, device=level.device)
    outcome[(level - last).abs() < tol] = Status.CONVERGED
    outcome[new.singular.any(-1)] = Status.SINGULAR
    outcome[new.empty.any(-1)] = Status.EMPTY
    outcome[~torch.isfinite(level)] = Status.OVERFLOW
    return outcome


def _failing_component(new: Update, outcome: Tensor) -> Tensor:
    """The first empty or singular component of every row, -1 where none failed."""
    component = torch.full(outcome.shape, -1, device=outcome.device)
    for failure, bad in ((Status.EMPTY, new.empty), (Status.SINGULAR, new.singular)):
        component = torch.where(outcome == failure, bad.long().argmax(-1), component)
    return component


def _choose(where: Tensor, yes: Tensor, no: Tensor) -> Tensor:
    return torch.where(where.reshape(-1, *[1] * (yes.dim() - 1)), yes, no)


def _store(final: Parameters, tasks: Tensor, parameters: Parameters) -> None:
    final.weights[tasks] = parameters.weights
    final.means[tasks] = parameters.means
    if final.covariances is not None and parameters.covariances is not None:
        final.covariances[tasks] = parameters.covariances


def _history(trace: list[tuple[Tensor, Tensor]], n_iter: Tensor, reached: Tensor) -> Tensor:
    """Levels after 0, 1, ..., n_iter steps, NaN after that: (B, largest n_iter + 1)."""
    history = reached.new_full((len(reached), int(n_iter.max()) + 1), torch.nan)
    for step, (tasks, level) in enumerate(trace[: history.shape[1]]):
        kept = n_iter[tasks] > step
        history[tasks[kept], step] = level[kept]
    history[torch.arange(len(reached), device=reached.device), n_iter] = reached
    return history


def _pad(history: Tensor, length: int) -> Tensor:
    return torch.nn.functional.pad(history, (0, length - history.shape[1]), value=torch.nan)
