"""The estimate for a person's own data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from baselines.mixture import Mixture
from console.typed_json import Absent
from constructions.em.tasks import CovarianceType
from verify.em.covariances import symmetric
from verify.em.measure import Measurement

Numbers = float | list[float] | list[list[float]] | list[list[list[float]]]


@dataclass(frozen=True, eq=False)
class Best:
    """The last step of EM at the best likelihood: of which run, which of its tasks."""

    measurement: Measurement
    task: int
    mixture: Mixture
    log_likelihood: float


def best_estimate(measurements: list[Measurement]) -> Best | None:
    """Among the starts, at most pieces; None where EM from each lost a component, or left the range."""
    most = max(m.em.pieces.total for m in measurements)
    ends = []
    for m in (m for m in measurements if m.em.pieces.total == most):
        for task in range(len(m.problem.X)):
            if bool(m.comparable[task, -1]):
                weights, S = m.em_weights[task, -1], m.em_covariances
                kind = m.em.covariance_type
                end = Mixture(
                    weights / weights.sum(), m.em_means[task, -1], None if S is None else S[task, -1], kind
                )
                ends.append(Best(m, task, end, float(end.log_likelihood_per_point(m.problem.X[task]))))
    return max(ends, key=lambda found: found.log_likelihood) if ends else None


@dataclass(frozen=True)
class Estimate:
    """Weights (K) and means (K, d) in the coordinates of the data, covariances as scikit-learn has them.

    Attributes:
        covariance_type, covariances: (K, d, d) full, (d, d) tied, (K, d) diagonal, (K) spherical, one number
            tied_spherical; variances, not standard deviations. Left out of unit ones.
    """

    weights: list[float]
    means: list[list[float]]
    covariance_type: Annotated[CovarianceType | None, Absent()] = None
    covariances: Annotated[Numbers | None, Absent()] = None

    @classmethod
    def of(
        cls, weights: Tensor, means: Tensor, centre: Tensor, S: Tensor | None, kind: CovarianceType
    ) -> Estimate:
        """Of means from which the centre was subtracted."""
        moved = means.cpu().to(torch.float64) + centre
        found = weights.cpu().to(torch.float64).tolist(), moved.tolist()
        return cls(*found) if S is None else cls(*found, kind, symmetric(S.cpu().double(), kind).tolist())


@dataclass(frozen=True)
class Estimates:
    """The last step of EM and that of the layers; where there is none, why."""

    em: Estimate | None = None
    construction: Estimate | None = None
    why: Annotated[str | None, Absent()] = None
    start: Annotated[str | None, Absent()] = None
    trial: Annotated[int | None, Absent()] = None
    log_likelihood_per_point: Annotated[float | None, Absent()] = None


def as_estimates(best: Best | None, centre: Tensor, kind: CovarianceType) -> Estimates:
    """For JSON, in the coordinates of the data."""
    if best is None:
        why = "EM lost a component from every start"
        if kind != "unit":
            why += ", or a covariance became singular or left the range of eigenvalues (--eigenvalues); "
            why += "fewer components, other starts or fewer steps may help"
        return Estimates(why=why)
    m, task, kind = best.measurement, best.task, best.measurement.em.covariance_type
    S, found = m.em_covariances, m.run.covariances
    S, found = None if S is None else S[task, -1], None if found is None else found[task]
    return Estimates(
        Estimate.of(m.em_weights[task, -1], m.em_means[task, -1], centre, S, kind),
        Estimate.of(m.run.weights[task], m.run.means[task], centre, found, kind),
        start=m.problem.start,
        trial=task,
        log_likelihood_per_point=best.log_likelihood,
    )
