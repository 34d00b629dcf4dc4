"""Inverse square root and square root of a symmetric positive definite matrix, one layer a step.

    Y <- Y (3 I - Z Y) / 2 = (3 Y - Y Z Y) / 2        from  Y = a A
    Z <- (3 I - Z Y) Z / 2 = (3 Z - Z Y Z) / 2              Z = a I

the coupled Newton-Schulz iteration: both products of three factors are one layer, of eight ReLU heads. In
exact arithmetic Y and Z are functions of A with ``Y = A Z``; ``s = z sqrt(lambda)`` of each eigenvalue
follows ``s <- s (3 - s^2)/2`` and tends to 1 from any start below sqrt(3), so Z tends to A^-1/2 and Y to
A^1/2, with nothing to rescale at the end. The first step is the layer that starts. Bounds:
constructions/matrices/schulz_error.py.

Source: Denman and Beavers 1976, Higham 1997 (the coupled form, which is stable); one layer a step:
paper_notes/matrix_machine.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from constructions.language.arguments import check_number, check_whole
from constructions.language.assembly import Construction, Layer
from constructions.language.mlp import clear, move
from constructions.language.program import Repeat, in_order
from constructions.language.shown import short_repr
from constructions.language.stream import Block, Stream
from constructions.matrices.machine import MatrixAlgorithm
from constructions.matrices.products import scaled, times, total, triple
from constructions.matrices.schulz_error import SqrtError, best_root_start, inverse_sqrt_error

SOURCE = "coupled Newton-Schulz (Higham 1997); one ReLU layer a step, paper_notes/matrix_machine.md"


@dataclass(frozen=True)
class RootBlocks:
    """The blocks of the iteration, all as wide as ``ids``.

    Attributes:
        ids: one-hot over all rows. A: the matrix. Y, Z: tend to A^1/2 and A^-1/2.
        Y_spare, Z_spare: empty before and after every layer.
    """

    ids: Block
    A: Block
    Y: Block
    Z: Block
    Y_spare: Block
    Z_spare: Block

    __repr__ = short_repr


def newton_schulz_layer(b: RootBlocks) -> Layer:
    """``Y <- (3 Y - Y Z Y)/2`` and ``Z <- (3 Z - Z Y Z)/2``: 8 heads.

    Y and Z are symmetric but for rounding. Where they are diagonal it is ``z <- z (3 - a z^2)/2`` for every
    entry.
    """
    heads = tuple(
        total(scaled(b.ids, one, spare, 1.5), triple(one, other, one, spare, -0.5))
        for one, other, spare in ((b.Y, b.Z, b.Y_spare), (b.Z, b.Y, b.Z_spare))
    )
    mlp = (clear(b.Y), move(b.Y_spare, b.Y), clear(b.Z), move(b.Z_spare, b.Z))
    return Layer("Newton-Schulz", heads, mlp)


def root_start_layer(b: RootBlocks, a: float) -> Layer:
    """``Y = (3 a A - a^3 A^2)/2`` and ``Z = (3 a I - a^3 A)/2``: the first step, 8 heads."""
    linear, cubic = 1.5 * a, -0.5 * a**3
    Y = total(scaled(b.ids, b.A, b.Y, linear), times(b.A, b.ids, b.A, b.Y, cubic))
    Z = total(scaled(b.ids, b.ids, b.Z, linear), scaled(b.ids, b.A, b.Z, cubic))
    return Layer("start", (Y, Z))


def inverse_sqrt_steps(b: RootBlocks, a: float, steps: int) -> list[Layer | Repeat]:
    """Y, Z = the result of ``steps`` steps from ``a A, a I``: as many layers, two of them different.

    Args:
        b: Y, Z and the spare blocks are empty. a: with ``a^2`` times the largest eigenvalue below 3.

    Raises:
        ValueError: ``a`` not positive and finite, or steps not a whole number from 1 on.
    """
    check_whole(steps=steps)
    check_number(a=a)
    if not 0 < a < math.inf:
        raise ValueError(f"a is {a!r}; the iteration starts from a positive multiple of I")
    more = [Repeat(steps - 1, (newton_schulz_layer(b),))] if steps > 1 else []
    return [root_start_layer(b, a), *more]


@dataclass(frozen=True, eq=False)
class InverseSqrt(MatrixAlgorithm):
    """The weights, made by :func:`inverse_sqrt_construction`; results are A^-1/2 and A^1/2.

    Attributes:
        a: the start is ``a A, a I``. newton_steps: t.
    """

    a: float
    newton_steps: int

    __repr__ = short_repr

    def error(self, size: int, dtype: torch.dtype | None = None) -> SqrtError:
        """The bound for matrices of one size; see :func:`inverse_sqrt_error`."""
        return inverse_sqrt_error(size, self.low, self.high, self.a, self.newton_steps, dtype)


def inverse_sqrt_construction(size: int, low: float, high: float, steps: int) -> InverseSqrt:
    """Z = A^-1/2 and Y = A^1/2 for symmetric n x n matrices A, n <= size, eigenvalues in ``[low, high]``.

    Args:
        size: n0; one construction serves every n up to it. steps: t; as many layers.

    Raises:
        ValueError: a number outside its range, named in the message.
    """
    check_whole(size=size, steps=steps)
    a = best_root_start(low, high)
    s = Stream(ids=size, A=size, Y=size, Z=size, Y_spare=size, Z_spare=size)
    blocks = RootBlocks(s.ids, s.A, s.Y, s.Z, s.Y_spare, s.Z_spare)
    layers, order = in_order(*inverse_sqrt_steps(blocks, a, steps))
    name = f"inverse square root, {steps} step{'s' if steps > 1 else ''}, n <= {size}"
    construction = Construction(name, SOURCE, s, (s.ids, s.A), layers, order=order)
    return InverseSqrt(construction, size, low, high, (s.Z, s.Y), a, steps)
