"""Ridge regression: convergence, Newton's iterates, mixed batches, mutations, error messages."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from constructions import HypothesisError
from constructions.gallery.ridge import RidgeConstruction, ridge_construction
from constructions.gallery.ridge_bounds import least_eigenvalue
from constructions.language.heads import linear_pair
from constructions.language.rounding import gamma, unit_roundoff
from constructions.language.scores import dot

STEPS, PENALTY = 5, 0.5


def problem(n: int, d: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    return torch.randn(n, d, generator=g).double(), torch.randn(n, generator=g).double()


def newton(X: Tensor, y: Tensor, steps: int) -> Tensor:
    """X_t b by Newton's inverse in its usual form."""
    one = torch.eye(X.shape[1]).double()
    A = X.mT @ X + PENALTY * one
    inverse = one / (X.square().sum() + PENALTY)
    path = [inverse @ X.mT @ y]
    for _ in range(steps):
        inverse = inverse @ (2 * one - A @ inverse)
        path.append(inverse @ X.mT @ y)
    return torch.stack(path)


def test_the_path_is_that_of_newtons_inverse() -> None:
    X, y = problem(12, 3)
    weights = ridge_construction(3, STEPS)
    bound = weights.error_bounds(weights.check(X, y, PENALTY), torch.float64)
    off = (weights.run(X, y, PENALTY).path - newton(X, y, STEPS)).norm(dim=-1)
    # The usual form multiplies twice as often, so it may be twice as far from the exact iterate again.
    assert (off <= 3 * bound.rounding[0]).all()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_enough_steps_reach_ridge_regression(dtype: torch.dtype) -> None:
    X, y = (x.to(dtype).double() for x in problem(20, 4))
    weights = ridge_construction(4, 14)
    bound = weights.error_bounds(weights.check(X, y, PENALTY, dtype=dtype), dtype)
    exact = torch.linalg.solve(X.mT @ X + PENALTY * torch.eye(4).double(), X.mT @ y)
    found = weights.run(X, y, PENALTY, dtype=dtype, evaluation="dense").result
    assert bound.approximation[0, -1] == 0
    # Not idle beside a solution of some tenths: fourteen steps, each some ten roundings times the condition.
    assert (found.double() - exact).norm() <= bound.rounding[0, -1] < 1e4 * torch.finfo(dtype).eps


def test_the_least_eigenvalue_is_bounded_from_below() -> None:
    X = torch.diag(torch.tensor([3.0, 2.0, 1e-3], dtype=torch.float64))
    found = float(least_eigenvalue(X[None], torch.zeros(1).double())[0])
    # What is taken off: three terms of gamma_(n + 4) or less of |A| <= trace A = 13, for rounding.
    assert 1e-6 - 4 * gamma(3 + 4, unit_roundoff(torch.float64)) * 13.0 <= found <= 1e-6
    assert float(least_eigenvalue(X[None, :2], torch.ones(1).double())[0]) == 1.0


def test_a_mixed_batch_is_every_task_alone() -> None:
    weights = ridge_construction(4, STEPS)
    tasks = [problem(9, 2), problem(3, 4), problem(1, 1)]
    together = weights.run([X for X, _ in tasks], [y for _, y in tasks], PENALTY)
    for row, (X, y) in zip(together.path, tasks, strict=True):
        alone, bound = weights.run(X, y, PENALTY).path, weights.error_bounds
        rounding = bound(weights.check(X, y, PENALTY), torch.float64).rounding[0]
        assert ((row[:, : X.shape[1]] - alone).norm(dim=-1) <= 2 * rounding).all()
        assert not row[:, X.shape[1] :].any()


def mutated(change: str) -> RidgeConstruction:
    """The weights with one mistake in a formula."""
    weights = ridge_construction(3, STEPS)
    s, (moments, double) = weights.stream, weights.construction.layers
    q, k = s.query, s.key
    if change == "sign":
        double = replace(double, heads=(linear_pair(-dot(q.row, k.id), read=s.row, write=s.new),))
    if change == "transposed":
        double = replace(double, heads=(linear_pair(dot(q.id, k.row), read=s.row, write=s.new),))
    if change == "negative part":
        pair = linear_pair(dot(q.id, k.x), read=s.v, write=s.row)
        moments = replace(moments, heads=pair.heads[:1])
    if change == "values":
        moments = replace(moments, heads=(linear_pair(dot(q.id, k.x), read=s.x, write=s.row),))
    return RidgeConstruction(replace(weights.construction, layers=(moments, double)), STEPS)


@pytest.mark.parametrize("change", ["sign", "transposed", "negative part", "values"])
def test_a_mistake_leaves_the_bounds(change: str) -> None:
    X, y = problem(8, 3)

    def outside(weights: RidgeConstruction) -> bool:
        rounding = weights.error_bounds(weights.check(X, y, PENALTY), torch.float64).rounding[0]
        off = (weights.run(X, y, PENALTY, evaluation="dense").path - newton(X, y, STEPS)).norm(dim=-1)
        return not bool((off <= 3 * rounding).all())

    assert not outside(mutated("none"))
    assert outside(mutated(change))


@pytest.mark.parametrize(
    ("X", "penalty", "scale", "message"),
    [
        (torch.ones(3, 3), 1.0, None, "d is 3; this construction takes at most max_dim = 2"),
        (torch.ones(3, 2), -1.0, None, "penalty is -1; it is at least 0"),
        (
            torch.ones(3, 2),
            1.0,
            1.0,
            r"scale \(sum \|x_i\|\^2 \+ penalty\) is 7; it lies strictly between 0 and 2",
        ),
        (torch.zeros(3, 2), 0.0, None, "all points and the penalty are 0"),
        (torch.ones(3, 2), float("nan"), None, "penalty is nan; a finite number is needed"),
    ],
)
def test_what_is_outside_the_hypotheses_is_refused(
    X: Tensor, penalty: float, scale: float | None, message: str
) -> None:
    with pytest.raises(HypothesisError, match=message):
        ridge_construction(2, 1).run(X, torch.ones(3), penalty, scale)


def test_options_are_checked() -> None:
    with pytest.raises(ValueError, match="steps is 0; a whole number, at least 1, is needed"):
        ridge_construction(2, 0)
