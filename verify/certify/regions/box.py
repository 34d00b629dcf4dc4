"""What a region is: a box of points, and of weights and means to start from."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from constructions.em.constructed import ConstructedEM
from constructions.em.unit import EMConstruction
from verify.certify.regions.intervals import Array, Interval


@dataclass(frozen=True, eq=False)
class Box:
    """All tasks with points, weights and means in these intervals; each number moves by itself.

    Attributes:
        points: (N, d). weights: (K,), above 0, of any sum. means: (K, d).
    """

    points: Interval
    weights: Interval
    means: Interval

    @classmethod
    def around(
        cls,
        points: Any,
        weights: Any,
        means: Any,
        radius: float = 0.0,
        weight_radius: float = 0.0,
        mean_radius: float = 0.0,
    ) -> Box:
        """All within the radii of given numbers (arrays or tensors), coordinate by coordinate.

        Raises:
            ValueError: sizes that do not fit, a number that is not finite, a negative radius, a weight whose
                interval reaches 0.
        """
        centres = [np.array(values, dtype=np.float64) for values in (points, weights, means)]
        radii = {"radius": radius, "weight_radius": weight_radius, "mean_radius": mean_radius}
        for name, value in radii.items():
            if not 0 <= value < math.inf:
                raise ValueError(f"{name} is {value}; it is 0 or a positive number")
        moved = [
            Interval.exact(centre) + Interval.symmetric(np.float64(value) * np.ones(centre.shape))
            for centre, value in zip(centres, (radius, weight_radius, mean_radius), strict=True)
        ]
        return cls(*moved)

    def __post_init__(self) -> None:
        shapes = tuple(part.shape for part in (self.points, self.weights, self.means))
        if [len(shape) for shape in shapes] != [2, 1, 2]:
            raise ValueError(f"shapes are {shapes}; (N, d), (K,) and (K, d) are needed")
        (N, d), (K,), means = shapes
        if means != (K, d) or not K or not d or N < K:
            raise ValueError(f"shapes are {shapes}; (N, d), (K,) and (K, d) with N >= K are needed")
        for name, part in (("points", self.points), ("weights", self.weights), ("means", self.means)):
            ends = np.stack([part.lo, part.hi])
            if not np.isfinite(ends).all() or not (part.lo <= part.hi).all():
                raise ValueError(f"{name} have an interval that is empty or not finite")
        if not (self.weights.lo > 0).all():
            raise ValueError(f"weights reach down to {self.weights.lo.min():g}; above 0 is needed")

    @property
    def shape(self) -> tuple[int, int, int]:
        """N, d, K."""
        (N, d), K = self.points.shape, len(self.weights.lo)
        return N, d, K

    def check(self, em: ConstructedEM) -> EMConstruction:
        """The construction, if the box lies within its hypotheses.

        Raises:
            TypeError: not a construction of unit covariances. ValueError: d, K or a coordinate too large, a
                weight that may be at the floor.
        """
        if not isinstance(em, EMConstruction):
            raise TypeError(f"em is a {type(em).__name__}; a construction of unit covariances is needed")
        _, d, K = self.shape
        for name, value, most in (("d", d, em.max_dim), ("K", K, em.max_components)):
            if value > most:
                raise ValueError(f"{name} is {value}; {em.construction.name} takes at most {most}")
        total = Interval.exact(self.weights.hi).sum(0).hi
        if not (self.weights.lo > (Interval.exact(em.floor) * Interval.exact(total)).hi).all():
            least = float(self.weights.lo.min() / total)
            raise ValueError(f"a share of weights reaches {least:g}; above the floor {em.floor:g} is needed")
        reach = max(float(self.points.size.max()), float(self.means.size.max()))
        if reach > em.radius:
            raise ValueError(f"a coordinate reaches {reach:g}; the construction's radius is {em.radius:g}")
        return em

    def ranges(self) -> Array:
        """Lengths of all intervals in one row: points, weights, means."""
        return np.concatenate([(p.hi - p.lo).ravel() for p in (self.points, self.weights, self.means)])

    def halves(self, place: int) -> tuple[Box, Box]:
        """The two boxes that the interval at ``place`` of :meth:`ranges` is cut into."""
        parts = [self.points, self.weights, self.means]
        sizes = np.cumsum([part.lo.size for part in parts])
        which = int(np.searchsorted(sizes, place, side="right"))
        at = place - (int(sizes[which - 1]) if which else 0)
        lower, upper = list(parts), list(parts)
        lo, hi = parts[which].lo.copy(), parts[which].hi.copy()
        cut = parts[which].middle.flat[at]
        hi.flat[at], lo.flat[at] = cut, cut
        lower[which], upper[which] = Interval(parts[which].lo, hi), Interval(lo, parts[which].hi)
        return Box(*lower), Box(*upper)
