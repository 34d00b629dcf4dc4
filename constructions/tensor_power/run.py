"""What a run of a tensor power construction leaves behind."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from constructions.language.shown import short_repr
from constructions.language.structured.evaluation import Evaluation


@dataclass(frozen=True, eq=False)
class TensorPowerRun:
    """The vectors that the layers computed, for B tensors (no leading B where one was given).

    Attributes:
        path: (B, L + 1, d), the start as rounded to the run's dtype, then the vector after each step; 0
            beyond the d of a task.
        dims: (B,) the true d of each.
        evaluation: which way the weights were run, "structured" or "dense".
    """

    path: Tensor
    dims: Tensor
    evaluation: Evaluation

    __repr__ = short_repr

    @property
    def steps(self) -> int:
        """Steps taken."""
        return self.path.shape[-2] - 1

    @property
    def v(self) -> Tensor:
        """(B, d) the vector after the last step."""
        return self.path[..., -1, :]
