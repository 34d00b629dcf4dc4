"""Whether a run of floating-point numbers is within its bound: a theorem about that run, or "unknown".

    held      upper end of |states - algorithm|  <=  lower end of the bound        at every item compared
    broken    lower end of |states - algorithm|  >   upper end of the bound        at some item

The states that the layers computed are dyadic rationals, so as inputs they are exact. The algorithm and the
bound's formula are evaluated in balls of more and more bits until every comparison is decided.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from verify.balls.arithmetic import ball_arithmetic
from verify.balls.array import balls, entries_of, lower_ends, plain, shape_of, upper_ends
from verify.balls.flint import FIRST_BITS, MOST_BITS, Undecided
from verify.balls.numbers import less, no_more
from verify.engine.record import quotient
from verify.engine.theorem import States, Theorem

Verdict = Literal["held", "broken", "unknown"]
BITS = tuple(FIRST_BITS * 2**n for n in range((MOST_BITS // FIRST_BITS).bit_length()))
"""Precisions tried, one after another."""


class Interval(NamedTuple):
    """Floats at most and at least a real number."""

    low: float
    high: float


@dataclass(frozen=True)
class Certified:
    """What is certified of one quantity of one task after one step.

    Attributes:
        error, bound: of the item with the least margin. bits: that decided it.
        items: compared. claimed: of them with a finite bound; where none is, nothing is claimed, and "held"
            says no more than that.
    """

    verdict: Verdict
    error: Interval
    bound: Interval
    bits: int
    quantity: str
    step: int
    items: int
    claimed: int

    @property
    def margin(self) -> float:
        """At most bound / error; inf where nothing was off."""
        return margin(self.error, self.bound)


def certify(
    theorem: Theorem[Any], weights: Any, instance: Any, states: States, dtype: torch.dtype
) -> list[list[Certified]]:
    """For every task its certificates, step by step and quantity by quantity.

    Args:
        instance: B tasks. states: as :meth:`Theorem.run` gave them in ``dtype``.
    """
    claims = theorem.bounds(weights, instance, states, dtype)
    finite = {name: bound.total.isfinite() for name, bound in claims.items()}
    tasks = range(len(instance))
    # Together they cost less than one by one, until one of them needs bits that the others do not.
    together = BITS[:2] if len(tasks) > 1 else ()
    found, tried = None, 0
    for bits in together:
        found = _attempt(theorem, weights, instance, states, dtype, finite, bits)
        if found is not None:
            tried = bits
            break
    result = [[] if found is None else found[task] for task in tasks]
    for task in tasks:
        one = theorem.task(instance, task), {name: x[task : task + 1] for name, x in states.items()}
        in_floats = {name: x[task : task + 1] for name, x in finite.items()}
        for bits in (bits for bits in BITS if bits > tried):
            if result[task] and all(one.verdict != "unknown" for one in result[task]):
                break
            again = _attempt(theorem, weights, *one, dtype, in_floats, bits)
            result[task] = result[task] if again is None else again[0]
    steps = range(1, next(iter(states.values())).shape[1])
    return [row or [_nothing(name, step) for step in steps for name in finite] for row in result]


def _attempt(
    theorem: Theorem[Any],
    weights: Any,
    instance: Any,
    states: States,
    dtype: torch.dtype,
    finite: dict[str, Tensor],
    bits: int,
) -> list[list[Certified]] | None:
    """With so many bits; None where the evaluation itself has to decide what it cannot."""
    steps = next(iter(states.values())).shape[1] - 1
    with ball_arithmetic(bits):
        try:
            paths = [theorem.exact(theorem.task(instance, task), steps) for task in range(len(instance))]
            exact = {name: torch.cat([path[name] for path in paths]) for name in paths[0]}
            bounds = theorem.bounds(weights, instance, states, dtype)
            limits = {name: balls(bound.total) for name, bound in bounds.items()}
            off = theorem.distances(instance, states, exact)
            error = {name: balls(x) for name, x in off.items()}
        except Undecided:
            return None
        return [
            [
                _judged(
                    error[name][task, step - 1],
                    limits[name][task, step - 1],
                    exact[name][task, step],
                    finite[name][task, step - 1],
                    Certified("held", NO_ERROR, NO_CLAIM, bits, name, step, 0, 0),
                )
                for step in range(1, steps + 1)
                for name in error
            ]
            for task in range(len(instance))
        ]


NO_ERROR, NO_CLAIM = Interval(0.0, 0.0), Interval(0.0, math.inf)


def _nothing(quantity: str, step: int) -> Certified:
    return Certified("unknown", NO_CLAIM, NO_CLAIM, BITS[-1], quantity, step, 0, 0)


def _judged(error: Tensor, limit: Tensor, exact: Tensor, finite: Tensor, nothing: Certified) -> Certified:
    """Of errors and bounds (items,) and states (items, width); ``nothing`` if none is compared."""
    worst = nothing
    ends = zip(
        entries_of(error),
        entries_of(limit),
        *(_floats(part) for part in (lower_ends(error), upper_ends(error))),
        *(_floats(part) for part in (lower_ends(limit), upper_ends(limit))),
        *(part.tolist() for part in (~_undefined(exact), finite)),
        strict=True,
    )
    items = claimed = 0

    def of(one: Certified) -> tuple[int, float]:
        return severity(one.verdict, one.error, one.bound)

    for e, b, e_low, e_high, b_low, b_high, compared, in_floats in ends:
        if not compared:
            continue
        items += 1
        claimed += in_floats
        verdict = _decided(e, b, in_floats)
        here = replace(nothing, verdict=verdict, error=Interval(e_low, e_high), bound=Interval(b_low, b_high))
        if worst is nothing or of(here) > of(worst):
            worst = here
    return replace(worst, items=items, claimed=claimed)


def _floats(x: Tensor) -> list[float]:
    return plain(Tensor.tolist, (x,), {})


def _decided(error: Any, bound: Any, in_floats: bool) -> Verdict:
    """Of one item; where floats claim a bound and balls have none yet, more bits are asked for."""
    if not bound.is_finite() and (in_floats or bound != math.inf):
        return "unknown"
    try:
        return "held" if no_more(error, bound) else "broken" if less(bound, error) else "unknown"
    except Undecided:
        return "unknown"


def severity(verdict: Verdict, error: tuple[float, float], bound: tuple[float, float]) -> tuple[int, float]:
    """Larger where it is worse: broken above unknown above held, then by the margin."""
    return ("held", "unknown", "broken").index(verdict), -margin(error, bound)


def margin(error: tuple[float, float], bound: tuple[float, float]) -> float:
    """At most bound / error; inf where nothing was off."""
    return math.inf if error[1] == 0 else quotient(bound[0], error[1])


def _undefined(state: Tensor) -> Tensor:
    """(items,) where the algorithm gives no number."""
    entries = [entry.is_nan() for entry in entries_of(state)]
    return torch.tensor(entries).reshape(shape_of(state)).any(-1)
