"""Piecewise-linear functions of intervals: at their ends and over the knots between."""

from __future__ import annotations

import torch
from enclosures import unheld

from constructions.language import curves
from constructions.language.piecewise import chords, geometric
from verify.balls.arithmetic import ball_arithmetic
from verify.intervals.arithmetic import interval_arithmetic
from verify.intervals.array import Intervals, intervals


def test_a_curve_at_floats_holds_the_ball() -> None:
    f = chords(curves.log, geometric(1e-6, 1.0, 20))
    knots = torch.from_numpy(f.knots).double()
    x = torch.cat(
        [knots, knots * (1 + 2.0**-52), (knots[1:] + knots[:-1]) / 2, torch.tensor([0.0, 5.0]).double()]
    )
    with interval_arithmetic():
        found = f(x)
    with ball_arithmetic(128):
        exact = f(x)
    assert unheld(found, exact, f(x)) == []


def test_a_curve_over_intervals_holds_all_its_values() -> None:
    f = chords(curves.square, torch.linspace(-2, 3, 11, dtype=torch.float64).numpy())
    low = torch.tensor([-2.5, -1.9, -0.4, 0.1, 2.9], dtype=torch.float64)
    high = torch.tensor([3.5, 2.0, 0.3, 0.12, 9.0], dtype=torch.float64)
    with interval_arithmetic():
        found = intervals(f(Intervals.of(low, high)))
    between = low + (high - low) * torch.linspace(0, 1, 501, dtype=torch.float64)[:, None]
    values = f(between)
    assert bool((found.low <= values.amin(0)).all())
    assert bool((found.high >= values.amax(0)).all())
    assert bool((found.high - values.amax(0) <= 0.01).all())
    assert bool((values.amin(0) - found.low <= 0.01).all())
