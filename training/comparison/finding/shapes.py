"""What the networks of a cell are compared with: the construction in their shape, and controls.

More heads and units than the theorem has: the construction gets heads and units of zeros, which is the same
function. GELU: every unit is stretched, (w_1, b_1, w_2) -> (c w_1, c b_1, w_2 / c), so that

    |gelu(c z) / c - relu(z)| = |z| Phi(-c |z|) <= 0.17 / c,   c = 1e6

and the network is the construction to 2e-7 of its weights. GELU has no symmetry of scale, and the stretched
units are like nobody's: such networks are compared by heads and by what their MLPs do, not unit by unit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from constructions.language.shown import short_repr
from constructions.language.stream import Block
from constructions.language.transformer import Transformer, TransformerShape
from training.comparison.finding.learning.cells import Cell
from training.comparison.finding.learning.starts import shape_of
from training.comparison.finding.learning.trace import EMPath
from training.comparison.origins.training_runs import slot_blocks
from training.comparison.weights.block_verdicts import BlocksResult
from training.comparison.weights.blocks import compare_blocks, layer_inputs
from training.model.balance import layers_of, scale_units

STRETCH = 1e6
"""c of the units of the construction in GELU."""


@dataclass(frozen=True, eq=False)
class Reference:
    """The construction in the shape of a cell's networks, and the states of its layers on some tasks."""

    cell: Cell
    constructed: Transformer
    states: list[Tensor]

    __repr__ = short_repr

    @property
    def slots(self) -> Sequence[Block]:
        """Blocks that a renaming of the components permutes; none where units cannot be compared."""
        return slot_blocks(self.cell.problem) if self.cell.activation == "relu" else ()

    def compare(self, network: Transformer) -> BlocksResult:
        """The theorem's blocks in a network of this shape."""
        stream = self.cell.problem.construction.stream
        return compare_blocks(self.constructed, network, stream, self.states, self.slots)


def reference_of(cell: Cell, tasks: EMPath) -> Reference:
    """For the networks of a cell, whose blocks are weighed by the states on these tasks (B,)."""
    own = cell.problem.construction.to_transformer()
    return Reference(cell, in_shape(own, shape_of(cell)), layer_inputs(own, tasks.tokens.double()))


@torch.no_grad()
def in_shape(constructed: Transformer, shape: TransformerShape) -> Transformer:
    """The same function with the heads, units and activation of the shape, in the construction's dtype.

    Raises:
        ValueError: a shape with fewer heads or units.
    """
    found = Transformer(shape, next(constructed.parameters()).dtype, drawn=False)
    for layer, own in zip(layers_of(found), layers_of(constructed), strict=True):
        for (name, weight), given in zip(layer.named_parameters(), own.parameters(), strict=True):
            if any(more < fewer for more, fewer in zip(weight.shape, given.shape, strict=True)):
                raise ValueError(
                    f"{name} has shape {tuple(weight.shape)}, needs at least {tuple(given.shape)}"
                )
            weight.zero_()
            weight[tuple(slice(size) for size in given.shape)] = given
        if shape.activation == "gelu" and layer.mlp is not None:
            scale_units(layer.mlp, torch.full_like(layer.mlp.b1, STRETCH))
    return found
