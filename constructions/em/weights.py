"""EM in attention weights for every kind of covariance: where a construction is made."""

from __future__ import annotations

from constructions.em.pieces import Pieces, Split
from constructions.em.unit import EMConstruction, unit_construction


def em_construction(
    max_dim: int,
    max_components: int,
    steps: int,
    pieces: int | Pieces,
    floor: float = 1e-8,
    radius: float = 12.0,
    split: Split = "optimal",
) -> EMConstruction:
    """Build L steps of EM for every d <= max_dim, K <= max_components and N >= K.

    Args:
        max_dim, max_components: d0 and K0.
        steps: L; two layers a step, one block of weights applied L times.
        pieces: linear pieces a function on average, ``3 * pieces`` in all, or the exact numbers.
        floor: responsibilities and weights below it are treated as if they were at it; in (0, 1).
        radius: largest absolute coordinate of points and means.
        split: how an integer ``pieces`` is shared; see :func:`split_pieces`. The optimum depends on
            ``max_dim`` and ``radius``; pass :class:`Pieces` to compare constructions of different sizes.

    Raises:
        ValueError: a number outside these ranges, named in the message.
    """
    return unit_construction(max_dim, max_components, steps, pieces, floor, radius, split)
