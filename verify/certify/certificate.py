"""Whether a run of floating-point numbers is within its bound: a theorem about that run, or "unknown".

    held      upper end of |states - algorithm|  <=  lower end of the bound        at every item compared
    broken    lower end of |states - algorithm|  >   upper end of the bound        at some item

The states that the layers computed are dyadic rationals, so as inputs they are exact. The algorithm and the
bound's formula are evaluated in balls of more and more bits until every comparison is decided.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from verify.balls.arithmetic import ball_arithmetic
from verify.balls.array import Balls, balls, entries_of, lower_ends, shape_of, upper_ends
from verify.balls.flint import Undecided
from verify.balls.numbers import less, no_more
from verify.engine.record import quotient
from verify.engine.theorem import States, Theorem

Verdict = Literal["held", "broken", "unknown"]
BITS = (128, 256, 512, 1024)
"""Precisions tried, one after another."""


@dataclass(frozen=True)
class Interval:
    """Floats at most and at least a real number."""

    low: float
    high: float


@dataclass(frozen=True)
class Certified:
    """What is certified of one step of one task.

    Attributes:
        error, bound: of the item with the least margin, in ``quantity``. bits: that decided it.
        items: compared. claimed: of them with a finite bound; where none is, nothing is claimed of the step,
            and "held" says no more than that.
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
        return math.inf if self.error.high == 0 else quotient(self.bound.low, self.error.high)


def certify(
    theorem: Theorem[Any], weights: Any, instance: Any, states: States, dtype: torch.dtype
) -> list[Certified]:
    """A certificate for every step of one task.

    Args:
        instance: of one task. states: of it, as :meth:`Theorem.run` gave them in ``dtype``.

    Raises:
        ValueError: more than one task.
    """
    if len(instance) != 1:
        raise ValueError(f"a certificate is of one task, got {len(instance)}")
    steps = next(iter(states.values())).shape[1] - 1
    finite = {
        name: bound.total.isfinite() for name, bound in theorem.bounds(weights, instance, states, dtype).items()
    }
    found: dict[int, Certified] = {}
    for bits in BITS:
        with ball_arithmetic(bits):
            try:
                exact = theorem.exact(instance, steps)
                bounds = {
                    name: bound.total for name, bound in theorem.bounds(weights, instance, states, dtype).items()
                }
                error = {name: _distance(states[name], after) for name, after in exact.items()}
            except Undecided:
                continue
        for step in range(1, steps + 1):
            if step not in found or found[step].verdict == "unknown":
                found[step] = _judged(error, bounds, exact, finite, step, bits)
        if all(one.verdict != "unknown" for one in found.values()):
            break
    nothing = Interval(0.0, math.inf)
    missing = Certified("unknown", nothing, nothing, BITS[-1], next(iter(states)), 0, 0, 0)
    return [found.get(step, _at(missing, step)) for step in range(1, steps + 1)]


def _at(certified: Certified, step: int) -> Certified:
    return Certified(**{**vars(certified), "step": step})


def _distance(state: Tensor, exact: Tensor) -> Balls:
    """(1, L, items) after each step."""
    return balls(torch.linalg.vector_norm(state[:, 1:].double() - balls(exact)[:, 1:], dim=-1))


def _judged(
    error: dict[str, Balls],
    bounds: dict[str, Tensor],
    exact: dict[str, Tensor],
    finite: dict[str, Tensor],
    step: int,
    bits: int,
) -> Certified:
    verdict: Verdict = "held"
    worst: Certified | None = None
    items = claimed = 0
    for name in error:
        defined = ~_undefined(exact[name][:, step])
        off, limit = error[name][:, step - 1], balls(bounds[name])[:, step - 1]
        ends = zip(
            entries_of(off),
            entries_of(limit),
            *(part.reshape(-1).tolist() for part in (lower_ends(off), upper_ends(off))),
            *(part.reshape(-1).tolist() for part in (lower_ends(limit), upper_ends(limit))),
            defined.reshape(-1).tolist(),
            finite[name][:, step - 1].reshape(-1).tolist(),
            strict=True,
        )
        for e, b, e_low, e_high, b_low, b_high, compared, in_floats in ends:
            if not compared:
                continue
            items += 1
            claimed += in_floats
            one = _decided(e, b, in_floats)
            here = Certified(one, Interval(e_low, e_high), Interval(b_low, b_high), bits, name, step, 0, 0)
            if one == "broken" or (one == "unknown" and verdict == "held"):
                verdict = one
            if worst is None or _severity(here) > _severity(worst):
                worst = here
    if worst is None:
        return Certified("held", Interval(0, 0), Interval(0, math.inf), bits, next(iter(error)), step, 0, 0)
    return Certified(verdict, worst.error, worst.bound, bits, worst.quantity, step, items, claimed)


def _decided(error: Any, bound: Any, in_floats: bool) -> Verdict:
    """Of one item; where floats claim a bound and balls have none yet, more bits are asked for."""
    if not bound.is_finite() and (in_floats or bound != math.inf):
        return "unknown"
    try:
        return "held" if no_more(error, bound) else "broken" if less(bound, error) else "unknown"
    except Undecided:
        return "unknown"


def _severity(one: Certified) -> tuple[int, float]:
    return ("held", "unknown", "broken").index(one.verdict), -one.margin


def _undefined(state: Tensor) -> Tensor:
    """(1, items) where the algorithm gives no number."""
    entries = [entry.is_nan() for entry in entries_of(state)]
    return torch.tensor(entries).reshape(shape_of(state)).any(-1)
