"""What a run of the spectral construction leaves behind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from constructions.language.hypotheses import HypothesisError
from constructions.language.shown import short_repr
from constructions.language.structured.evaluation import Evaluation


@dataclass(frozen=True, eq=False)
class SpectralRun:
    """What the layers computed, for B tasks (no leading B where one task was given).

    Attributes:
        weights, raw_weights: (B, K) lambda_k^-2, divided by their sum and not. means: (B, K, d).
        variance: (B,) s, as given or estimated. tensor_eigenvalues: (B, K) lambda_k, in the order found.
        W, P: (B, K, d) the whitening, W M2 W^T = I, and W M2.
        path: (B, steps, S, K) the vectors of all starts, each component's 2 L + 1 after the other's; None
            unless kept.
        n_components, n_features: (B,) true sizes; beyond them everything is 0.
        evaluation: which way the weights were run.
        failures: task -> the hypothesis that it fails; its numbers are NaN.
    """

    weights: Tensor
    raw_weights: Tensor
    means: Tensor
    variance: Tensor
    tensor_eigenvalues: Tensor
    W: Tensor
    P: Tensor
    path: Tensor | None
    n_components: Tensor
    n_features: Tensor
    evaluation: Evaluation
    failures: Mapping[int, HypothesisError] = field(default_factory=dict)

    __repr__ = short_repr

    def without(self, failures: Mapping[int, HypothesisError]) -> SpectralRun:
        """The same with NaN in the estimates of the tasks that fail."""
        failed = torch.zeros(len(self.weights), dtype=torch.bool, device=self.weights.device)
        failed[list(failures)] = True
        names = ("weights", "raw_weights", "means", "tensor_eigenvalues")
        values = {name: getattr(self, name) for name in names}
        marked = {
            name: value.masked_fill(failed.reshape(-1, *[1] * (value.ndim - 1)), torch.nan)
            for name, value in values.items()
        }
        return replace(self, **marked, failures=failures)

    def task(self, index: int) -> SpectralRun:
        """Task ``index`` of a batch, without its padding."""
        K, d = int(self.n_components[index]), int(self.n_features[index])
        return SpectralRun(
            self.weights[index, :K],
            self.raw_weights[index, :K],
            self.means[index, :K, :d],
            self.variance[index],
            self.tensor_eigenvalues[index, :K],
            self.W[index, :K, :d],
            self.P[index, :K, :d],
            None if self.path is None else self.path[index, ..., :K],
            self.n_components[index],
            self.n_features[index],
            self.evaluation,
            {0: self.failures[index]} if index in self.failures else {},
        )
