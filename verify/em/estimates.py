"""The estimate for a person's own data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import torch
from torch import Tensor

from baselines.mixture import Mixture
from console.fit_table import Fit
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

    @property
    def gain(self) -> float:
        """By how much the last step raised the log-likelihood per point."""
        before = _after(self.measurement, self.task, -2)
        return self.log_likelihood - float(before.log_likelihood_per_point(self._points))

    @property
    def _points(self) -> Tensor:
        return self.measurement.problem.X[self.task]

    def moved(self, centre: Tensor) -> Mixture:
        """The mixture in the coordinates of the data, from which the centre was subtracted."""
        return replace(self.mixture, means=self.mixture.means + centre)


def best_estimate(measurements: list[Measurement]) -> Best | None:
    """Among the starts, at most pieces; None where EM from each lost a component, or left the range."""
    most = max(m.em.pieces.total for m in measurements)
    ends = []
    for m in (m for m in measurements if m.em.pieces.total == most):
        for task in range(len(m.problem.X)):
            if bool(m.comparable[task, -1]):
                end = _after(m, task, -1)
                ends.append(Best(m, task, end, float(end.log_likelihood_per_point(m.problem.X[task]))))
    return max(ends, key=lambda found: found.log_likelihood) if ends else None


def _after(m: Measurement, task: int, step: int) -> Mixture:
    """EM's mixture after a step, -1 the last."""
    weights, S, kind = m.em_weights[task, step], m.em_covariances, m.em.covariance_type
    covariances = None if S is None else S[task, step]
    return Mixture(weights / weights.sum(), m.em_means[task, step], covariances, kind)


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

    def fit(self, title: str, columns: Sequence[str]) -> Fit:
        """For a table."""
        kind = self.covariance_type or "unit"
        return Fit(title, columns, self.weights, self.means, kind, self.covariances)

    def furthest(self, other: Estimate) -> dict[str, float]:
        """Largest difference of two numbers, of weights, means and covariances."""
        names = ("weights", "means") if self.covariances is None else ("weights", "means", "covariances")
        pairs = ((name, *(torch.tensor(getattr(e, name)).double() for e in (self, other))) for name in names)
        return {name: float((one - two).abs().max()) for name, one, two in pairs}


@dataclass(frozen=True)
class Estimates:
    """The last step of EM and that of the layers; where there is none, why."""

    em: Estimate | None = None
    construction: Estimate | None = None
    why: Annotated[str | None, Absent()] = None
    start: Annotated[str | None, Absent()] = None
    trial: Annotated[int | None, Absent()] = None
    log_likelihood_per_point: Annotated[float | None, Absent()] = None
    gain_in_last_step: Annotated[float | None, Absent()] = None


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
        gain_in_last_step=best.gain,
    )
