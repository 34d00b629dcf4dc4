"""The parts of the error of a softmax step, and the heads that it is an error of."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from constructions.language.shown import short_repr
from constructions.tensor_power.direction import Signed


@dataclass(frozen=True, eq=False)
class SoftmaxError:
    """Parts of the error of one step, each (B, d): what the heads write against ``T(I, v, v)``.

    Attributes:
        exact: approximation and leakage with their signs, up to a width. run: what the known rounding of the
            scores adds to the middle, and the width of all errors together.
    """

    approximation: Tensor
    leakage: Tensor
    rounding: Tensor
    exact: Signed
    run: Signed

    __repr__ = short_repr

    @property
    def total(self) -> Tensor:
        """(B, d) bound on the error."""
        return self.approximation + self.leakage + self.rounding


@dataclass(frozen=True)
class Heads:
    """What the error depends on beside T and v: step size, number of pairs, score of the sink."""

    epsilon: float
    pairs: int
    sink: float
