"""The three formulas of an EM step: they agree, and each task gets one that keeps its digits; chunks."""

import pytest
import torch
from em_instances import instance, step_rounding

from baselines import em_pass
from baselines.em import em
from baselines.em_parameters import Parameters
from baselines.em_steps import em_step
from baselines.mixture import Mixture
from baselines.points import prepare

KINDS = ("diagonal", "tied", "full")
F64 = torch.float64
U = 2.0**-53


def centred(points, start):
    return Parameters(start.weights, start.means - points.centre, start.covariances)


def one_step(X, start, fast):
    """(level, Update) from the kind's fast formula, or subtracted."""
    points, kind = prepare(X, None, None), start.covariance_type
    formula = em_pass._fast_formula(kind) if fast else em_pass.Subtracted
    return em_pass._step(points, formula(centred(points, start), kind, points.scratch), kind)


def assert_same(one, other, tolerance):
    torch.testing.assert_close(one.weights, other.weights, rtol=0, atol=tolerance)
    torch.testing.assert_close(one.means, other.means, rtol=0, atol=tolerance)
    torch.testing.assert_close(one.covariances, other.covariances, rtol=0, atol=tolerance)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("d", "K", "N"), [(1, 1, 9), (2, 3, 40), (6, 4, 90)])
def test_formulas_agree(kind, d, K, N):
    X, start = instance(40 + d, d, K, N, kind, batch=(3,))
    level, fast = one_step(X, start, True)
    exact_level, exact = one_step(X, start, False)
    tolerance = max(step_rounding(X[b], start[b]) for b in range(3))
    assert_same(fast, exact, tolerance)
    torch.testing.assert_close(level, exact_level, rtol=0, atol=tolerance)
    assert not fast.singular.any()


def limited(kind, lost):
    """A point and a mean with largest |coordinates| (3, 4), and a covariance at which 2^12 `lost` is lost.

    E = (9 + 16) / s; F = (3 + 4) / 1 for the second row of L^-1 = (1, 0; 1, 1) / sqrt(s).
    """
    X = torch.tensor([[[3.0, -4.0], [-3.0, 4.0]]], dtype=F64)
    points = prepare(X, None, None)
    weights, means = torch.ones(1, 1, dtype=F64), torch.tensor([[[3.0, 1.0]]], dtype=F64)
    if kind == "diagonal":
        return points, Parameters(weights, means, torch.full((1, 1, 2), 25 / (4096 * lost), dtype=F64))
    inverse = 4096 / 7 * lost * torch.tensor([[1.0, 0.0], [1.0, 1.0]], dtype=F64)
    inverse = inverse[None] if kind == "tied" else inverse[None, None]
    root = torch.linalg.inv(inverse)
    return points, Parameters(weights, means, root @ root.mT, root, inverse)


@pytest.mark.parametrize("kind", KINDS)
def test_twelve_bits_are_the_limit(kind):
    for lost, near in ((0.999, True), (1.001, False), (torch.nan, False)):
        points, parameters = limited(kind, lost)
        assert em_pass.is_near(points, parameters, kind).tolist() == [near]
    points, parameters = limited(kind, 0.999)
    wide = parameters._replace(means=parameters.means * 2)  # a mean beyond the points counts like one of them
    assert em_pass.is_near(points, wide, kind).tolist() == [False]


def test_a_negative_variance_is_not_near():
    points, parameters = limited("diagonal", -0.5)
    assert em_pass.is_near(points, parameters, "diagonal").tolist() == [False]


@pytest.mark.parametrize("kind", KINDS)
def test_groups_far_apart_keep_their_digits(kind):
    """Groups 2^22 apart, beside a task of the usual kind: expanding the square would leave three digits of a
    log-density. Such coordinates are exact to u 2^22 = 5e-10, so a step is within 1e-7 of `em_step`, and the
    usual task is what it is alone."""
    X, start = instance(51, 2, 2, 40, kind, batch=(2,))
    offset = torch.zeros(2, 2, 2, dtype=F64)
    offset[0, 1] = 2.0**22
    X[0] += offset[0, torch.arange(40) % 2]
    start = Mixture(start.weights, start.means + offset, start.covariances, kind)
    points = prepare(X, None, None)
    assert em_pass.is_near(points, centred(points, start), kind).tolist() == [False, True]
    result = em(X, init=start, tol=0, max_iter=1)
    for task, tolerance in ((0, 1e-7), (1, 1e-12)):
        expected, _, total = em_step(X[task], start[task])
        assert_same(result.mixture[task], expected, tolerance)
        assert result.history[task, 0] == pytest.approx(total.item() / 40, abs=tolerance)
    alone = em(X[1], init=start[1], tol=0, max_iter=1)
    assert_same(result.mixture[1], alone.mixture, 1e-13)


@pytest.mark.parametrize("kind", ["diagonal", "full"])
def test_a_variance_that_shrinks_is_computed_again(kind):
    """From 1e3 to 1e-8 about (1000, 1000) and its negative, which x^2 has lost."""
    generator = torch.Generator().manual_seed(0)
    X = 1e-4 * torch.randn(60, 2, dtype=F64, generator=generator)
    X[:30] += 1000
    X[30:] -= 1000
    means = torch.tensor([[1000.0, 1000.0], [-1000.0, -1000.0]], dtype=F64)
    wide = torch.full((2, 2), 1e3, dtype=F64)
    covariances = wide if kind == "diagonal" else torch.diag_embed(wide)
    start = Mixture(torch.full((2,), 0.5, dtype=F64), means, covariances, kind)
    result = em(X, init=start, tol=0, max_iter=1)
    expected = em_step(X, start)[0]
    # Deviations of 1e-4 from 1000 carry u 1000 = 1e-13 each, 1e-9 of themselves.
    torch.testing.assert_close(result.mixture.covariances, expected.covariances, rtol=1e-7, atol=1e-15)


@pytest.mark.parametrize("kind", ["unit", "tied_spherical", "spherical", *KINDS])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_many_points_are_worked_on_in_chunks(kind, dtype, monkeypatch):
    """Without a chunk_size; sums over chunks are float64's, so that the path stays within rounding."""
    X, start = instance(61, 3, 2, 500, kind)
    X, start = X.to(dtype), start.to(dtype=dtype)
    whole = em(X, init=start, tol=0, max_iter=5)
    monkeypatch.setattr("baselines.em.NUMBERS_AT_ONCE", 700)
    chunked = em(X, init=start, tol=0, max_iter=5)
    tolerance = 5 * step_rounding(X, start)
    torch.testing.assert_close(chunked.mixture.means, whole.mixture.means, rtol=0, atol=tolerance)
    torch.testing.assert_close(chunked.history, whole.history, rtol=0, atol=tolerance)
