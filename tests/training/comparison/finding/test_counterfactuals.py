"""The algorithm's side of an interchange: EM in exact formulas, with a variable of another task put in."""

from collections.abc import Sequence

import pytest
import torch

from baselines.em import em
from baselines.mixture import Mixture
from constructions.language.rounding import gamma, unit_roundoff
from training.comparison.common.random_paths import OriginPurpose
from training.comparison.finding.counterfactuals import (
    Place,
    State,
    answer,
    exact_answer,
    first_state,
    places,
    run,
)
from training.comparison.origins.em_problem import EMProblem

U = unit_roundoff(torch.float64)
B, N, K, D = 5, 9, 3, 2


def tasks(seed: int) -> tuple[torch.Tensor, State]:
    """Points, and a start from them."""
    generator = torch.Generator().manual_seed(seed)
    X = 2 * torch.randn(B, N, D, generator=generator, dtype=torch.float64)
    return X, first_state(X, torch.full((B, K), 1 / K, dtype=torch.float64), X[:, :K])


def rounding(X: torch.Tensor, steps: int) -> float:
    """Of both sides: a score errs by (d + 8) u R^2, a share by twice that, an average by R times as much.

    An error of the means by e changes the next scores by 2 R e: the factor 2 R^2 a further step.
    """
    R = max(1.0, float(X.norm(dim=-1).max()))
    one = 2 * (2 * (D + 8) * U * R**2 + gamma(2 * N, U)) * R
    return one * sum((2 * R**2) ** step for step in range(steps))


def test_without_a_floor_it_is_em():
    X, start = tasks(0)
    found = run(X, start, 2, 0.0)[-1]
    mixture = Mixture(torch.full((B, K), 1 / K, dtype=torch.float64), X[:, :K])
    expected = em(X, init=mixture, max_iter=2, tol=0.0).mixture
    tolerance = rounding(X, 2)
    assert tolerance < 1e-8
    assert (found.means - expected.means).abs().max() <= tolerance
    assert (found.log_weights.exp() - expected.weights).abs().max() <= tolerance
    assert (run(X, start, 1, 0.0)[-1].means - expected.means).abs().max() > 1e-3  # the control: one step


def test_the_floor_weighs_points_that_are_no_ones():
    X = torch.tensor([[[0.0, 0.0], [0.0, 4.0], [30.0, 0.0]]], dtype=torch.float64)
    start = first_state(X, torch.full((1, 2), 0.5, dtype=torch.float64), X[:, [0, 2]])
    found = run(X, start, 1, 0.1)[-1]
    # Responsibilities are 0 or 1 here but for e^-450: the far component has weights 0.1, 0.1, 1.
    expected = torch.tensor([30 / 1.2, 0.4 / 1.2], dtype=torch.float64)
    assert torch.allclose(found.means[0, 1], expected, rtol=16 * U)
    assert run(X, start, 1, 0.0)[-1].means[0, 1].tolist() == pytest.approx([30.0, 0.0], rel=16 * U, abs=1e-9)


def test_places_are_where_a_variable_is_still_used():
    assert places(1) == (Place("responsibilities", 1),)
    found = places(2)
    assert [place.layers_before for place in found] == [1, 2, 2, 2, 2, 3]
    assert {place.variable for place in found if place.loop == 2} == {"responsibilities"}
    X, start = tasks(0)
    other_X, other_start = tasks(1)
    source = run(other_X, other_start, 2, 1e-3)
    base = exact_answer(run(X, start, 2, 1e-3))
    for place in found:  # each changes the answer
        assert (exact_answer(run(X, start, 2, 1e-3, place, source)) - base).abs().max() > 1e-3


@pytest.mark.parametrize("place", places(2), ids=lambda place: f"{place.variable} {place.loop}")
def test_an_interchange_moves_its_variable_alone(place: Place):
    X, start = tasks(0)
    other_X, other_start = tasks(1)
    base, source = run(X, start, 2, 1e-3), run(other_X, other_start, 2, 1e-3)
    assert all(map(torch.equal, run(X, start, 2, 1e-3, place, base)[-1], base[-1]))  # its own value
    at = place.layers_before - 1
    found = run(X, start, 2, 1e-3, place, source)
    for earlier in range(at):
        assert all(map(torch.equal, found[earlier], base[earlier]))
    for part in State._fields:
        taken = source if part in place.parts else base
        assert torch.equal(getattr(found[at], part), getattr(taken[at], part))


def test_responsibilities_of_a_source_weigh_the_points_of_the_base():
    X, start = tasks(0)
    other_X, other_start = tasks(1)
    source = run(other_X, other_start, 1, 1e-3)
    found = run(X, start, 1, 1e-3, Place("responsibilities", 1), source)[-1]
    w = source[0].responsibilities.clamp_min(1e-3)
    expected = torch.einsum("bnk,bnd->bkd", w, X) / w.sum(1)[..., None]
    assert (found.means - expected).abs().max() <= rounding(X, 1)


def test_tokens_hold_what_the_construction_writes():
    """With pieces of the squares and logs so many that what is left is rounding to float32 and chords."""
    problem = EMProblem(n_samples=N, pieces=400)
    examples = problem.examples(B, OriginPurpose.HELD_OUT)
    s = problem.construction.stream
    X, means = examples.tokens[..., s.x.slice].double(), examples.tokens[:, :K, s.mu.slice].double()
    start = first_state(X, torch.full((B, K), 1 / K, dtype=torch.float64), means)
    states = run(X, start, 2, problem.floor)
    network, h = problem.constructed(), examples.tokens
    stream: list[torch.Tensor] = []
    for _ in range(2):
        for layer in network.layers:
            h = layer(h)
            stream.append(h.detach())
    for place in places(2):
        content = place.content(states[place.layers_before - 1], problem.floor)
        blocks = _columns(stream[place.layers_before - 1], place.blocks(s))
        assert content.shape == blocks.shape
        # Chords of 400 pieces err by less than 1e-3 in each function; a step multiplies by a few.
        assert (content - blocks).abs().max() < 2e-2
        shifted = content.roll(1, 1) if place.variable != "log_weights" else content.roll(1, 0)
        assert (shifted - blocks).abs().max() > 0.1  # the control: another token, another task


def _columns(h: torch.Tensor, blocks: Sequence) -> torch.Tensor:
    return torch.cat([h[..., block.slice] for block in blocks], dim=-1).double()


def test_distances_are_those_of_the_loss():
    problem = EMProblem(n_samples=N, dtype=torch.float64)
    examples = problem.examples(B, OriginPurpose.HELD_OUT)
    network = problem.constructed()
    with torch.no_grad():
        losses = problem.losses(network, examples, "em")
        said = answer(*problem.outputs(network, examples))
    wanted = answer(examples.em.weights, examples.em.means)
    assert torch.allclose((said - wanted).square().sum(1), losses, rtol=64 * U, atol=U)
