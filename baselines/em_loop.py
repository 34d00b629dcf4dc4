"""The EM iteration on plain tensors: the tasks of a block together, finished ones taken out as it goes."""

from collections.abc import Callable
from enum import IntEnum
from typing import NamedTuple

import torch
from torch import Tensor

from baselines.em_parameters import Parameters, choose
from baselines.em_pass import em_pass, is_near, log_likelihood_per_point
from baselines.em_steps import Update
from baselines.families.names import Family
from baselines.families.restrict import restrict
from baselines.points import Points

RUNNING = -1


class Status(IntEnum):
    """Why a task stopped. The last three keep the parameters of the last step that was defined.

    CONVERGED  the log-likelihood per point changed by less than tol.
    MAX_ITER   it did not in max_iter steps, the last one included.
    EMPTY      a component's share of the points fell below the smallest normal number: its mean is 0/0.
    SINGULAR   a covariance cannot be told from a singular one at the precision of the dtype.
    OVERFLOW   a log-density left the range of the dtype.
    """

    CONVERGED = 0
    MAX_ITER = 1
    EMPTY = 2
    SINGULAR = 3
    OVERFLOW = 4


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
        fields = (choose(where, yes, no) for no, yes in zip(mine[1:], theirs[1:], strict=True))
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
    points: Points,
    start: Parameters,
    family: Family,
    max_iter: int,
    tol: float,
    restart: int,
    reg_covar: float = 0.0,
    report: Callable[[int, int, float], None] | None = None,
) -> Fit:
    """Iterate EM from `start` until each task has stopped. Tasks that have stopped keep their parameters.

    The start is of the layout of the family; every step ends within the family itself. Stopped tasks are
    taken out of the computation whenever they make up an eighth of it. `report` is called after every pass
    with its number from 1, the tasks that go on, and the average level that it found.
    """
    n_tasks, covariance_type = len(points.tasks), family.layout
    start = start.with_roots(covariance_type)
    device = points.X.device
    n_iter = torch.zeros(n_tasks, dtype=torch.long, device=device)
    status = torch.full((n_tasks,), int(Status.MAX_ITER), device=device)
    component = torch.full((n_tasks,), -1, device=device)
    final = start.rows(torch.arange(n_tasks, device=device))
    trace: list[tuple[Tensor, Tensor]] = []

    rows = torch.arange(n_tasks, device=device)  # the task of every row still in the computation
    alive = torch.ones(n_tasks, dtype=torch.bool, device=device)
    active, current, before = points, start, start
    near = is_near(points, start, covariance_type)
    last = torch.full((n_tasks,), -torch.inf, dtype=start.means.dtype, device=device)
    for step in range(1, max_iter + 1):
        level, new, after = em_pass(active, current, covariance_type, near, alive, reg_covar)
        trace.append((rows[alive], level[alive]))
        if family.restricted:
            new = restrict(new, family.name)
        outcome = _outcome(level, last, new, tol)
        proposal = Parameters(new.weights, new.means, new.covariances, new.roots, new.inverse_roots)
        if family.restricted:
            after = is_near(active, proposal, covariance_type)
        overflow = alive & (outcome == Status.OVERFLOW)
        moves = alive & (outcome <= Status.CONVERGED)
        n_iter[rows] += moves.long() - (overflow & (n_iter[rows] > 0)).long()
        before, current = current, current.replaced(moves, proposal).replaced(overflow, before)
        near = torch.where(moves, after, near)
        last = level

        stops = alive & (outcome != RUNNING)
        if stops.any():
            status[rows[stops]] = outcome[stops]
            component[rows[stops]] = _failing_component(new, outcome)[stops]
            alive = alive & ~stops
        n_alive = int(alive.sum())
        if report is not None:
            report(step, n_alive, float(level.mean()))
        if n_alive <= 0.875 * len(rows):
            final.store(rows[~alive], current.rows(~alive))
            kept = alive.nonzero().squeeze(-1)
            rows, alive, last, near = rows[kept], alive[kept], last[kept], near[kept]
            active, current, before = active.rows(kept), current.rows(kept), before.rows(kept)
        if n_alive == 0:
            break
    final.store(rows, current)
    reached = log_likelihood_per_point(points, final, covariance_type)
    status[rows[alive & ((reached[rows] - last).abs() < tol)]] = Status.CONVERGED  # by the step max_iter
    status[~torch.isfinite(reached)] = Status.OVERFLOW
    history = _history(trace, n_iter, reached)
    return Fit(final, reached, history, n_iter, status, component, torch.full_like(status, restart))


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
