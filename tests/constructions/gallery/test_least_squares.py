"""Gradient descent for least squares: mixed batches, mutations, error messages."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from constructions import HypothesisError
from constructions.gallery.least_squares import LeastSquaresConstruction, least_squares_construction
from constructions.language.assembly import Layer
from constructions.language.heads import HeadSum, ReluHead, linear_pair
from constructions.language.scores import Score, dot

RATE, STEPS = 0.25, 4


def problem(n: int, d: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    return torch.randn(n, d, generator=g).double(), torch.randn(n, generator=g).double()


def descent(X: Tensor, y: Tensor) -> Tensor:
    path = [X.new_zeros(X.shape[1])]
    for _ in range(STEPS):
        path.append(path[-1] + RATE / len(X) * (X.mT @ (y - X @ path[-1])))
    return torch.stack(path)


def outside(weights: LeastSquaresConstruction, X: Tensor, y: Tensor) -> bool:
    """Whether a step leaves the bounds of the layers and of the reference."""
    path = weights.run(X, y, RATE, evaluation="dense").path
    tasks, exact = weights.check(X, y, RATE), descent(X, y)
    bound = sum(weights.error_bounds(tasks, p[None], torch.float64)[0] for p in (path, exact))
    return not bool(((path - exact)[1:].abs() <= bound).all())


def test_a_mixed_batch_is_every_task_alone() -> None:
    weights = least_squares_construction(4, STEPS)
    tasks = [problem(9, 2), problem(3, 4), problem(1, 1)]
    together = weights.run([X for X, _ in tasks], [y for _, y in tasks], RATE)
    for row, (X, y) in zip(together.path, tasks, strict=True):
        d = X.shape[1]
        bound = weights.error_bounds(weights.check(X, y, RATE), row[None, :, :d], torch.float64)[0]
        assert ((row[1:, :d] - descent(X, y)[1:]).abs() <= 2 * bound).all()
        assert not row[:, d:].any()
    assert torch.equal(together.result, together.path[:, -1])
    assert torch.equal(weights.run(*tasks[0], RATE).result, weights.run(*tasks[0], RATE).path[-1])


def with_heads(change: str) -> LeastSquaresConstruction:
    """The weights with one mistake in a formula."""
    weights = least_squares_construction(3, STEPS)
    s, layer = weights.stream, weights.construction.layers[0]
    q, k = s.query, s.key
    score: Score = dot(q.unit, k.y) - dot(q.w, k.x)
    carry = ReluHead(dot(q.unit, k.unit), read=s.w, write=s.new)
    if change == "sign":
        score = dot(q.unit, k.y) + dot(q.w, k.x)
    if change == "target":
        score = -dot(q.w, k.x)
    if change == "carry":
        carry = replace(carry, scale=0.5)
    pair = linear_pair(score, read=s.x if change == "step" else s.step, write=s.new)
    heads = pair.heads[:1] if change == "negative part" else pair.heads
    mutated: Layer = replace(layer, heads=(HeadSum((*heads, carry)),))
    return LeastSquaresConstruction(replace(weights.construction, layers=(mutated,)))


@pytest.mark.parametrize("change", ["sign", "target", "carry", "step", "negative part"])
def test_a_mistake_leaves_the_bounds(change: str) -> None:
    assert not outside(with_heads("none"), *problem(8, 3))
    assert outside(with_heads(change), *problem(8, 3))


@pytest.mark.parametrize(
    ("X", "y", "rate", "message"),
    [
        (torch.ones(3, 3), torch.ones(3), 1.0, "d is 3; this construction takes at most max_dim = 2"),
        (torch.ones(3, 2), torch.ones(4), 1.0, "points in X is 3, targets in y is 4"),
        (torch.ones(3, 2), torch.ones(3), float("inf"), "rate is inf; a finite number is needed"),
        (torch.ones(3, 2), torch.ones(3), torch.ones(2), "rate has 2 numbers"),
        (torch.full((3, 2), torch.nan), torch.ones(3), 1.0, "X holds nan"),
        ([], [], 1.0, "X holds no task"),
        ("points", torch.ones(3), 1.0, "X is an array, or a list of them; got str"),
        (torch.ones(2), torch.ones(3), 1.0, "X has shape"),
        (torch.ones(3, 2), [torch.ones(3)] * 2, 1.0, r"got 1 tasks of points in X and 2 of targets in y"),
    ],
)
def test_what_is_outside_the_hypotheses_is_refused(X: Tensor, y: Tensor, rate: float, message: str) -> None:
    with pytest.raises(HypothesisError, match=message):
        least_squares_construction(2, 1).run(X, y, rate)


def test_a_path_out_of_range_is_refused() -> None:
    X, y = problem(5, 2)
    with pytest.raises(HypothesisError, match=r"step \d+ of task 0 leaves the range of torch.float32"):
        least_squares_construction(2, 40).run(X, y, 1e3, dtype=torch.float32)


def test_options_are_checked() -> None:
    with pytest.raises(ValueError, match="max_dim is 0; a whole number, at least 1, is needed"):
        least_squares_construction(0, 1)
    with pytest.raises(HypothesisError, match=r"dtype is torch\.float16"):
        least_squares_construction(2, 1).run(*problem(3, 2), RATE, dtype=torch.float16)
    with pytest.raises(HypothesisError, match="d of X is 2, d of start is 1"):
        least_squares_construction(2, 1).run(*problem(3, 2), RATE, torch.ones(1))


def test_a_number_keeps_all_its_digits() -> None:
    """A Python number is not rounded to float32 on its way."""
    X, y = problem(5, 2)
    weights = least_squares_construction(2, 1)
    given, kept = weights.check(X, y, 0.1), weights.check(X, y, torch.tensor(0.1, dtype=torch.float64))
    assert torch.equal(given.step, kept.step)
