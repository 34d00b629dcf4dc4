"""Theorem 1 in the conformance suite of the engine, and what its search and its bounds tell apart."""

from functools import partial

import pytest
import torch
from commands import built, flipped_half_norm2, with_wrong_square, without_log_count
from crossed import crossed

import verify.em.theorem as em_theorem
from constructions.em.weights import em_construction
from verify.em.problems import Problem
from verify.em.theorem import THEOREM_1
from verify.engine.measure import drawn, measure
from verify.engine.search import search

F64 = torch.float64

TestEM = crossed(THEOREM_1)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_the_search_finds_nothing_and_comes_near(dtype):
    found = search(THEOREM_1, 120, dtype, seed=0)
    assert found.broken == []
    assert set(found.families) == set(THEOREM_1.families)
    assert found.claimed > found.steps / 2
    assert found.margin < 1.1


@pytest.mark.parametrize(
    "mutate", [flipped_half_norm2, without_log_count, with_wrong_square], ids=lambda m: m.__name__
)
def test_a_wrong_construction_is_found(mutate, monkeypatch):
    monkeypatch.setattr(em_theorem, "em_construction", partial(built, mutate=mutate))
    assert search(THEOREM_1, 100, F64, seed=0).broken


def test_where_em_loses_a_component_nothing_is_compared_and_nothing_claimed():
    """Points within 1 of 0; the second component of task 1 is 60 away, where exp(-60^2/2) is 0."""
    X = torch.randn(2, 15, 1, generator=torch.Generator().manual_seed(2), dtype=F64)
    means = torch.tensor([[[-1.0], [1.0]], [[0.0], [60.0]]], dtype=F64)
    problem = Problem("vanishing", X, torch.full((2, 2), 0.5, dtype=F64), means, "given")
    found = measure(THEOREM_1, em_construction(1, 2, 2, 64, radius=60.0), problem, F64, steps=2)
    for name, compared in found.compared.items():
        assert compared.tolist() == [[[True, True]] * 2, [[False, False]] * 2], name
        assert found.bound[name].total[1].isinf().all()
        assert found.bound[name].total[0].isfinite().all()
    assert not found.broken().any()


def test_weights_that_do_not_sum_to_one_are_divided_by_their_sum_on_both_sides():
    """Six typed decimals, and float32: the rounded sum is another factor than the reference's."""
    problem = drawn(THEOREM_1, "separated", THEOREM_1.sizes[0], 20, torch.float32, torch.Generator())
    scaled = Problem(problem.name, problem.X, problem.weights * (1 + 5e-7), problem.means, "given")
    em = THEOREM_1.construct(THEOREM_1.sizes[0], 1, 2048)
    found = measure(THEOREM_1, em, THEOREM_1.rounded(scaled, torch.float32), torch.float32)
    assert not found.broken().any()
    assert found.claimed().all()
