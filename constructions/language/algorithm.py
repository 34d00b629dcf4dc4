"""What a construction has, whatever its algorithm: weights that compile, print and plot."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from constructions.language.assembly import Construction
from constructions.language.resources import Resources
from constructions.language.stream import Stream
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

    def explain(self) -> str:
        """The layer table."""
        return self.construction.explain()

    def resources(self) -> Resources:
        """Layers, heads, widths, parameters and weight norms of the compiled transformer."""
        return self.construction.resources()

    def plot_weights(self) -> list[Figure]:
        """One figure a layer: each dense matrix with the named blocks on its axes. Needs matplotlib."""
        return self.construction.plot_weights()
