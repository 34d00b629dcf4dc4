"""The estimate for a person's own data, and whether its units suit unit covariances."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from baselines.mixture import Mixture
from baselines.unit_scale import unit_scale
from console.typed_json import Absent
from verify.em.measure import Measurement


@dataclass(frozen=True, eq=False)
class Best:
    """The last step of EM at the best likelihood: of which run, which of its tasks."""

    measurement: Measurement
    task: int
    mixture: Mixture
    log_likelihood: float


def best_estimate(measurements: list[Measurement]) -> Best | None:
    """Among the starts, at most pieces; None where EM lost a component from each."""
    most = max(m.em.pieces.total for m in measurements)
    ends = []
    for m in (m for m in measurements if m.em.pieces.total == most):
        for task in range(len(m.problem.X)):
            if bool(m.comparable[task, -1]):
                weights = m.em_weights[task, -1]
                end = Mixture(weights / weights.sum(), m.em_means[task, -1])
                ends.append(Best(m, task, end, float(end.log_likelihood_per_point(m.problem.X[task]))))
    return max(ends, key=lambda found: found.log_likelihood) if ends else None


@dataclass(frozen=True)
class Estimate:
    """Weights (K) and means (K, d) in the coordinates of the data."""

    weights: list[float]
    means: list[list[float]]

    @classmethod
    def of(cls, weights: Tensor, means: Tensor, centre: Tensor) -> Estimate:
        """Of means from which the centre was subtracted."""
        moved = means.cpu().to(torch.float64) + centre
        return cls(weights.cpu().to(torch.float64).tolist(), moved.tolist())


@dataclass(frozen=True)
class Estimates:
    """The last step of EM and that of the layers; where there is none, why."""

    em: Estimate | None = None
    construction: Estimate | None = None
    why: Annotated[str | None, Absent()] = None
    start: Annotated[str | None, Absent()] = None
    trial: Annotated[int | None, Absent()] = None
    log_likelihood_per_point: Annotated[float | None, Absent()] = None


def as_estimates(best: Best | None, centre: Tensor) -> Estimates:
    """For JSON, in the coordinates of the data."""
    if best is None:
        return Estimates(why="EM lost a component from every start")
    m, task = best.measurement, best.task
    return Estimates(
        Estimate.of(m.em_weights[task, -1], m.em_means[task, -1], centre),
        Estimate.of(m.run.weights[task], m.run.means[task], centre),
        start=m.problem.start,
        trial=task,
        log_likelihood_per_point=best.log_likelihood,
    )


def scale_remark(best: Best, standardised: bool) -> str | None:
    """One line where no standard deviation from 1/2 to 2 within the components explains the data.

    The bounds hold at any scale; but far from 1 every point belongs to one component, and a step is easy.
    """
    batched = Mixture(best.mixture.weights[None], best.mixture.means[None])
    found = unit_scale(best.measurement.problem.X[best.task][None], batched)
    if not bool(found.wrong[0]):
        return None
    shown = f"{float(found.deviation[0]):.3g}"
    remedy = f"divide the data by about {shown}" if standardised else "--standardise brings them to one scale"
    return (
        f"the components have standard deviation 1 in the units of the data, which show {shown}: the bounds "
        f"hold and say little of such data; {remedy}"
    )
