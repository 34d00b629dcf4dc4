"""The unit roundoff and the constant gamma_n of floating-point error analysis; lengths of any size.

A bound's formula is written once, in torch, and evaluated in three ways: in float64, in interval arithmetic
(verify.intervals) and in ball arithmetic (verify.balls), where each torch function encloses its rounding.
What Python computes from floats is rounded out of their sight, so a formula starts its constants with
:func:`number`, and says with :func:`above`, :func:`below` and :func:`approximately` where one end, or any
number near, will do.
In float64 these give back what they are given.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from torch.overrides import handle_torch_function, has_torch_function, has_torch_function_unary

Owner = TypeVar("Owner")
Made = TypeVar("Made")

EXP_ULPS = {torch.float64: 2, torch.float32: 20}
"""Largest error of exp in units in the last place: of vector libraries, and of their fast float32 variant."""


def number(x: float | Fraction) -> Tensor:
    """A float, or a fraction rounded to one, as a tensor without dimensions: torch computes what follows."""
    if has_torch_function_unary(x):
        return handle_torch_function(number, (), x)
    return torch.tensor(float(x), dtype=torch.float64)


def above(x: Tensor) -> Tensor:
    """A number of float64 that is at least x."""
    return handle_torch_function(above, (x,), x) if has_torch_function_unary(x) else x


def below(x: Tensor) -> Tensor:
    """A number of float64 that is at most x."""
    return handle_torch_function(below, (x,), x) if has_torch_function_unary(x) else x


def approximately(x: Tensor) -> Tensor:
    """A number of float64 near x, where the formula holds with any."""
    return handle_torch_function(approximately, (x,), x) if has_torch_function_unary(x) else x


def sum_above(a: Tensor, b: Tensor) -> Tensor:
    """At least ``a + b``: their sum where float64 holds it, else the float above.

    What rounding leaves of a sum is a float, found by Knuth's six operations.
    """
    if has_torch_function((a, b)):
        return handle_torch_function(sum_above, (a, b), a, b)
    total = a + b
    of_b = total - a
    left = (a - (total - of_b)) + (b - of_b)
    return torch.where(left > 0, torch.nextafter(total, torch.full_like(total, math.inf)), total)


def or_infinity(x: Tensor) -> Tensor:
    """x, and infinity in place of what is no number: nothing is claimed there."""
    return x.nan_to_num(math.inf, math.inf)


def rounded_difference(x: Tensor, c: float, dtype: torch.dtype) -> Tensor:
    """``fl(x - c)``, rounded once to ``dtype``, in float64; of a ball, what rounding its numbers may give.

    One function, since the difference itself is no float: an arithmetic that first enclosed it would lose the
    last digit, which is what is asked for.
    """
    if has_torch_function_unary(x):
        return handle_torch_function(rounded_difference, (x,), x, c, dtype)
    return (x - c).to(dtype).to(torch.float64)


def unrounded(compute: Callable[[], Made]) -> Made:
    """``compute()`` in torch's own floats, in ball arithmetic too: data, and runs that a bound is about."""
    if has_torch_function_unary(compute):
        return handle_torch_function(unrounded, (), compute)
    return compute()


def remembered(owner: Owner, name: str, compute: Callable[[Owner], Made]) -> Made:
    """``compute(owner)``, under that name once for each owner, in ball arithmetic once for each precision."""
    if has_torch_function_unary(owner):
        return handle_torch_function(remembered, (), owner, name, compute)
    known = _KNOWN.setdefault(owner, {})
    if name not in known:
        known[name] = compute(owner)
    return known[name]


_KNOWN: WeakKeyDictionary[Any, dict[str, Any]] = WeakKeyDictionary()


def upward(x: float) -> float:
    """At least the real number of which x is the correctly rounded value."""
    return math.nextafter(x, math.inf)


def unit_roundoff(dtype: torch.dtype) -> float:
    """Largest relative error of one correctly rounded operation: 2^-53 for float64, 2^-24 for float32."""
    return torch.finfo(dtype).eps / 2


def gamma(n: float, u: float) -> float:
    """``gamma_n = n u / (1 - n u)``, rounded up: n operations keep their result within a factor 1 +- gamma_n.

    Source: Higham, Accuracy and Stability of Numerical Algorithms, Lemma 3.1. It holds for any order of
    summation and with or without fused multiply-add.

    Raises:
        ValueError: ``n u >= 1``, where the analysis says nothing.
    """
    if not n * u < 1:
        raise ValueError(f"{n:g} operations at unit roundoff {u:g} exceed the range n u < 1 of the analysis")
    if n * u == 0:  # exact arithmetic
        return 0.0
    # n u is exact, u being a power of two; 1 - n u is taken below its value, the quotient above.
    return upward(n * u / math.nextafter(1 - n * u, 0))


def length(v: Tensor) -> Tensor:
    """``|v|_2`` over the last axis, (..., d) -> (...): no square of an entry under- or overflows.

    Entries are divided by the largest one first; what is then flushed is below 1e-154 of the result.
    """
    if has_torch_function_unary(v):
        return handle_torch_function(length, (v,), v)
    largest = v.abs().amax(-1, keepdim=True)
    return (v / torch.where(largest > 0, largest, 1.0)).norm(dim=-1) * largest[..., 0]
