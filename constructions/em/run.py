"""What a run of the EM construction leaves behind."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from constructions.language.structured.evaluation import Evaluation


@dataclass(frozen=True, eq=False)
class EMRun:
    """What the layers computed, for B tasks (no leading B where one task was given).

    Attributes:
        weights, means: (B, K), (B, K, d): the estimate, by the paper's read-out.
        path_weights, path_means: (B, L + 1, K), (B, L + 1, K, d): the start, then the stream after each step.
        path_responsibilities: (B, L, K, N).
        n_samples, n_components, n_features: (B,) true sizes; beyond them everything is 0.
        converged: (B,) whether the last step moved weights and means by at most ``tol``; None if not asked.
        refreshed: how the start was read in, as given to :meth:`EMConstruction.run`.
        evaluation: which way the weights were run, "structured" or "dense".
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

    @property
    def steps(self) -> int:
        """Steps taken."""
        return self.path_weights.shape[-2] - 1

    def task(self, index: int) -> EMRun:
        """Task ``index`` of a batch, without its padding."""
        N, K, d = (int(v[index]) for v in (self.n_samples, self.n_components, self.n_features))
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
        )
