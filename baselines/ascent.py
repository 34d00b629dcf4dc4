"""Iterations that climb an objective from EM's starts, for a batch of tasks: blocks, restarts, stopping.

What EM with a prior and gradient ascent have in common; each gives its own step. Unit covariances only.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from baselines.checks import check_count, check_points
from baselines.em_parameters import Parameters
from baselines.mixture import Mixture
from baselines.points import Points, prepare
from baselines.shown import short_repr
from baselines.starts import STARTS, start_means

NUMBERS_AT_ONCE = 2**20  # a block of tasks is this large (8 MiB in float64), to stay in cache


@dataclass(frozen=True, eq=False)
class AscentResult:
    """What was reached in every task of a batch (...).

    mixture              parameters of the best restart, unit covariances.
    objective_per_point  (...): the objective there, divided by N.
    history              (..., T): the same after 0 (the start), 1, ..., n_iter steps; NaN after those.
    n_iter               (...): steps taken.
    converged            (...): stopped by `tol`.
    restart              (...): which of the n_init starts was kept, from 0.
    """

    mixture: Mixture
    objective_per_point: Tensor
    history: Tensor
    n_iter: Tensor
    converged: Tensor
    restart: Tensor

    __repr__ = short_repr


class Move(NamedTuple):
    """One step of B tasks: the objective per point (B,) and a gap (B,) where it starts, and where it leads.

    A task stops, without taking the step, when its gap is below tol. memory holds what the next step needs
    of this one, (B, ...) each.
    """

    objective: Tensor
    gap: Tensor
    proposal: Parameters
    memory: tuple[Tensor, ...]

    __repr__ = short_repr


Step = Callable[[Points, Parameters, tuple[Tensor, ...] | None], Move]
Prepare = Callable[[Points, Parameters], Parameters]


class _Fit(NamedTuple):
    weights: Tensor
    means: Tensor
    objective: Tensor
    history: Tensor
    n_iter: Tensor
    converged: Tensor
    restart: Tensor


def climb(
    X: Tensor,
    n_components: int | None,
    step: Step,
    feasible: Prepare,
    *,
    init: str | Mixture,
    n_init: int,
    max_iter: int,
    tol: float,
    generator: torch.Generator | None,
) -> AscentResult:
    """Repeat `step` from n_init starts in every task of X (..., N, d) and keep the highest objective.

    `feasible` moves a start to where the objective is finite. init is a name of starts.STARTS (equal weights)
    or a unit-covariance Mixture whose batch shape broadcasts to that of X. Raises ValueError for bad input.
    """
    check_points(X)
    given, K = _check_start(X, n_components, init, n_init)
    check_count("n_init", n_init)
    check_count("max_iter", max_iter)
    if not tol >= 0:
        raise ValueError(f"tol is {tol}, needs >= 0")
    if X.shape[-2] < K:
        raise ValueError(f"X has {X.shape[-2]} points, needs at least n_components = {K}")
    batch, flat = X.shape[:-2], X.reshape(-1, *X.shape[-2:])
    n_tasks = max(1, NUMBERS_AT_ONCE // (X.shape[-2] * (X.shape[-1] + 2 + 2 * K)))
    fits: list[_Fit] = []
    for first in range(0, len(flat), n_tasks):
        block = slice(first, first + n_tasks)
        points = prepare(flat[block], None, None)
        best = None
        for restart in range(n_init):
            if given is not None:
                start = Parameters(given.weights[block], given.means[block] - points.centre, None)
            elif generator is None:
                raise ValueError(f"generator is None, needs a torch.Generator for init {init!r}")
            else:
                means = start_means(points, K, str(init), generator)
                start = Parameters(torch.full_like(means[..., 0], 1 / K), means, None)
            fit = _run(points, feasible(points, start), step, max_iter, tol, restart)
            best = fit if best is None else _better(best, fit)
        if best is not None:
            fits.append(best._replace(means=best.means + points.centre))
    return _result(fits, batch)


def _run(points: Points, start: Parameters, step: Step, max_iter: int, tol: float, restart: int) -> _Fit:
    """Climb from `start` until each task has stopped; stopped ones leave the computation by the eighth."""
    B = len(start.weights)
    device = start.means.device
    final = start.rows(torch.arange(B, device=device))
    objective = start.weights.new_full((B,), torch.nan)
    n_iter = torch.zeros(B, dtype=torch.long, device=device)
    converged = torch.zeros(B, dtype=torch.bool, device=device)
    rows, alive = torch.arange(B, device=device), torch.ones(B, dtype=torch.bool, device=device)
    active, current, memory, trace = points, start, None, []
    for count in range(max_iter + 1):
        move = step(active, current, memory)
        objective[rows[alive]] = move.objective[alive]
        level = torch.full_like(objective, torch.nan)
        level[rows[alive]] = move.objective[alive]
        trace.append(level)
        stops = alive & (move.gap < tol)
        converged[rows[stops]] = True
        alive = alive & ~stops
        if count == max_iter or not alive.any():
            break
        n_iter[rows[alive]] += 1
        current, memory = current.replaced(alive, move.proposal), move.memory
        if int(alive.sum()) <= 0.875 * len(rows):
            _store(final, rows, current)
            kept = alive.nonzero().squeeze(-1)
            active, current = active.rows(kept), current.rows(kept)
            memory = tuple(values[kept] for values in memory)
            rows, alive = rows[kept], alive[kept]
    _store(final, rows, current)
    history = torch.stack(trace, dim=-1)
    return _Fit(*final[:2], objective, history, n_iter, converged, torch.full_like(n_iter, restart))


def _store(final: Parameters, rows: Tensor, current: Parameters) -> None:
    final.weights[rows] = current.weights
    final.means[rows] = current.means


def _better(best: _Fit, fit: _Fit) -> _Fit:
    """Task by task the fit of the higher objective."""
    length = max(best.history.shape[1], fit.history.shape[1])
    best, fit = (f._replace(history=_pad(f.history, length)) for f in (best, fit))
    wins = fit.objective > best.objective
    return _Fit(
        *(
            torch.where(wins.reshape(-1, *[1] * (mine.dim() - 1)), theirs, mine)
            for mine, theirs in zip(best, fit, strict=True)
        )
    )


def _pad(history: Tensor, length: int) -> Tensor:
    return torch.nn.functional.pad(history, (0, length - history.shape[1]), value=torch.nan)


def _result(fits: list[_Fit], batch: torch.Size) -> AscentResult:
    length = max(int(fit.n_iter.max()) for fit in fits) + 1
    fits = [fit._replace(history=_pad(fit.history, length)) for fit in fits]
    fields = (torch.cat(parts) for parts in zip(*fits, strict=True))
    weights, means, *others = (values.reshape((*batch, *values.shape[1:])) for values in fields)
    return AscentResult(Mixture(weights, means), *others)


def _check_start(
    X: Tensor, n_components: int | None, init: str | Mixture, n_init: int
) -> tuple[Mixture | None, int]:
    """A given start with one batch dimension (None for a named one) and K; ValueError if it does not fit."""
    if not isinstance(init, Mixture):
        if init not in STARTS:
            raise ValueError(f"init is {init!r}, needs a Mixture or one of {', '.join(STARTS)}")
        if n_components is None:
            raise ValueError("n_components is None, needs an integer unless init is a Mixture")
        check_count("n_components", n_components)
        return None, n_components
    init.check_points(X)
    if init.covariance_type != "unit":
        raise ValueError(f"init has covariance_type {init.covariance_type!r}, needs 'unit'")
    if n_components not in (None, init.n_components):
        raise ValueError(f"n_components is {n_components}, needs {init.n_components} like init")
    if n_init != 1:
        raise ValueError(
            f"n_init is {n_init}, needs 1 when init is a Mixture: every restart would be the same"
        )
    batch = X.shape[:-2]
    if torch.broadcast_shapes(batch, init.batch_shape) != batch:
        raise ValueError(
            f"init has batch shape {tuple(init.batch_shape)}, "
            f"needs one that broadcasts to {tuple(batch)} of X"
        )
    K, d = init.means.shape[-2:]
    weights, means = init.weights.expand(*batch, K), init.means.expand(*batch, K, d)
    return Mixture(weights.reshape(-1, K), means.reshape(-1, K, d)), K
