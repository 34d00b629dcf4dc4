"""What is measured of the EM construction, a record a step: the fields of results.json."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Annotated

import torch
from torch import Tensor

from console.typed_json import Absent, Beside
from constructions.em.bounds import one_step_bound
from constructions.em.matrices import MatrixEM, MatrixPieces
from constructions.em.pieces import Pieces
from constructions.em.step_bound import StepBound
from constructions.em.step_rounding import StepData
from constructions.em.tasks import CovarianceType
from constructions.em.unit import EMConstruction
from constructions.em.variances import VarianceEM, VariancePieces
from verify.engine.certificates import Certificate
from verify.engine.record import Record
from verify.intervals.rounded_up import Evaluated

AnyEM = EMConstruction | VarianceEM | MatrixEM


def pieces_mean(em: AnyEM) -> int:
    """Pieces a function, on average."""
    return em.pieces.total // len(fields(em.pieces))


@dataclass(frozen=True)
class Spread:
    """Least, median, 90th percentile, largest; None for each where there is nothing to report."""

    min: float | None = None
    median: float | None = None
    p90: float | None = None
    max: float | None = None

    @classmethod
    def of(cls, values: Tensor) -> Spread:
        """Of all values that are numbers."""
        ordered = values.to(torch.float64).flatten().sort().values
        ordered = ordered[~ordered.isnan()]
        if len(ordered) == 0:
            return cls()
        return cls(*(float(ordered[round(q * (len(ordered) - 1))]) for q in (0.0, 0.5, 0.9, 1.0)))


@dataclass(frozen=True)
class Setting:
    """What was run.

    Attributes:
        pieces_mean: pieces a function, on average.
        covariance_type, eigenvalues: of the covariances, and where theirs may lie; left out of unit ones.
    """

    name: str
    dim: int
    components: int
    samples: int
    start: str
    tasks: int
    steps: int
    radius: float
    floor: float
    pieces_mean: int
    pieces: Pieces | VariancePieces | MatrixPieces
    covariance_type: Annotated[CovarianceType | None, Absent()] = None
    eigenvalues: Annotated[tuple[float, float] | None, Absent()] = None


@dataclass(frozen=True)
class Rounding:
    """Median rounding part of the one-step bound of a mean, and of a covariance, in both precisions.

    That of the precision in which the layers did not run is float64's value, not rounded up.
    """

    float32: float
    float64: float
    covariance_float32: Annotated[float | None, Absent()] = None
    covariance_float64: Annotated[float | None, Absent()] = None

    @classmethod
    def of(cls, em: AnyEM, data: StepData, dtype: torch.dtype, bound: StepBound) -> Rounding:
        """Of the step from the state in ``data``, whose bound in ``dtype`` is at hand."""
        both = torch.float32, torch.float64
        bounds = [bound if kind == dtype else one_step_bound(em, data, kind) for kind in both]
        parts = [b.covariance_rounding for b in bounds if b.covariance_rounding is not None]
        return cls(*(float(part.median()) for part in (*(b.mean_rounding for b in bounds), *parts)))


@dataclass(frozen=True)
class OneStep:
    """One step alone, over all defined components.

    Attributes:
        mean_error, weight_error, covariance_error: distance to EM from the same state: ``|mu_hat - mu|_2``,
            ``|pi_hat - pi|``, and of covariances the Frobenius norm (of diagonal ones the length of the
            difference of variances, of spherical ones its absolute value); these are left out of unit ones.
        instance_bound, apriori_bound: of the means. instance_ratio, apriori_ratio: bound over error of them.
        covariance_bound, covariance_apriori_bound, covariance_ratio: the same of the covariances.
        rounding_part: of the instance bounds.
    """

    mean_error: Spread
    weight_error: Spread
    instance_bound: Spread
    apriori_bound: Spread
    instance_ratio: Spread
    apriori_ratio: Spread
    rounding_part: Rounding
    covariance_error: Annotated[Spread | None, Absent()] = None
    covariance_bound: Annotated[Spread | None, Absent()] = None
    covariance_apriori_bound: Annotated[Spread | None, Absent()] = None
    covariance_ratio: Annotated[Spread | None, Absent()] = None


@dataclass(frozen=True)
class AllSteps:
    """All steps so far, over the tasks.

    ``lipschitz`` is None after the first step, which carries nothing on; of kinds other than unit, whose
    bound has no such factor, it holds None alone.

    Attributes:
        largest_mean_error, largest_weight_error, largest_covariance_error: over the components of a task,
            against EM from the same start; the last is left out of unit covariances.
        bound_claimed_for_tasks: in how many the bound along the path is claimed.
        bound_below_data_diameter: in how many of them it says something.
    """

    largest_mean_error: Spread
    largest_weight_error: Spread
    bound_claimed_for_tasks: int
    bound_below_data_diameter: int
    bound: Spread
    ratio: Spread
    lipschitz: Spread | None
    largest_covariance_error: Annotated[Spread | None, Absent()] = None


@dataclass(frozen=True)
class Broken:
    """How many bounds: components after one step, and along the path."""

    one_step: int
    path: int

    @property
    def total(self) -> int:
        """Both."""
        return self.one_step + self.path


@dataclass(frozen=True)
class StepRecord:
    """A step in all tasks: the line of a ledger with everything that was measured.

    Attributes:
        undefined_components, singular_components, outside_components: in how many EM from the layers' state
            is 0/0, has a singular covariance, or one with an eigenvalue outside the range; none is compared.
            Of kinds other than unit nor is anything else of such a task.
        certified: of the path up to this step. evaluated: how the bounds of ``one_step`` and ``path`` were.
        dying_components: where the floor can decide the error.
    """

    line: Annotated[Record, Beside()]
    setting: Setting
    step: int
    broken: Broken
    one_step: OneStep
    path: AllSteps
    undefined_components: int
    dying_components: int
    singular_components: int = 0
    outside_components: int = 0
    evaluated: Evaluated = "float64"
    certified: Annotated[Certificate | None, Absent()] = None

    @property
    def said(self) -> str:
        """In how many tasks the bound along the path says something."""
        return f"{self.path.bound_below_data_diameter}/{self.setting.tasks}"

    @property
    def lipschitz(self) -> float | None:
        """Median factor of the bound along the path."""
        return self.path.lipschitz.median if self.path.lipschitz else None
