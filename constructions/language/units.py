"""Hidden units of an MLP layer ``h <- h + relu(h W_1 + b_1) W_2 + b_2``: what every part of it is made of."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from constructions.language.curves import Array
from constructions.language.shown import short_repr

Columns = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Units:
    """Hidden units, each writing one column, and the constants they add.

    Attributes:
        reads, writes: (H,) column indices.
        gains: (H,) entry of W_1. biases: (H,) entry of b_1. weights: (H,) entry of W_2.
        offsets: column -> amount added to b_2.
        second_reads, second_gains: (H,) a second column that each unit reads, or empty.
    """

    reads: Columns
    writes: Columns
    gains: Array
    biases: Array
    weights: Array
    offsets: dict[int, float]
    second_reads: Columns = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    second_gains: Array = field(default_factory=lambda: np.empty(0))

    __repr__ = short_repr


def check_scale(scale: float) -> None:
    if not math.isfinite(scale):
        raise ValueError(f"scale is {scale}; it must be finite")
