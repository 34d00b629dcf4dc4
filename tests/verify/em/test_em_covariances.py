"""Covariances of every kind in the EM check: eigenvalues, distances, ranges, starts, data that have none."""

import math
from dataclasses import replace

import pytest
import torch

from baselines.points import prepare
from baselines.starts import start_covariances
from console.errors import BadInputError
from constructions.em.tasks import COVARIANCE_SHAPES, Range
from constructions.language.rounding import unit_roundoff
from verify.em.covariances import (
    SPAN,
    as_matrices,
    check_slopes,
    check_spread,
    default_range,
    distance,
    eigenvalue_ends,
    symmetric,
)
from verify.em.problems import CONDITION, random_covariances, random_problem, started

F64 = torch.float64
U = unit_roundoff(F64)
KINDS = tuple(COVARIANCE_SHAPES)
B, K, D = 3, 4, 2


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=generator(seed), dtype=F64)


@pytest.mark.parametrize("kind", KINDS)
def test_random_covariances_have_the_shape_and_the_condition(kind):
    S = random_covariances(normal(B, K, D), kind, generator())
    assert S.shape == (B, *({"K": K, "d": D}[letter] for letter in COVARIANCE_SHAPES[kind]))
    least, largest = eigenvalue_ends(S, kind)
    assert least.shape == (B, 1 if kind.startswith("tied") else K)
    edge = CONDITION**0.5 * (1 + 100 * U)
    assert float(least.min()) >= 1 / edge
    assert float(largest.max()) <= edge
    assert torch.equal(symmetric(S, kind), S)


@pytest.mark.parametrize("kind", KINDS)
def test_ends_and_distances_are_those_of_the_matrices(kind):
    S, T = (random_covariances(normal(B, K, D), kind, generator(seed)) for seed in (1, 2))
    full, other = (as_matrices(v, kind, K, D) for v in (S, T))
    assert full.shape == (B, K, D, D)
    for found, expected in zip(eigenvalue_ends(S, kind), eigenvalue_ends(full, "full"), strict=True):
        assert torch.allclose(found.expand(B, K), expected, rtol=100 * U, atol=0)
    # A spherical kind is measured by its one number, not by d of them.
    norms = distance(full, other, "full") / (D**0.5 if "spherical" in kind else 1)
    assert torch.allclose(distance(S, T, kind).expand(B, K), norms, rtol=100 * U, atol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_number_has_no_eigenvalues(kind):
    S = random_covariances(normal(B, K, D), kind, generator())
    S[1] = torch.nan
    least, largest = eigenvalue_ends(S, kind)
    held = Range(1e-9, 1e9).holds(least, largest)
    assert held.all(-1).tolist() == [True, False, True]


@pytest.mark.parametrize("kind", KINDS)
def test_default_range_holds_the_start_and_all_that_em_can_make_of_it(kind):
    problem = random_problem(D, 3, 40, "random-points", B, generator(), kind)
    span = default_range(problem)
    assert problem.covariances is not None
    assert bool(span.holds(*eigenvalue_ends(problem.covariances, kind)).all())
    assert span.low == SPAN * span.high
    assert math.log2(span.high) == round(math.log2(span.high))
    # The average of squares about a mean of any weights, here of two points far apart with half each.
    X = problem.X[0]
    a, b = X[X[:, 0].argmin()], X[X[:, 0].argmax()]
    if kind not in ("tied", "full"):
        assert float(((a - b) / 2).square()[0]) <= span.high
    else:
        assert float(((a - b) / 2).square().sum()) <= span.high


def test_default_range_goes_as_far_down_and_up_as_the_start():
    problem = random_problem(D, 2, 20, "normal", 1, generator(), "diagonal")
    S = torch.tensor([[[1e-12, 1.0], [1.0, 1e9]]], dtype=F64)
    span = default_range(replace(problem, covariances=S))
    assert span.low <= 1e-12
    assert span.high >= 1e9


@pytest.mark.parametrize("kind", KINDS)
def test_starts_share_the_pooled_covariance(kind):
    X = normal(B, 30, D, seed=3)
    problem = started("x", X, 3, "k-means++", generator(), kind)
    points = prepare(X, None, None)
    expected = start_covariances(points, problem.means - points.centre, kind)
    assert torch.allclose(problem.covariances, expected, rtol=1000 * U, atol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_with_a_mean_at_every_point_the_start_takes_the_covariance_of_all(kind):
    """Around the nearest mean there is no spread; the identity would depend on the units of the data."""
    X = 1e-3 * normal(B, 5, D, seed=4)
    problem = started("x", X, 5, "random-points", generator(), kind)
    centred = X - X.mean(1, keepdim=True)
    expected = centred.mT @ centred / 5
    first = as_matrices(problem.covariances, kind, 5, D)[:, 0]
    assert torch.allclose(
        first.diagonal(dim1=-2, dim2=-1).sum(-1), expected.diagonal(dim1=-2, dim2=-1).sum(-1), rtol=1000 * U
    )


CONSTANT = torch.cat([normal(20, 2), torch.full((20, 1), 4.0, dtype=F64)], 1)
DEPENDENT = torch.cat([normal(20, 2), normal(20, 2).sum(1, keepdim=True)], 1)
ONE = torch.ones(6, 2, dtype=F64)
SPREAD = {
    "constant": (CONSTANT, ("diagonal", "tied", "full"), "coordinate 3 of 3 is constant (4)"),
    "dependent": (DEPENDENT, ("tied", "full"), "linearly dependent"),
    "few": (normal(3, 3), ("tied", "full"), "N = 3 points in d = 3 coordinates; N > d"),
    "one": (ONE, KINDS, "one point 6 times"),
}


@pytest.mark.parametrize("case", list(SPREAD))
def test_data_without_a_covariance_of_the_kind_are_refused(case):
    X, refused, what = SPREAD[case]
    for kind in ("unit", *KINDS):
        if kind in refused:
            with pytest.raises(BadInputError, match="--covariance") as found:
                check_spread(X, kind, "d.csv")
            assert what in str(found.value)
            assert str(found.value).startswith(f"--covariance {kind}: d.csv")
        else:
            check_spread(X, kind, "d.csv")


@pytest.mark.parametrize("scale", [1e-150, 1e-5, 1.0, 1e5, 1e150])
def test_columns_are_judged_whatever_their_units(scale):
    units = torch.tensor([1.0, scale, scale**0.5], dtype=F64)
    check_spread(normal(50, 3) * units, "full", "d.csv")
    with pytest.raises(BadInputError, match="linearly dependent"):
        check_spread(DEPENDENT * units, "full", "d.csv")


def test_a_range_whose_slopes_leave_the_dtype_is_refused():
    check_slopes(Range(1e-100, 1e100), F64, "--eigenvalues")
    for span, dtype in ((Range(1e-200, 1.0), F64), (Range(1e-25, 1.0), torch.float32)):
        with pytest.raises(BadInputError, match="--eigenvalues: eigenvalues from"):
            check_slopes(span, dtype, "--eigenvalues")
