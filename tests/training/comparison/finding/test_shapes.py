"""The construction in other shapes is the same function, and has all of its own blocks there."""

import dataclasses

import pytest
import torch

from training.comparison.common.random_paths import OriginPurpose
from training.comparison.finding.learning.batches import paths
from training.comparison.finding.learning.cells import Cell
from training.comparison.finding.learning.starts import first_network, shape_of
from training.comparison.finding.measure import blocks_of
from training.comparison.finding.shapes import STRETCH, in_shape, reference_of
from training.comparison.symmetry.group import random_copy
from training.model.balance import balanced

TINY = Cell("tiny", "", "", n_features=1, n_components=2, loops=2)
SHAPES = [
    TINY,
    dataclasses.replace(TINY, heads=4, units=2),
    dataclasses.replace(TINY, activation="gelu"),
    dataclasses.replace(TINY, heads=2, given="E"),
]


def tasks():
    return paths(TINY.problem, 4, OriginPurpose.HELD_OUT, 0)


@pytest.mark.parametrize("cell", SHAPES)
@torch.no_grad()
def test_another_shape_is_the_same_function(cell):
    own = cell.problem.construction.to_transformer()
    h = tasks().tokens.double()
    found, expected = in_shape(own, shape_of(cell))(h), own(h)
    # Zeros add nothing. In GELU every unit is off by 0.17 / c times its weight out, and the four layers pass
    # that on, enlarged by scores and logarithms: 1e4 is above the largest slope (1 / floor) and 10 units.
    limit = 1e4 * 0.17 / STRETCH * 1e2 if cell.activation == "gelu" else 1e-12
    assert float((found - expected).abs().max()) <= limit * max(1.0, float(expected.abs().max()))


@pytest.mark.parametrize("cell", SHAPES)
def test_all_blocks_of_the_theorem_are_there_in_the_construction_and_its_copies(cell):
    reference = reference_of(cell, tasks())
    theorem = blocks_of(reference.compare(reference.constructed))
    assert len(theorem) == 19  # 20 but for log_count: 32 points, 16 of each slot
    copied = random_copy(reference.constructed, torch.Generator().manual_seed(1), reference.slots).transformer
    assert blocks_of(reference.compare(copied), ("has",)) == theorem
    assert len(blocks_of(reference.compare(first_network(cell, 0)), ("has",))) < 15  # the control


def test_balanced_weights_have_the_same_blocks():
    reference = reference_of(TINY, tasks())
    found = reference.compare(balanced(reference.constructed))
    assert len(blocks_of(found, ("has",))) == 19


def test_fewer_heads_are_refused():
    wide = in_shape(TINY.problem.constructed(), shape_of(SHAPES[1]))
    with pytest.raises(ValueError, match="query has shape"):
        in_shape(wide, shape_of(TINY))
