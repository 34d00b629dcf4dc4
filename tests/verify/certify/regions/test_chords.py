"""The hinge sums as their float weights make them, against the sum itself and its distance in balls."""

import math

import numpy as np
import pytest
from flint import arb, ctx
from region_samples import hinge_sum

from constructions.em.weights import em_construction
from constructions.language import curves
from constructions.language.piecewise import chords, geometric
from verify.certify.regions.chords import Hinges
from verify.certify.regions.intervals import Interval


def exact(f, x, square):
    at = arb(float(x))
    value = hinge_sum(f, at)
    return value, value - (at * at if square else at.log())


@pytest.mark.parametrize(
    ("name", "pieces"), [("log_resp", 1), ("log_resp", 40), ("log_pi", 300), ("square", 33)]
)
def test_ranges_hold_all_members_and_are_reached(name, pieces):
    f = getattr(em_construction(2, 2, 1, pieces), name)
    rng, square, before = np.random.default_rng(pieces), name == "square", ctx.prec
    low, high = (-12.5, 12.5) if square else (-25.0, 0.0)
    ctx.prec = 200
    try:
        for wide in (0.0, 1e-9, 1e-3, 0.1, 10.0):
            a = rng.uniform(low, high, 12)
            ends = (
                np.stack([a, np.minimum(a + wide, high)])
                if square
                else np.exp([a, np.minimum(a + wide, high)])
            )
            x = Interval(ends[0], ends[1])
            values, errors = Hinges.of(f).values_on(x), Hinges.of(f).errors_on(x)
            for i in range(12):
                inside = [k for k in f.knots.tolist() if x.lo[i] <= k <= x.hi[i]][:20]
                tried = [*np.linspace(x.lo[i], x.hi[i], 23).clip(x.lo[i], x.hi[i]), *inside]
                found = [exact(f, v, square) for v in tried]
                for k, part in enumerate((values, errors)):
                    lo, hi = arb(float(part.lo[i])), arb(float(part.hi[i]))
                    assert not any(pair[k] < lo or pair[k] > hi for pair in found)
                    best = min(float(p[k]) for p in found), max(float(p[k]) for p in found)
                    spare = (
                        0.06 * (best[1] - best[0]) + 3e-13 * (1 + abs(best[0])) + 0.3 * f.approximation_error
                    )
                    assert part.lo[i] >= best[0] - spare
                    assert part.hi[i] <= best[1] + spare
    finally:
        ctx.prec = before


def test_the_largest_error_is_that_of_lemma_1():
    f = em_construction(1, 1, 1, 64).log_resp
    found = Hinges.of(f).errors_on(Interval(np.array([1e-8]), np.array([1.0])))
    assert math.isclose(-found.lo[0], f.approximation_error, rel_tol=1e-9)
    assert 0 <= found.hi[0] < 1e-12


def test_knots_are_ends_and_points_are_intervals():
    f = em_construction(1, 1, 1, 16).log_resp
    knots = np.array(f.knots)
    found = Hinges.of(f).errors_on(Interval.exact(knots))
    assert np.abs(found.lo).max() < 1e-13
    assert np.abs(found.hi).max() < 1e-13
    beyond = Hinges.of(f).errors_on(Interval.exact([0.0, 1e-300]))
    assert beyond.hi[0] == math.inf
    assert math.isclose(beyond.hi[1], math.log(1e-8) - math.log(1e-300), rel_tol=1e-12)


def test_other_curves_are_refused():
    f = chords(curves.reciprocal, geometric(0.1, 1.0, 4))
    with pytest.raises(ValueError, match="curve is '1/x'"):
        Hinges.of(f)
