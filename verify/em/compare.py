"""Constructed EM steps against the reference algorithm of baselines, and against their bounds."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from baselines.em_paths import reference_step
from baselines.em_steps import Update
from constructions.em.bounds import one_step_bound
from constructions.em.constructed import ConstructedEM
from constructions.em.run import StepState
from constructions.em.step_bound import StepBound
from constructions.em.step_rounding import StepData
from constructions.em.tasks import CovarianceType, Range
from constructions.language.rounding import length
from verify.em.covariances import TIED, distance, eigenvalue_ends, symmetric

State = tuple[Tensor, Tensor] | StepState
"""Weights (B, K), means (B, K, d) and, of kinds other than unit, covariances (B, ...)."""


@dataclass(frozen=True, eq=False)
class Lost:
    """Components for which a step of EM is nothing to compare with: (B, K), of tied covariances (B, 1).

    Attributes:
        empty, singular: as baselines.em_steps has it; unit covariances are never singular.
        outside: a covariance of EM that has an eigenvalue outside the range of the construction.
    """

    empty: Tensor
    singular: Tensor
    outside: Tensor

    @classmethod
    def of(cls, new: Update, kind: CovarianceType, span: Range | None) -> Lost:
        """Of a step of EM; nothing is said of covariances that are void."""
        singular = new.singular[:, :1] if kind in TIED else new.singular
        outside = torch.zeros_like(singular)
        if new.covariances is not None and span is not None:
            void = (new.empty | new.singular).any(-1, keepdim=True)
            outside = out_of_range(new.covariances, kind, span) & ~void
        return cls(new.empty, singular, outside)

    def at(self, tasks: Tensor) -> Lost:
        """The same of some tasks (B,) only."""
        return Lost(*(mask & tasks[:, None] for mask in (self.empty, self.singular, self.outside)))

    @property
    def tasks(self) -> Tensor:
        """(B,) where there is one."""
        return torch.cat([self.empty, self.singular, self.outside], 1).any(-1)


def out_of_range(S: Tensor, kind: CovarianceType, span: Range) -> Tensor:
    """(..., K), or (..., 1) of tied kinds: a covariance has an eigenvalue outside the range, or is none."""
    return ~span.holds(*eigenvalue_ends(S, kind))


@dataclass(frozen=True, eq=False)
class StepComparison:
    """B tasks of one size after one step: errors and bounds, (B, K).

    Attributes:
        mean_error: ``|mu_hat_k - mu_k|_2``. weight_error: ``|pi_hat_k - pi_k|``, against float64 EM.
        bound: the bounds. defined: (B, K) False where EM is 0/0; nothing is compared there. Of kinds other
            than unit False for all of a task where a component is lost, or where ``left`` is.
        lost: why.
        left: (B, K), of tied kinds (B, 1): the layers' covariance before the step is outside the range.
        covariance_error: (B, K), of tied kinds (B, 1): the Frobenius norm of ``S_hat_k - S_k``, of diagonal
            ones the length, of spherical ones ``|s_hat_k - s_k|``; None of unit ones.
    """

    mean_error: Tensor
    weight_error: Tensor
    bound: StepBound
    defined: Tensor
    lost: Lost
    left: Tensor
    covariance_error: Tensor | None = None

    @property
    def covariances_defined(self) -> Tensor:
        """``defined`` in the shape of ``covariance_error``."""
        if self.covariance_error is None or self.covariance_error.shape == self.defined.shape:
            return self.defined
        return self.defined.all(-1, keepdim=True)

    @property
    def dying(self) -> Tensor:
        """(B, K) where the floor can decide the error, of what is compared."""
        return self.bound.dying & ~self.left.any(-1, keepdim=True)

    def limits(self) -> list[tuple[Tensor, Tensor, Tensor]]:
        """(bound, error, where defined) of everything that is bounded; instance bounds at even places."""
        b, found = self.bound, []
        for instance, apriori, error, at in (
            (b.mean_instance, b.mean_apriori, self.mean_error, self.defined),
            (b.weight_instance, b.weight_apriori, self.weight_error, self.defined),
            (b.covariance_instance, b.covariance_apriori, self.covariance_error, self.covariances_defined),
        ):
            if instance is not None and apriori is not None and error is not None:
                found += [(instance, error, at), (apriori, error, at)]
        return found

    def broken(self) -> Tensor:
        """(B, K) bool, where a bound is exceeded; a tied covariance is that of every component."""
        # Written so that a NaN on either side counts as broken.
        exceeded = [(at & ~(error <= limit)).expand_as(self.defined) for limit, error, at in self.limits()]
        return torch.stack(exceeded).any(0)

    def ratio(self) -> Tensor:
        """Instance bound / measured error of the means, for every defined component, flat."""
        return (self.bound.mean_instance / self.mean_error)[self.defined]


def compare_step(
    em: ConstructedEM,
    X: Tensor,
    before: State,
    after: State,
    refreshed: bool,
    dtype: torch.dtype,
    bound: StepBound | None = None,
) -> StepComparison:
    """Compare one constructed step with EM from the same state.

    Args:
        em: the construction.
        X: (B, N, d) points as the layers saw them.
        before, after: the states around the step.
        refreshed: whether ``before`` came out of an M layer.
        dtype: in which the layers ran.
        bound: the bound of this step, where it is at hand already.
    """
    kind, span = em.covariance_type, em.eigenvalues
    start, end = (v if isinstance(v, StepState) else StepState(*v) for v in (before, after))
    S = None if start.covariances is None else symmetric(start.covariances.to(torch.float64), kind)
    reference = reference_step(X, start.weights, start.means, S, kind)
    if bound is None:
        data = StepData.uniform(X, start.weights, start.means, refreshed, S, kind)
        bound = one_step_bound(em, data, dtype)
    finite = start.weights.isfinite().all(-1) & start.means.isfinite().flatten(1).all(-1)
    lost = Lost.of(reference, kind, span).at(finite)
    left, covariance_error = torch.zeros_like(lost.singular), None
    defined = ~(reference.empty | bound.undefined)
    new, found = reference.covariances, end.covariances
    if S is not None and span is not None and new is not None and found is not None:
        left = out_of_range(S, kind, span)
        lost = lost.at(~left.any(-1))
        unsaid = bound.undefined if bound.out_of_range is None else bound.undefined | bound.out_of_range
        gone = lost.tasks | left.any(-1) | unsaid.any(-1)
        defined = (~gone)[:, None].expand_as(reference.empty)
        covariance_error = distance(found, new, kind)
    return StepComparison(
        mean_error=length(end.means.to(torch.float64) - reference.means),
        weight_error=(end.weights.to(torch.float64) - reference.weights).abs(),
        bound=bound,
        defined=defined,
        lost=lost,
        left=left,
        covariance_error=covariance_error,
    )
