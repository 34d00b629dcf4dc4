"""What a construction has, whatever its algorithm: weights that compile, print and plot."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from constructions.language.assembly import Construction
from constructions.language.compiled import Compiled
from constructions.language.resources import Resources
from constructions.language.shown import short_repr
from constructions.language.stream import Stream
from constructions.language.structured.arithmetic import FloatArithmetic
from constructions.language.structured.evaluation import (
    DenseEvaluator,
    Evaluation,
    Evaluator,
    StructuredEvaluator,
    check_evaluation,
)
from constructions.language.transformer import Transformer

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, eq=False)
class ConstructedAlgorithm:
    """L steps of an algorithm as layers; a subclass adds read-in, run and bounds.

    Attributes:
        construction: the layers as formulas. One pass through them is one step.
    """

    construction: Construction
    _compiled: dict[object, Evaluator[Any]] = field(default_factory=Compiled, init=False, repr=False)

    __repr__ = short_repr

    @property
    def stream(self) -> Stream:
        """The residual stream."""
        return self.construction.stream

    @property
    def steps(self) -> int:
        """L."""
        return self.construction.loops

    def to_transformer(
        self, dtype: torch.dtype = torch.float64, device: torch.device | str = "cpu", looped: bool = True
    ) -> Transformer:
        """The dense weights; see :meth:`Construction.to_transformer`."""
        return self.construction.to_transformer(dtype, device, looped)

    def evaluator(
        self, evaluation: Evaluation, dtype: torch.dtype, device: torch.device | str
    ) -> Evaluator[Any]:
        """The layers ready to run, made once for a dtype and a device.

        Raises:
            ValueError: an evaluation that is none.
        """
        check_evaluation(evaluation)
        key = (evaluation, dtype, str(device))
        if key not in self._compiled:
            self._compiled[key] = (
                DenseEvaluator(self.to_transformer(dtype, device))
                if evaluation == "dense"
                else StructuredEvaluator(self.construction, FloatArithmetic(dtype, device))
            )
        return self._compiled[key]

    def explain(self) -> str:
        """The layer table."""
        return self.construction.explain()

    def resources(self) -> Resources:
        """Layers, heads, widths, parameters and weight norms of the compiled transformer."""
        return self.construction.resources()

    def plot_weights(self) -> list[Figure]:
        """One figure a layer: each dense matrix with the named blocks on its axes. Needs matplotlib."""
        return self.construction.plot_weights()
