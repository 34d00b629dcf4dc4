"""Euclidean lengths of balls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from verify.balls import numbers
from verify.balls.array import Balls, NotInBallsError, balls, rows
from verify.balls.numbers import ZERO

Function = Callable[..., Any]


def length(v: Tensor) -> Balls:
    """The Euclidean length over the last axis."""
    lines, left, _ = rows(v, -1)
    return Balls.of([numbers.root(sum(map(numbers.square, line), ZERO)) for line in lines], left)


def vector_norm(
    x: Tensor,
    ord: float = 2,  # noqa: A002 - torch's name
    dim: Any = None,
    keepdim: bool = False,
    **_: Any,
) -> Balls:
    """``torch.linalg.vector_norm``."""
    if ord != 2:
        raise NotInBallsError(f"a norm of order {ord}")
    lines, left, ones = rows(x, dim)
    found = [numbers.root(sum(map(numbers.square, line), ZERO)) for line in lines]
    return Balls.of(found, ones if keepdim else left)


def norm(x: Tensor, p: Any = 2, dim: Any = None, keepdim: bool = False, **_: Any) -> Balls:
    """``x.norm``."""
    return vector_norm(x, 2 if p in (None, "fro") else p, dim, keepdim)


def distances(a: Tensor, b: Tensor, p: float = 2, compute_mode: str = "") -> Balls:
    """``torch.cdist``."""
    if p != 2:
        raise NotInBallsError(f"distances of order {p}")
    return length(balls(a)[..., :, None, :] - balls(b)[..., None, :, :])
