"""The inverse of a symmetric positive definite matrix by Newton's iteration, one layer a step.

    X <- X (2 I - A X) = 2 X - X A X,        I - A X <- (I - A X)^2

The three factors of X A X are one score and one value (A is symmetric), so a step is one layer of four ReLU
heads. From ``X = a I``, with ``a = 2 / (low + high)``, the residual starts below
``(high - low) / (high + low) < 1`` and is squared by every step; the first step is the layer that starts:
``2 a I - a^2 A``. The layers are the same at every step, so parameters do not grow with their number.

Rounding: let r be the residual of the exact X, which lies between 0 and ``min(2^t a, 1/low)`` after t steps,
and let delta bound the distance of the computed one, spectral norm. If a step writes ``2 X - X A X + D`` then

    delta <- 2 r delta + high delta^2 + |D|_F,      |D|_F <= gamma_{2n+10} (sqrt(n) high x^2 + 3 x)

with ``x = sqrt(n) (min(2^t a, 1/low) + delta) >= |X|_F`` and n tokens; and ``|X - A^-1| <= r / low + delta``.
Every entry is at most that far off.

Source: Schulz 1933; for transformers arXiv 2301.13196, and 2403.03183 with two linear-attention layers a
step. One layer a step: paper_notes/matrix_machine.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from constructions.language.arguments import check_number, check_whole
from constructions.language.assembly import Construction, Layer
from constructions.language.fewest import fewest
from constructions.language.mlp import clear, move
from constructions.language.program import Repeat, in_order
from constructions.language.rounding import gamma, unit_roundoff
from constructions.language.shown import short_repr
from constructions.language.stream import Block, Stream
from constructions.matrices.machine import MatrixAlgorithm, check_range
from constructions.matrices.products import scaled, total, triple

SOURCE = "Newton's inverse (Schulz 1933); one ReLU layer a step, paper_notes/matrix_machine.md"


def newton_layer(ids: Block, A: Block, X: Block, spare: Block) -> Layer:
    """``X <- 2 X - X A X`` for a symmetric A: 4 heads. ``spare``, as wide as X, is empty before and after.

    Where A and X are diagonal it is ``x <- x (2 - a x)`` for every entry; where both have rows of zeros,
    these stay.
    """
    step = total(scaled(ids, X, spare, 2.0), triple(X, A, X, spare, -1.0))
    return Layer("Newton", (step,), (clear(X), move(spare, X)))


def start_layer(ids: Block, A: Block, X: Block, a: float) -> Layer:
    """``X = 2 a I - a^2 A``: the first step from ``a I``. 4 heads."""
    return Layer("start", (total(scaled(ids, ids, X, 2 * a), scaled(ids, A, X, -a * a)),))


def inverse_steps(ids: Block, A: Block, X: Block, spare: Block, a: float, steps: int) -> list[Layer | Repeat]:
    """X = the result of ``steps`` Newton steps from ``a I``: as many layers, two of them different.

    Args:
        ids: one-hot over all rows. A: symmetric, its eigenvalues between 0 and 2/a. X, spare: empty.

    Raises:
        ValueError: ``a`` not positive and finite, or steps not a whole number from 1 on.
    """
    check_whole(steps=steps)
    check_number(a=a)
    if not 0 < a < math.inf:
        raise ValueError(f"a is {a!r}; the iteration starts from a positive multiple of I")
    more = [Repeat(steps - 1, (newton_layer(ids, A, X, spare),))] if steps > 1 else []
    return [start_layer(ids, A, X, a), *more]


def best_start(low: float, high: float) -> float:
    """``2 / (low + high)``, at which ``max |1 - a lambda|`` is least, rounded to float32.

    Raises:
        ValueError: unless ``0 < low <= high``.
    """
    check_range(low, high)
    return float(torch.tensor(2 / (low + high), dtype=torch.float32))


@dataclass(frozen=True)
class InverseError:
    """Bounds after the last step, in the spectral norm; inf where nothing is claimed.

    Attributes:
        approximation: on ``|X - A^-1|`` in exact arithmetic. rounding: what a dtype adds, delta.
    """

    approximation: float
    rounding: float

    @property
    def total(self) -> float:
        """Bound on ``|X - A^-1|``."""
        return self.approximation + self.rounding


def start_residual(low: float, high: float, a: float) -> float:
    """``max |1 - a lambda|`` over the eigenvalues."""
    return max(abs(1 - a * low), abs(1 - a * high))


def inverse_error(
    size: int, low: float, high: float, a: float, steps: int, dtype: torch.dtype | None = None
) -> InverseError:
    """The bound after ``steps`` steps from ``a I``; with no dtype in exact arithmetic, ``r^(2^t) / low``.

    Raises:
        ValueError: unless ``0 < low <= high`` and steps is a whole number from 1 on.
    """
    check_whole(size=size, steps=steps)
    check_range(low, high)
    r, delta, largest = start_residual(low, high, a), 0.0, a
    if not r < 1:
        return InverseError(math.inf, math.inf)
    for step in range(steps):
        rounding = 0.0
        if dtype is not None:
            x = math.sqrt(size) * (largest + delta)
            rounding = _step_rounding(size, high, x, dtype) if step else _start_rounding(size, high, a, dtype)
        delta = 2 * r * delta + high * delta**2 + rounding
        r, largest = r * r, min(2 * largest, 1 / low)
        if not delta < 1e100:
            return InverseError(r / low, math.inf)
    return InverseError(r / low, delta)


def _start_rounding(n: int, high: float, a: float, dtype: torch.dtype) -> float:
    """``|D|_F`` of ``2 a I - a^2 A``."""
    return gamma(8, unit_roundoff(dtype)) * math.sqrt(n) * (2 * a + a * a * high)


def _step_rounding(n: int, high: float, x: float, dtype: torch.dtype) -> float:
    """``|D|_F`` of one step from ``|X|_F <= x``, and the underflow of n^3 products."""
    lost = n**3 * (2 + x) * torch.finfo(dtype).tiny
    return gamma(2 * n + 10, unit_roundoff(dtype)) * (math.sqrt(n) * high * x * x + 3 * x) + lost


def inverse_steps_needed(low: float, high: float, accuracy: float) -> int:
    """The least t with ``|I - A X| <= accuracy``: ``log2(log(accuracy) / log(rho))``, O(log condition).

    Raises:
        ValueError: unless ``0 < low <= high`` and ``0 < accuracy < 1``.
    """
    if not 0 < accuracy < 1:
        raise ValueError(f"accuracy is {accuracy!r}; it lies between 0 and 1")
    rho = start_residual(low, high, best_start(low, high))
    return fewest(lambda t: rho ** (2.0**t) <= accuracy)


def residual_bound(A: Tensor, X: Tensor) -> Tensor:
    """(B,) bound on ``|X - A^-1|`` of any X from its residual: ``|X| |R| / (1 - |R|)``, ``R = I - A X``.

    ``A^-1 - X = X R + A^-1 R^2``, and so on. A, X: (B, n, n); computed in float64, whose rounding
    ``gamma_{n+2} |A|_F |X|_F`` of R is added. inf where ``|R| >= 1``.
    """
    A, X = A.double(), X.double()
    n = A.shape[-1]
    R = torch.eye(n).to(A) - A @ X
    rounding = gamma(n + 2, unit_roundoff(torch.float64)) * (_frobenius(A) * _frobenius(X) + n**0.5)
    size = _frobenius(R) + rounding
    return torch.where(size < 1, torch.linalg.matrix_norm(X, 2) * size / (1 - size), math.inf)


def _frobenius(A: Tensor) -> Tensor:
    return torch.linalg.matrix_norm(A)


@dataclass(frozen=True, eq=False)
class Inverse(MatrixAlgorithm):
    """The weights, made by :func:`inverse_construction`.

    Attributes:
        a: the start is ``a I``. newton_steps: t.
    """

    a: float
    newton_steps: int

    __repr__ = short_repr

    def error(self, size: int, dtype: torch.dtype | None = None) -> InverseError:
        """The bound for matrices of one size; see :func:`inverse_error`."""
        return inverse_error(size, self.low, self.high, self.a, self.newton_steps, dtype)


def inverse_construction(size: int, low: float, high: float, steps: int) -> Inverse:
    """X = A^-1 for symmetric n x n matrices A, n <= size, with eigenvalues in ``[low, high]``.

    Args:
        size: n0; one construction serves every n up to it. steps: t; as many layers.

    Raises:
        ValueError: a number outside its range, named in the message.
    """
    check_whole(size=size, steps=steps)
    a = best_start(low, high)
    s = Stream(ids=size, A=size, X=size, spare=size)
    layers, order = in_order(*inverse_steps(s.ids, s.A, s.X, s.spare, a, steps))
    name = f"Newton's inverse, {steps} step{'s' if steps > 1 else ''}, n <= {size}"
    construction = Construction(name, SOURCE, s, (s.ids, s.A), layers, order=order)
    return Inverse(construction, size, low, high, (s.X,), a, steps)
