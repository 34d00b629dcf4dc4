"""What a run of a construction of the gallery leaves behind, and how it is made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from constructions.algorithm import ConstructedAlgorithm
from constructions.language.hypotheses import HypothesisError
from constructions.language.shown import short_repr
from constructions.language.structured.evaluation import Evaluation, State
from constructions.language.structured.partitions import Tokens


@dataclass(frozen=True, eq=False)
class GalleryRun:
    """One quantity along a path of B tasks (no leading B where one task was given).

    Attributes:
        path: (B, L + 1, ...) the start, then what the stream holds after each step; 0 beyond a task's sizes.
        evaluation: which way the weights were run, "structured" or "dense".
    """

    path: Tensor
    evaluation: Evaluation

    __repr__ = short_repr

    @property
    def result(self) -> Tensor:
        """(B, ...) after the last step."""
        return self.path[:, -1] if self.path.ndim > 2 else self.path[-1]


def walk(
    algorithm: ConstructedAlgorithm,
    tokens: tuple[Tensor, Tensor],
    read: Callable[[State], Tensor],
    evaluation: Evaluation,
    passes: int,
    after: tuple[int, ...] = (-1,),
) -> list[Tensor]:
    """What ``read`` finds after those layers of each pass that stand at the places ``after`` of its sequence.

    Raises:
        HypothesisError: a number that is not finite: the path left the range of the dtype.
        ValueError: an evaluation that is none.
    """
    h, mask = tokens
    layers = algorithm.evaluator(evaluation, h.dtype, h.device)
    written = algorithm.construction
    found: list[Tensor] = []
    with torch.no_grad():
        state = layers.start(Tokens.of_dense(written.stream, written.inputs, h, mask))
        for _ in range(passes):
            states = layers.block(state)
            found += [read(states[place]) for place in after]
            state = states[-1]
    for step, value in enumerate(found, 1):
        if not bool(value.isfinite().all()):
            task = int((~value.isfinite()).flatten(1).any(1).to(torch.int64).argmax())
            raise HypothesisError(
                f"step {step} of task {task} leaves the range of {h.dtype}; "
                "scale the data, or take fewer steps"
            )
    return found
