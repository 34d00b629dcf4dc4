"""Sets of vectors ``centre + sum_j xi_j g_j``, all ``|xi_j| <= 1``: what a linear map does to them is exact.

A box that a matrix turns is no box, and boxes around boxes grow at every step even where the map contracts.
Here the symbols ``xi_j`` are kept: a product of matrices acts on the generators as the product does, and what
the symbols share (the same point of the data, in every step) still cancels. What is not known exactly, the
intervals of the matrix and every rounding, becomes one new symbol a coordinate.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from verify.certify.regions.intervals import Array, Interval, concatenate


@dataclass(frozen=True, eq=False)
class Zonotope:
    """``{centre + generators xi}`` for xi in ``[-1, 1]^g``.

    Attributes:
        centre: (n,). generators: (n, g), a column a symbol; the first ones may be shared with another set.
    """

    centre: Array
    generators: Array

    @classmethod
    def point(cls, dims: int) -> Zonotope:
        """0 alone, without symbols."""
        return cls(np.zeros(dims), np.zeros((dims, 0)))

    def hull(self) -> Interval:
        """(n,) the box around it."""
        reach = Interval.exact(np.abs(self.generators)).sum(1).hi
        return Interval.exact(self.centre) + Interval.symmetric(reach)

    def plus_box(self, box: Interval) -> Zonotope:
        """The sums with the numbers of a box (n,), whose coordinates get a symbol each where they move."""
        return _of(Interval.exact(self.centre) + box, Interval.exact(self.generators))

    def mapped(
        self, matrix: Interval, moved: Interval | None = None, box: Interval | None = None
    ) -> Zonotope:
        """``M z + sum_j xi_j moved_j + b`` for one M of ``matrix``, b of ``box``, z of this set.

        Args:
            matrix: (n, n). moved: (n, s) generators added to those of the first s symbols. box: (n,).
        """
        centre = matrix.matmul(Interval.exact(self.centre[:, None]))[:, 0]
        generators = matrix.matmul(Interval.exact(self.generators))
        if moved is not None:
            shared = moved.shape[1]
            generators = concatenate([generators[:, :shared] + moved, generators[:, shared:]], 1)
        return _of(centre if box is None else centre + box, generators)

    def within(self, box: Interval) -> Zonotope:
        """The same set, or one around its part in ``box``: a row that is wider than the box takes it."""
        hull = self.hull()
        wider = (hull.hi - hull.lo) > (box.hi - box.lo)
        if not wider.any():
            return self
        centre = np.where(wider, box.middle, self.centre)
        own = np.where(wider, box.radius(), 0.0)
        kept = np.where(wider[:, None], 0.0, self.generators)
        return Zonotope(centre, np.concatenate([kept, np.diag(own)[:, own > 0]], 1))


def _of(centre: Interval, generators: Interval) -> Zonotope:
    """Middles as they are; what is around them, in a new symbol a coordinate."""
    around = concatenate([centre[:, None], generators], 1)
    own = Interval.exact(around.radius()).sum(1).hi
    return Zonotope(centre.middle, np.concatenate([generators.middle, np.diag(own)[:, own > 0]], 1))
