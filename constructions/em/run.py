"""What a run of the EM construction leaves behind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from constructions.em.tasks import CovarianceType, Range, TaskBatch, spectrum, trimmed
from constructions.language.shown import short_repr
from constructions.language.structured.evaluation import Evaluation


class StepState(NamedTuple):
    """A mixture between two steps: weights (B, K0), means (B, K0, d0), covariances as in TaskBatch."""

    weights: Tensor
    means: Tensor
    covariances: Tensor | None = None

    __repr__ = short_repr

    @classmethod
    def start(cls, tasks: TaskBatch) -> StepState:
        """That of the tasks."""
        return cls(tasks.weights, tasks.means, tasks.covariances)

    def moved(self, other: StepState) -> Tensor:
        """(B,) the largest difference of a number of the two."""
        pairs = [(a, b) for a, b in zip(self, other, strict=True) if a is not None and b is not None]
        return torch.stack([(a - b).abs().reshape(len(a), -1).amax(1) for a, b in pairs]).amax(0)


@dataclass(frozen=True, eq=False)
class EMRun:
    """What the layers computed, for B tasks (no leading B where one task was given).

    Attributes:
        weights, means: (B, K), (B, K, d): the estimate, by the paper's read-out.
        path_weights, path_means: (B, L + 1, K), (B, L + 1, K, d): the start, then the stream after each step.
        path_responsibilities: (B, L, K, N).
        n_samples, n_components, n_features: (B,) true sizes; beyond them everything is 0.
        converged: (B,) whether the last step moved no parameter by more than ``tol``; None if not asked.
        refreshed: how the start was read in, as given to :meth:`ConstructedEM.run`.
        evaluation: which way the weights were run, "structured" or "dense".
        path_covariances: (B, L + 1, ...), laid out as in scikit-learn; None of unit covariances.
        in_range: (B, L + 1) whether all eigenvalues of covariances have lain, up to that state, in the range
            that the construction is built for. Once they do not, the layers compute something else than EM.
    """

    weights: Tensor
    means: Tensor
    path_weights: Tensor
    path_means: Tensor
    path_responsibilities: Tensor
    n_samples: Tensor
    n_components: Tensor
    n_features: Tensor
    converged: Tensor | None
    refreshed: bool
    evaluation: Evaluation
    covariance_type: CovarianceType = "unit"
    path_covariances: Tensor | None = None
    in_range: Tensor | None = None

    __repr__ = short_repr

    @classmethod
    def of(
        cls,
        tasks: TaskBatch,
        estimate: tuple[Tensor, Tensor],
        path: list[StepState],
        responsibilities: list[Tensor],
        eigenvalues: Range | None,
        converged: Tensor | None,
        refreshed: bool,
        evaluation: Evaluation,
    ) -> EMRun:
        """Of padded states, cut to the largest sizes."""
        K, d = int(tasks.n_components.max()), int(tasks.n_features.max())
        covariances = in_range = None
        if eigenvalues is not None:
            held = [state.covariances for state in path if state.covariances is not None]
            found = [spectrum(S, tasks, eigenvalues) for S in held]
            in_range = torch.stack([eigenvalues.holds(*ends) for ends in found], 1).cumprod(1).bool()
            covariances = trimmed(torch.stack(held, 1), tasks.covariance_type, K, d)
        return cls(
            estimate[0][..., :K],
            estimate[1][..., :K, :d],
            torch.stack([state.weights for state in path], 1)[..., :K],
            torch.stack([state.means for state in path], 1)[..., :K, :d],
            torch.stack(responsibilities, 1)[..., :K, :],
            tasks.n_samples,
            tasks.n_components,
            tasks.n_features,
            converged,
            refreshed,
            evaluation,
            tasks.covariance_type,
            covariances,
            in_range,
        )

    @property
    def steps(self) -> int:
        """Steps taken."""
        return self.path_weights.shape[-2] - 1

    @property
    def covariances(self) -> Tensor | None:
        """Those after the last step, as the tokens hold them; None of unit covariances."""
        if self.path_covariances is None:
            return None
        axis = self.path_weights.dim() - 2
        return self.path_covariances.select(axis, self.steps)

    def task(self, index: int) -> EMRun:
        """Task ``index`` of a batch, without its padding."""
        N, K, d = (int(v[index]) for v in (self.n_samples, self.n_components, self.n_features))
        covariances = self.path_covariances
        return EMRun(
            self.weights[index, :K],
            self.means[index, :K, :d],
            self.path_weights[index, :, :K],
            self.path_means[index, :, :K, :d],
            self.path_responsibilities[index, :, :K, :N],
            self.n_samples[index],
            self.n_components[index],
            self.n_features[index],
            None if self.converged is None else self.converged[index],
            self.refreshed,
            self.evaluation,
            self.covariance_type,
            None if covariances is None else trimmed(covariances[index], self.covariance_type, K, d),
            None if self.in_range is None else self.in_range[index],
        )
