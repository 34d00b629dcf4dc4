"""Softmax over boxes: all vertices tried one by one, and reached."""

import itertools

import numpy as np
import pytest

from verify.certify.regions.intervals import Interval
from verify.certify.regions.softmax import average, log_share, others, shares


def box(rng, shape, wide):
    low = rng.random(shape) + 0.01
    return Interval(low, low * (1 + wide * rng.random(shape)))


def vertices(x):
    return np.array(list(itertools.product(*zip(x.lo, x.hi, strict=True))))


@pytest.mark.parametrize("n", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("wide", [1e-6, 0.5, 1e6])
def test_optima_are_those_of_all_vertices(n, wide):
    rng = np.random.default_rng(n)
    for _ in range(8):
        u, v = box(rng, n, wide), rng.standard_normal(n)
        v[: n // 2] = v[-(n // 2) :] if n > 1 and rng.random() < 0.3 else v[: n // 2]
        corners = vertices(u)
        share, mean = shares(u, 0), average(u, Interval.exact(v))
        all_shares = corners / corners.sum(1, keepdims=True)
        for found, tried in ((share, all_shares), (mean, all_shares @ v)):
            assert (found.lo <= tried.min(0) + 1e-14).all()
            assert (found.hi >= tried.max(0) - 1e-14).all()
            assert np.allclose(found.lo, tried.min(0), rtol=1e-12, atol=1e-13)
            assert np.allclose(found.hi, tried.max(0), rtol=1e-12, atol=1e-13)


def test_points_inside_and_values_that_move_are_held():
    rng = np.random.default_rng(9)
    for _ in range(200):
        n = int(rng.integers(1, 7))
        u = box(rng, n, 2.0)
        low = rng.standard_normal(n)
        v = Interval(low, low + rng.random(n))
        found = average(u, v)
        for _ in range(20):
            at = u.lo + rng.random(n) * (u.hi - u.lo)
            values = v.lo + rng.random(n) * (v.hi - v.lo)
            mean = at @ values / at.sum()
            assert found.lo - 1e-14 <= mean <= found.hi + 1e-14


def test_weights_that_may_be_0():
    u = Interval(np.array([0.0, 0.0]), np.array([1.0, 1.0]))
    found = average(u, Interval.exact([-1.0, 2.0]))
    assert found.lo <= -1
    assert found.hi >= 2
    share = shares(u, 0)
    assert (share.lo == 0).all()
    assert (share.hi == 1).all()


def test_a_weight_of_small_scores_is_not_cut():
    """A score in [-90, 0] beside one of -36, as in certified_regions.md: the weight can be 1."""
    u = Interval(np.array([-90.0, -36.0]), np.array([0.0, -36.0])).exp()
    share = shares(u, 0)
    assert share.hi[1] >= 1 / (1 + np.exp(-54.0))
    assert share.lo[1] <= np.exp(-36.0)
    assert np.allclose(share.lo[1], np.exp(-36.0) / (1 + np.exp(-36.0)), rtol=1e-12)


def test_others_leave_out_one():
    found = others(Interval.exact([[1.0, 2.0, 4.0]]), 1)
    assert np.allclose(found.lo, [[6.0, 5.0, 3.0]])


def test_the_log_of_a_weight():
    found = log_share(Interval.exact([[0.0], [-2000.0], [2000.0], [1.5]]))
    assert np.allclose(found.lo, [-np.log(2), 0.0, -2000.0, -np.log1p(np.exp(1.5))], atol=1e-15)
    assert (found.hi <= 0).all()
    assert (found.hi - found.lo <= 1e-12).all()
    assert not log_share(Interval.exact(np.zeros((3, 0)))).size.any()
