"""Starts that tie: the handicap picks one of them, exactly; without it they are mixed."""

import dataclasses
from typing import Any

import pytest
import torch
from constructed_spectral import (
    U64,
    Stage,
    bounds,
    built,
    compare,
    gathered,
    run,
    score_rounding,
    stages,
    tasks,
    unchecked,
)
from torch import Tensor

from constructions.language.heads import HeadSum
from constructions.language.rounding import gamma, unit_roundoff
from constructions.spectral.exact import Problem
from constructions.spectral.weights import SpectralConstruction


def chosen(
    weights: SpectralConstruction, problem: Problem, dtype: torch.dtype = torch.float64
) -> list[Tensor]:
    """(B, S) what the starts are chosen with, for each component.

    All tokens of a start hold it: what each sums for itself, over all tokens of all starts, is 1 at most.
    """
    found: list[Stage] = [s for s in stages(weights, problem, dtype) if s.name == "choose"]
    held = [stage.starts("chosen")[..., 0] for stage in found]
    assert held
    rounding = gamma(weights.plan.starts * weights.plan.max_components + 4, unit_roundoff(dtype))
    assert all(float((h - h[..., :1]).abs().max()) <= rounding for h in held)
    return [h[..., 0] for h in held]


def equal_starts(starts: int) -> Problem:
    """All starts in one direction; two of the three signs turned, which one step forgets."""
    problem = tasks(built("products", starts=starts), "orthogonal means", 5, 3, 2, 24, seed=1)
    g = problem.directions[:, :1].expand(-1, starts, -1).clone()
    g[:, 1::2] *= -1
    return Problem(problem.X, problem.s, g, problem.basis)


@pytest.mark.parametrize("variant", ["products", "squares"])
@pytest.mark.parametrize("starts", [2, 5])
def test_of_starts_that_tie_exactly_the_first_is_chosen(variant: str, starts: int) -> None:
    """Their scores are equal to the bit, so those behind are so by their handicaps, at least 1.5 margins."""
    weights = built(variant, starts=starts)
    for one in chosen(weights, equal_starts(starts)):
        assert torch.equal(one, torch.eye(starts, dtype=torch.float64)[:1].expand_as(one))


def test_the_dense_weights_choose_one_as_well() -> None:
    """Rounding may tell tied starts apart there, by far less than the handicap."""
    weights, problem = built("products"), equal_starts(2)
    batch = gathered(weights, problem, torch.float64)
    read_in, layers = weights.read_in(batch), weights.evaluator("dense", torch.float64, "cpu")
    seen = 0
    with torch.no_grad():
        states = layers.states(layers.start(read_in.tokens()))
        for number, state in zip(weights.construction.sequence, states, strict=True):
            if weights.construction.layers[number].name == "choose":
                held = Stage("choose", state, read_in, weights.stream).starts("chosen")[..., 0]
                expected = torch.tensor([[[1.0], [0.0]]], dtype=torch.float64).expand_as(held)
                assert torch.equal(held, expected)
                seen += 1
    assert seen == 2


def test_float32_chooses_one_of_starts_that_tie() -> None:
    """A margin of 2^-20 is 16 u: the scores of equal vectors are equal in the formulas' evaluation."""
    for one in chosen(built("products", starts=3), equal_starts(3), torch.float32):
        assert torch.equal(one, torch.eye(3)[:1].expand_as(one))


def mirrored(tilt: float = 1e-9) -> Problem:
    """Two components that a swap of the axes maps to each other, but for ``tilt`` of the second axis.

    Each start runs into a component of its own, and their scores differ by about ``tilt``: far more than
    rounding, far less than the margin, 1e-6.
    """
    g = torch.Generator().manual_seed(2)
    half = torch.randn(12, 2, generator=g, dtype=torch.float64) + torch.tensor([5.0, 0.0])
    X = torch.cat([half, half.flip(1)])[None].clone()
    X[..., 1] *= 1 + tilt
    starts = torch.tensor([[[1.0, 0.3], [0.3, 1.0]]], dtype=torch.float64)
    return Problem(X, torch.ones(1, dtype=torch.float64), starts, torch.eye(2, dtype=torch.float64)[None])


