"""Tokens as rows of balls. Equal balls are one object, so that equal tokens are told by identity, at once."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from verify.balls.flint import arb

Row = list[arb]
Rows = list[Row]
"""N rows of D balls; real tokens only."""

Name = tuple[int, ...]
"""What tells one tuple of balls from another while these live."""


class Pool:
    """Balls that are kept, each once.

    Two numbers of one ball need not be equal. What is computed of a ball holds the result for either, and a
    sum of m numbers of a ball lies in m times the ball: so it is enough to compute once.
    """

    def __init__(self) -> None:
        self._floats = _Floats(self)
        self._balls: dict[tuple[object, ...], arb] = {}

    def number(self, x: float) -> arb:
        """A float, exactly."""
        return self._floats[x]

    def keep(self, ball: arb) -> arb:
        """The object that stands for this ball; a ball that is not finite stands for itself."""
        if not ball.is_finite():
            return ball
        name = ball.man_exp() if ball.is_exact() else (*ball.mid().man_exp(), *ball.rad().man_exp())
        return self._balls.setdefault(name, ball)

    def rows(self, h: Tensor, mask: Tensor | None = None) -> Rows:
        """The real tokens of one task h (N, D); ``mask`` (N,) is True at them.

        Raises:
            ValueError: not two axes.
        """
        if h.ndim != 2:
            raise ValueError(f"tokens of one task are (N, D), got {tuple(h.shape)}")
        numbers = (h if mask is None else h[mask]).detach().double().tolist()
        known = self._floats
        return [[known[x] for x in row] for row in numbers]


class _Floats(dict[float, arb]):
    """The balls of floats that were met."""

    def __init__(self, pool: Pool) -> None:
        super().__init__()
        self.pool = pool

    def __missing__(self, x: float) -> arb:
        ball = self[x] = self.pool.keep(arb(x))
        return ball


def name(row: Sequence[arb], columns: Sequence[int]) -> Name:
    """The same for rows that hold the same balls in these columns."""
    return tuple([id(row[column]) for column in columns])
