"""How many linear pieces each approximated function of the EM construction gets."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from constructions.language.fewest import fewest

Split = Literal["optimal", "equal"]


@dataclass(frozen=True)
class Pieces:
    """Pieces of the three functions that a step approximates.

    Attributes:
        log_resp: log of the responsibilities. log_pi: log of the weights. square: the squares in ``|mu|^2``.
    """

    log_resp: int
    log_pi: int
    square: int

    def __post_init__(self) -> None:
        for name in ("log_resp", "log_pi", "square"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"pieces of {name} are {value!r}; a whole number, at least 1, is needed")

    @property
    def total(self) -> int:
        """All pieces together."""
        return self.log_resp + self.log_pi + self.square


def log_chord_error(floor: float, pieces: np.ndarray | int) -> np.ndarray:
    """Largest error of M chords of log on geometric knots of [floor, 1].

    With ``z = log(1/floor)/M`` and ``y = z/(e^z - 1)``: ``e = y - 1 - log y``, about ``z^2/8``.
    """
    z = -math.log(floor) / np.asarray(pieces, dtype=np.float64)
    y = z * np.exp(-z) / -np.expm1(-z)
    # Two forms of y - 1 - log y: the first loses its digits where y is small, the second where y is near 1.
    near_one = (y - 1) - np.log1p(np.maximum(y - 1, -0.5))
    small = (y - 1) + (z - np.log(z)) + np.log(-np.expm1(-z))
    return np.where(y > 0.5, near_one, small)


def logit_spread(
    floor: float, radius: float, dim: int, log_pieces: np.ndarray | int, square_pieces: np.ndarray | int
) -> np.ndarray:
    """``S = e(M_log) + d R^2 / (2 M_sq^2)``: how far apart the logit errors of two components can be."""
    return log_chord_error(floor, log_pieces) + dim * radius**2 / (
        2 * np.asarray(square_pieces, dtype=np.float64) ** 2
    )


def apriori_rho(pieces: Pieces, floor: float, radius: float, dim: int) -> float:
    """``rho = S + e(M_log_resp)``, on which the a-priori bound of a step depends."""
    spread = logit_spread(floor, radius, dim, pieces.log_pi, pieces.square)
    return float(spread + log_chord_error(floor, pieces.log_resp))


def relative_error(pieces: Pieces, floor: float, radius: float, dim: int) -> float:
    """``tanh(rho / 4)``: a-priori bound of one step over the diameter of the data.

    The floor's part, ``N floor / W``, is apart from it.
    """
    return math.tanh(apriori_rho(pieces, floor, radius, dim) / 4)


def pieces_for(error: float, floor: float, radius: float, dim: int) -> Pieces:
    """The fewest pieces, best split, with a relative error of a step of at most ``error``."""

    def split(mean: int) -> Pieces:
        return split_pieces(mean, "optimal", floor, radius, dim)

    return split(fewest(lambda mean: relative_error(split(mean), floor, radius, dim) <= error))


def split_pieces(pieces: int, split: Split, floor: float, radius: float, dim: int) -> Pieces:
    """Share ``3 * pieces`` between the three functions.

    ``equal`` gives each the same. ``optimal`` minimises ``rho = S + e(M_log_resp)``, on which the a-priori
    bound of a step depends; the two logarithms are alike and get the same number.

    Raises:
        ValueError: ``pieces`` below 1 or not whole, an unknown split.
    """
    if isinstance(pieces, bool) or not isinstance(pieces, int) or pieces < 1:
        raise ValueError(f"pieces is {pieces!r}; a whole number, at least 1, is needed")
    if split == "equal":
        return Pieces(pieces, pieces, pieces)
    if split != "optimal":
        raise ValueError(f"split is {split!r}; it is 'optimal' or 'equal'")
    log_pieces = np.arange(1, (3 * pieces - 1) // 2 + 1)
    square_pieces = 3 * pieces - 2 * log_pieces
    rho = logit_spread(floor, radius, dim, log_pieces, square_pieces) + log_chord_error(floor, log_pieces)
    best = int(rho.argmin())
    return Pieces(int(log_pieces[best]), int(log_pieces[best]), int(square_pieces[best]))
