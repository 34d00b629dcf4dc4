"""How often every loop of the spectral construction runs, and the ranges it is built for."""

from __future__ import annotations

import math
from dataclasses import dataclass

from constructions.language.arguments import check_number, check_whole
from constructions.language.shown import short_repr
from constructions.spectral.moments import stretches_needed
from constructions.spectral.stream import ReadIn, VarianceKind, check_kind


@dataclass(frozen=True)
class Plan:
    """Numbers of a spectral construction. The layers of a loop are stored once, whatever the number.

    Attributes:
        max_dim, max_components: d0 and K0 <= d0.
        read_in: "products", x and x x^T, or "squares", x alone.
        variance: "given", or "estimated" as the least eigenvalue of the covariance.
        rounds: of subspace iteration; each multiplies the error by |eigenvalue K + 1| / eigenvalue K.
        steps: of the power iteration, before and after the best start is chosen. starts: S.
        eigenvalues: range of the K largest eigenvalues of M2. condition: most of the largest over the K-th.
        tensor_bound: of |T|: at least 1 / sqrt(least weight) and more for small samples.
        largest_variance: most of s. margin: scores of starts that are as near as this may be mixed.
        pieces, reach: of the squares, for sums and differences of two coordinates of y of at most reach.
        inversions, inverse_steps, squarings: of the estimated variance.
        whitenings, reciprocals: steps of Newton-Schulz and of Newton that make a number exact.
    """

    max_dim: int
    max_components: int
    read_in: ReadIn = "products"
    variance: VarianceKind = "given"
    rounds: int = 32
    steps: int = 30
    starts: int = 10
    eigenvalues: tuple[float, float] = (1e-2, 1e4)
    condition: float = 1e4
    tensor_bound: float = 64.0
    largest_variance: float = 2.0
    margin: float = 2.0**-20
    pieces: int = 8192
    reach: float = 16.0
    inversions: int = 28
    inverse_steps: int = 50
    squarings: int = 10
    whitenings: int = 7
    reciprocals: int = 22

    __repr__ = short_repr

    def __post_init__(self) -> None:
        names = "max_dim max_components rounds steps starts pieces inversions inverse_steps squarings"
        check_whole(**{name: getattr(self, name) for name in f"{names} whitenings reciprocals".split()})
        check_kind("read_in", self.read_in, ReadIn)
        check_kind("variance", self.variance, VarianceKind)
        if self.max_components > self.max_dim:
            raise ValueError(
                f"max_components is {self.max_components}; at most max_dim = {self.max_dim}: more means are "
                "linearly dependent"
            )
        for name in ("condition", "tensor_bound", "largest_variance", "margin", "reach"):
            value = getattr(self, name)
            check_number(**{name: value})
            if not 0 < value < math.inf:
                raise ValueError(f"{name} is {value!r}; it is positive and finite")
        low, high = self.eigenvalues
        check_number(low=low, high=high)
        if not 0 < low < high < math.inf:
            raise ValueError(f"eigenvalues is {self.eigenvalues}; two numbers, 0 < low < high, are needed")
        if self.variance == "estimated" and not self.largest_variance < high:
            raise ValueError(
                f"largest_variance is {self.largest_variance!r}; to estimate the variance it must be "
                f"below the largest eigenvalue, {high:g}"
            )
        if self.condition < 1:
            raise ValueError(
                f"condition is {self.condition!r}; the largest eigenvalue over the K-th is at least 1"
            )

    @property
    def gate(self) -> float:
        """Bound of the entries of W and of W m: |W| <= 1 / sqrt(low), and |W m|^2 <= 1 + s |W|^2."""
        return ((1 + self.largest_variance) / min(self.eigenvalues[0], 1.0)) ** 0.5 * 1.1

    @property
    def corrections(self) -> int:
        """Steps of a round that bring the singular values of Y back to [9/16, 1]."""
        return stretches_needed(9 / 16 / (self.condition * self.max_components**0.5))

    @property
    def stretches(self) -> int:
        """Steps that bring the singular values of the whitened rows to [9/16, 1]."""
        low, high = self.eigenvalues
        return stretches_needed(9 / 16 * (low / high) ** 0.5)

    @property
    def handicap(self) -> float:
        """Taken from the score of each start more than from that of the one before it."""
        return 1.5 * self.margin

    @property
    def first_reciprocal(self) -> float:
        """Where Newton's iteration for 1 / p starts: 1 over the largest p that it serves."""
        return self.tensor_bound**-2

    @property
    def sum_bound(self) -> float:
        """Of the sum of lambda^-2 over all components."""
        return min(self.max_components / self.least_tensor_eigenvalue**2, self.tensor_bound**2)

    @property
    def least_tensor_eigenvalue(self) -> float:
        """Of lambda^2 and of sum lambda^-2: from its square on, Newton's defect falls below 2^-60.

        The defect is (1 - p start)^(2^steps), at most e^(-p start 2^steps).
        """
        return (42.0 * self.tensor_bound**2 / 2.0**self.reciprocals) ** 0.5

    @property
    def least_variance(self) -> float:
        """From which eigenvalue of the covariance on Newton's inverse has a defect below 2^-60."""
        return 42.0 * self.eigenvalues[1] / 2.0**self.inversions
