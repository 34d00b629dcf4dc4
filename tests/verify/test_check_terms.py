"""What decides that a claim held, by hand: errors as lengths, quantiles, slopes, limits, what takes part."""

import math

import pytest
import torch

import verify.em.checks as em_checks
from baselines.em_paths import reference_step
from constructions.em.weights import em_construction
from constructions.language.rounding import unit_roundoff
from constructions.tensor_power.relu import tensor_power_construction
from verify.em.compare import compare_step
from verify.em.measure import Spread
from verify.em.problems import Problem
from verify.em.sweep import sweep
from verify.tensor.data import TensorProblem
from verify.tensor.measure import Runtime, along_path

F64 = torch.float64


def test_the_error_of_a_mean_is_a_euclidean_length():
    X = torch.tensor([[[0.0, 0.0], [2.0, 0.0], [0.0, 2.0]]], dtype=F64)
    before = torch.ones(1, 1, dtype=F64), torch.zeros(1, 1, 2, dtype=F64)
    new = reference_step(X, *before)
    moved = new.means + torch.tensor([3.0, 4.0], dtype=F64)
    found = compare_step(em_construction(2, 1, 1, 64), X, before, (new.weights, moved), False, F64)
    assert found.mean_error.item() == pytest.approx(5.0)


def test_the_spread_of_eleven_numbers():
    found = Spread.of(torch.arange(11.0).flip(0))
    assert found == Spread(min=0.0, median=5.0, p90=9.0, max=10.0)


def test_only_components_that_overlap_take_part_in_a_slope():
    """Two means at -0.1 and 0.1 share 12 points nearly evenly; the one at 40 has its own to e^-700."""
    X = torch.cat([torch.linspace(-1, 1, 12), torch.tensor([39.0, 40.0, 41.0])]).double().reshape(1, -1, 1)
    means = torch.tensor([[[-0.1], [0.1], [40.0]]], dtype=F64)
    problem = Problem("apart", X, torch.full((1, 3), 1 / 3, dtype=F64), means, "given")
    [point] = sweep(problem, [64], "optimal", 1e-8, 41.0, F64)
    assert point.components == 2


@pytest.mark.parametrize(("slopes", "passed"), [((-2.0, -2.1, -1.9), True), ((-2.0, -2.5, -1.9), False)])
def test_the_claim_of_the_slope_is_about_the_furthest(slopes, passed, monkeypatch):
    left = list(slopes)
    monkeypatch.setattr(em_checks, "sweep", lambda *_: None)
    monkeypatch.setattr(em_checks, "fitted_slope", lambda _: left.pop(0))
    [record] = em_checks.check_slope(0, 1)
    assert record.passed is passed
    assert record.observed == pytest.approx(max(abs(slope + 2) for slope in slopes))


def test_a_read_out_that_mixes_slots_fails_its_claim(monkeypatch):
    """Weights of e^-1 for the tokens of other slots, where e^-64 is claimed."""
    monkeypatch.setattr("constructions.language.readout.SHARPNESS", 1.0)
    [record] = em_checks.check_read_out(0, 1)
    assert not record.passed
    assert record.observed > 1e6 * record.bound


def test_a_path_allows_for_the_rounding_of_its_reference():
    """T = 1, v = 1: two roundings and more of the reference beside what the run's own bound allows."""
    problem = TensorProblem("one", torch.ones(1, 1, 1, 1, dtype=F64), torch.ones(1, 1, dtype=F64))
    power = tensor_power_construction(1, 1)
    run = power.run(problem.T, problem.v, evaluation="dense")
    own = float(power.error_bounds(problem.T, problem.v, run, F64).error[0, 1])
    assert float(along_path(power, problem, Runtime(), 1).bound[0, 1]) >= own + 2 * unit_roundoff(F64)
    assert math.isfinite(own)