def in_the_order_of_their_scores() -> Problem:
    """The starts of :func:`mirrored`, the better one first, so that handicaps and scores agree."""
    problem = mirrored()
    weights = built("products", 2, 2, steps=10)
    (choose, *_) = (s for s in stages(weights, problem) if s.name == "choose")
    v, T = choose.starts("v")[:, :, 0], choose.tensor()
    scores = torch.einsum("bklm,bsk,bsl,bsm->bs", T, v, v, v)[0]
    rounding = float(score_rounding(weights, T, scores.amin()[None]))
    # Ten times as far from either side: nothing that rounds decides, and a tie within the margin it is.
    assert 10 * rounding < abs(float(scores[0] - scores[1])) < weights.plan.margin / 10
    order = scores.argsort(descending=True)
    return Problem(problem.X, problem.s, problem.directions[:, order], problem.basis)


def without_handicap(weights: SpectralConstruction) -> SpectralConstruction:
    """The layer that subtracts it writes the score alone."""
    layers = []
    for layer in weights.construction.layers:
        if layer.name == "value":
            (both,) = layer.heads
            assert isinstance(both, HeadSum)
            layer = dataclasses.replace(layer, heads=(HeadSum(both.heads[:2]),))
        layers.append(layer)
    built_again = dataclasses.replace(weights.construction, layers=tuple(layers))
    return dataclasses.replace(weights, construction=built_again)


def test_without_the_handicap_starts_that_tie_are_mixed_and_leave_the_bounds() -> None:
    weights, problem = built("products", 2, 2, steps=10), in_the_order_of_their_scores()
    right = compare(run(weights, problem), weights, problem)
    assert right.broken() == []
    assert right.claimed() == 1
    first, _ = chosen(weights, problem)
    assert torch.equal(first, torch.tensor([[1.0, 0.0]], dtype=torch.float64))
    wrong = without_handicap(weights)
    first, _ = chosen(wrong, problem)
    assert bool((first > 0.99).all())
    assert compare(unchecked(wrong, problem), weights, problem).broken()


def test_a_tie_of_different_vectors_with_the_worse_one_first_has_no_bound() -> None:
    """The handicap prefers the first, the reference the better: which comes first is not claimed."""
    weights, problem = built("products", 2, 2, steps=10), in_the_order_of_their_scores()
    other = Problem(problem.X, problem.s, problem.directions.flip(1), problem.basis)
    assert bounds(weights, other, torch.float64).means.isinf().all()
    found, right = run(weights, other), run(weights, problem)
    size = float(right.means.norm())
    # The sample's components are not quite orthogonal: what is found first matters a little for both.
    assert float((found.means.flip(1) - right.means).norm(dim=-1).max()) < 0.01 * size
    assert float((found.means - right.means).norm(dim=-1).min()) > 0.5 * size


def test_a_handicap_is_subtracted_from_each_start_in_turn() -> None:
    """theta_s = T(v, v, v) - s handicap, at all tokens of the start."""
    options: dict[str, Any] = {"margin": 0.25, "starts": 3}
    weights = built("products", **options)
    problem = equal_starts(3)
    (stage, *_) = (s for s in stages(weights, problem) if s.name == "value")
    theta = stage.starts("theta")[..., 0]
    v, T = stage.starts("v")[:, :, 0], stage.tensor()
    score = torch.einsum("bklm,bsk,bsl,bsm->bs", T, v, v, v)
    expected = score - 0.375 * torch.arange(3)
    assert weights.plan.handicap == 0.375
    # The score, and one difference from the handicap, whose multiples are exact.
    allowed = score_rounding(weights, T, score.abs().amin(1))[:, None] + U64 * (score.abs() + 1)
    for i in range(2):
        assert bool(((theta[:, :, i] - expected).abs() <= allowed).all())
