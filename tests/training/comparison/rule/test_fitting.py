"""A fit finds a rule that was planted, and says how much of a deviation a rule explains."""

import dataclasses

import pytest
import torch

from baselines.mixture import Mixture
from training.comparison.common.random_paths import OriginPurpose
from training.comparison.origins.em_problem import EMProblem
from training.comparison.rule.agreement import agreement
from training.comparison.rule.algorithms import cases_of, em_errors, network_errors, rule_errors
from training.comparison.rule.fitting import NUMBERS, differences, fit_to_answers, fit_to_truth
from training.comparison.rule.update_rule import EM, UpdateRule

PROBLEM = EMProblem(n_samples=16, dtype=torch.float64)
EXAMPLES = PROBLEM.examples(48, OriginPurpose.RULE_FITTED, 5)
CASES = cases_of(PROBLEM, EXAMPLES)
PLANTED = UpdateRule(0.7, 0.5, -0.5, 0.15, 2.0, 1.1, -0.2, -0.05, 0.3)


def test_a_planted_rule_is_found():
    """The answers have no noise, so the least squares is 0 and the fit stops where it no longer falls."""
    found = fit_to_answers(CASES, CASES.answers(PLANTED))
    # fits stop at relative changes of 1e-4; of a sum of squares that is 0 at the end both are far below
    for name in NUMBERS:
        assert getattr(found, name) == pytest.approx(getattr(PLANTED, name), abs=1e-2)


def test_numbers_that_are_not_free_stay_those_of_em():
    planted = UpdateRule(fit=0.7, norm=0.5)
    found = fit_to_answers(CASES, CASES.answers(planted), ("fit", "norm"))
    assert dataclasses.replace(found, fit=1.0, norm=1.0) == EM
    assert (found.fit, found.norm) == pytest.approx((0.7, 0.5), abs=1e-2)
    with pytest.raises(ValueError, match="free has 'tempo', needs names among fit, norm"):
        fit_to_answers(CASES, EXAMPLES.em, ("tempo",))


def test_a_fit_to_the_truth_lowers_the_error():
    found = fit_to_truth(CASES, EXAMPLES.truth, ("fit", "norm"))
    mine, theirs = (rule_errors(rule, CASES, EXAMPLES.truth, [2])[0] for rule in (found, EM))
    assert mine.mean() < 0.9 * theirs.mean()


def test_squares_of_the_residuals_are_the_papers_error():
    squares = differences(EXAMPLES.em, EXAMPLES.truth).square().sum(1)
    means = (EXAMPLES.em.means - EXAMPLES.truth.means).square().mean((1, 2))
    weights = (EXAMPLES.em.weights - EXAMPLES.truth.weights).square().mean(1)
    assert squares.tolist() == pytest.approx((means + weights).tolist(), rel=1e-13)  # a dozen operations


def test_agreement_is_one_for_itself_zero_for_em_and_below_for_another_task():
    network = CASES.answers(PLANTED)
    itself, em = (agreement("", one, network, EXAMPLES.em, EXAMPLES.truth) for one in (network, EXAMPLES.em))
    assert (itself.outputs, itself.deviation) == (1, 1)
    assert em.deviation == 0
    assert em.error == pytest.approx(PROBLEM.exact_truth_loss(EXAMPLES), rel=1e-12)
    rolled = Mixture(EXAMPLES.em.weights, EXAMPLES.em.means + (network.means - EXAMPLES.em.means).roll(1, 0))
    assert agreement("", rolled, network, EXAMPLES.em, EXAMPLES.truth).deviation < 0


def test_em_by_rule_by_reference_and_by_the_constructed_network_agree():
    steps = (1, 2, 3)
    by_rule = rule_errors(EM, CASES, EXAMPLES.truth, steps)
    by_reference = em_errors(CASES, EXAMPLES.truth, steps)
    # three steps, each with the rounding of a step (below 1e-12 here) times a factor of EM below 10
    assert by_rule.numpy() == pytest.approx(by_reference.numpy(), abs=1e-8)
    by_network = network_errors(PROBLEM, PROBLEM.constructed(), EXAMPLES, steps)
    # the construction is EM within its pieces: mean square 2e-4, so errors near 1 are within 2 sqrt(2e-4)
    assert float((by_network - by_rule).mean(1).abs().max()) < 0.03
