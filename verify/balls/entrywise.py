"""Functions of balls entry by entry: arithmetic, comparisons, choices; and what a ball refuses."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from verify.balls import numbers
from verify.balls.array import Balls, NotInBallsError, balls, broadcast, entries_of, plain, shape_of, spread
from verify.balls.curves import curve_between
from verify.balls.flint import arb
from verify.balls.numbers import ONE, ZERO, ends

Function = Callable[..., Any]


def of_one(function: Callable[[arb], arb]) -> Function:
    """Entry by entry."""

    def found(x: Tensor, **_: Any) -> Balls:
        return Balls.of([function(entry) for entry in entries_of(x)], shape_of(x))

    return found


def of_two(function: Callable[[arb, arb], arb], swapped: bool = False) -> Function:
    """Entry by entry of two arrays in their common shape."""

    def found(a: Tensor | float, b: Tensor | float) -> Balls:
        if isinstance(b, (int, float)) and isinstance(a, Balls):
            c = arb(b)
            if swapped:
                return Balls.of([function(c, x) for x in a.entries], shape_of(a))
            return Balls.of([function(x, c) for x in a.entries], shape_of(a))
        (first, second), shape = broadcast(b, a) if swapped else broadcast(a, b)
        return Balls.of(list(map(function, first, second)), shape)

    return found


def decision(function: Callable[[arb, arb], bool], swapped: bool = False, negated: bool = False) -> Function:
    """A comparison, decided at every entry."""

    def found(a: Tensor | float, b: Tensor | float) -> Tensor:
        (first, second), shape = broadcast(b, a) if swapped else broadcast(a, b)
        answers = [function(x, y) != negated for x, y in zip(first, second, strict=True)]
        return truths(answers, shape)

    return found


def truths(answers: list[bool], shape: tuple[int, ...]) -> Tensor:
    """A tensor of them."""
    with torch._C.DisableTorchFunction():
        return torch.tensor(answers, dtype=torch.bool).reshape(shape)


def property_of(function: Callable[[arb], bool]) -> Function:
    """A property of every entry."""

    def found(x: Tensor) -> Tensor:
        return truths([function(entry) for entry in entries_of(x)], shape_of(x))

    return found


def is_nan(x: arb) -> bool:
    """Whether a ball is no number; undecided of one that may hold any."""
    if x.is_nan() or x.is_finite() or numbers.infinite(x):
        return x.is_nan()
    raise numbers.Undecided


def power(x: Tensor | float, exponent: Tensor | float) -> Balls:
    """``x ** exponent``."""
    if isinstance(exponent, (int, float)) and exponent == 2 and isinstance(x, Tensor):
        return of_one(numbers.square)(x)
    if isinstance(exponent, (int, float)) and isinstance(x, Tensor):
        whole = float(exponent).is_integer()
        power = int(exponent) if whole else arb(exponent)
        if whole and exponent >= 0:
            return of_one(lambda entry: entry**power)(x)
        return of_one(lambda entry: ONE / entry**-power if whole else entry**power)(x)
    return of_two(lambda a, b: a**b)(x, exponent)


def clamped(x: Tensor, min: Any = None, max: Any = None) -> Balls:  # noqa: A002 - torch's names
    """``x.clamp(min, max)``."""
    found = balls(x)
    if min is not None:
        found = of_two(numbers.larger)(found, min)
    return found if max is None else of_two(numbers.smaller)(found, max)


def chosen(condition: Tensor, a: Any = None, b: Any = None) -> Any:
    """``torch.where``."""
    if a is None:
        return plain(torch.where, (condition,), {})
    (first, second), shape = broadcast(a, b)
    with torch._C.DisableTorchFunction():
        whole = torch.broadcast_shapes(shape, condition.shape)
        chosen = condition.expand(whole).reshape(-1).tolist()
    first, second = (spread(part, shape, tuple(whole)) for part in (first, second))
    return Balls.of([x if c else y for c, x, y in zip(chosen, first, second, strict=True)], whole)


def filled_where(x: Tensor, mask: Tensor, value: Any) -> Balls:
    """``x.masked_fill``."""
    return chosen(mask, value, x)


def without_nan(x: Tensor, nan: float = 0.0, posinf: Any = None, neginf: Any = None) -> Balls:
    """``x.nan_to_num`` to infinity."""
    if nan != math.inf or posinf not in (None, math.inf) or neginf is not None:
        raise NotInBallsError(f"nan_to_num to {nan}: only inf, of which nothing is claimed, is known")
    return of_one(lambda entry: entry if entry.is_finite() else numbers.INFINITY)(x)


def cast(x: Tensor, *args: Any, **kwargs: Any) -> Any:
    """``x.to``; balls stay float64."""
    wanted = next((a for a in (*args, *kwargs.values()) if isinstance(a, torch.dtype)), None)
    if not isinstance(x, Balls):
        return plain(Tensor.to, (x, *args), kwargs)
    if wanted in (None, torch.float64):
        return x
    raise NotInBallsError(f"balls cannot be made {wanted}")


def double(x: Tensor) -> Any:
    """``x.double()``."""
    return x if isinstance(x, Balls) else plain(Tensor.double, (x,), {})


def leaves(x: Tensor, *_: Any, **__: Any) -> Any:
    """What would make a Python number or another dtype of a ball."""
    raise NotInBallsError("a ball is no Python number; say above, below or approximately first")


def some(x: Tensor, dim: Any = None, keepdim: bool = False) -> Tensor:
    """``x.any``."""
    return plain(torch.any, (_nonzero(x), *(() if dim is None else (dim, keepdim))), {})


def every(x: Tensor, dim: Any = None, keepdim: bool = False) -> Tensor:
    """``x.all``."""
    return plain(torch.all, (_nonzero(x), *(() if dim is None else (dim, keepdim))), {})


def _nonzero(x: Tensor) -> Tensor:
    return truths([not numbers.same(entry, ZERO) for entry in entries_of(x)], shape_of(x))


def rounded(x: Tensor, dtype: torch.dtype) -> Balls:
    """Rounding is monotone: what it makes of the ends of a ball encloses what it makes of the ball."""
    nearest = [[float(end.mid()) for end in (entry.lower(), entry.upper())] for entry in entries_of(x)]
    with torch._C.DisableTorchFunction():
        both = torch.tensor(nearest, dtype=torch.float64)
        if dtype != torch.float64:  # by way of float64 numbers on either side of the ends
            outer = [ends(entry) for entry in entries_of(x)]
            both = torch.tensor(outer, dtype=torch.float64).to(dtype).to(torch.float64)
        both = both.reshape(-1, 2).tolist()
    return Balls.of(
        [arb(low) if low == high else arb(low).union(arb(high)) for low, high in both], shape_of(x)
    )


def interpolated(function: Any, x: Tensor) -> Balls:
    """A piecewise function of balls."""
    return of_one(curve_between(function.knots, function.values))(x)
