"""What is read off the construction is EM; what is read off another network is not."""

import math

import pytest
import torch

from training.comparison.common.random_paths import OriginPurpose
from training.comparison.origins.em_problem import EMProblem
from training.comparison.rule.curves import BINS, FUNCTIONS, curves_of
from training.comparison.rule.groups import forms_of_network, mixed, network_of, theorem_groups
from training.comparison.rule.sites import loops_of, read_off
from training.model.balance import balanced

PROBLEM = EMProblem(n_samples=16, pieces=32, dtype=torch.float64)
EXAMPLES = PROBLEM.examples(24, OriginPurpose.RULE_FITTED, 6)
CONSTRUCTED = PROBLEM.constructed().requires_grad_(False)


def with_half_the_norms():
    """The construction with half of -|mu|^2/2 in the E head's score."""
    forms = forms_of_network(balanced(CONSTRUCTED))
    s = PROBLEM.construction.stream
    forms[0].scores[0, s.one.start, s.half_norm2.start] *= 0.5
    return network_of(forms, CONSTRUCTED)


def test_em_is_read_off_the_construction():
    rule, fits = read_off(PROBLEM, CONSTRUCTED, EXAMPLES)
    assert min(fits) > 0.999
    # the pieces (32 a function on average) change log r, log pi and the norms by less than a per cent
    for name in ("fit", "norm", "weight", "sharpness", "average", "answer"):
        assert getattr(rule, name) == pytest.approx(1, abs=0.02)
    assert rule.floor == pytest.approx(PROBLEM.floor, rel=0.2)
    assert rule.old == pytest.approx(0, abs=1e-9)
    assert rule.centre == pytest.approx(0, abs=1e-9)


def test_a_planted_change_of_the_score_is_read_off():
    rule, _ = read_off(PROBLEM, with_half_the_norms(), EXAMPLES)
    assert rule.norm == pytest.approx(0.5, abs=0.02)
    assert rule.fit == pytest.approx(1, abs=0.02)


def test_attention_at_the_sites_sums_to_one():
    loops = loops_of(PROBLEM, CONSTRUCTED, EXAMPLES.tokens)
    assert len(loops) == PROBLEM.steps
    for loop in loops:
        assert loop.responsibilities.sum(-1).numpy() == pytest.approx(1, abs=1e-12)  # 16 terms
        assert loop.shares.sum(-1).numpy() == pytest.approx(1, abs=1e-12)
    assert torch.equal(loops[1].before, loops[0].after)


def test_curves_of_the_construction_are_the_theorems_functions():
    curves = {one.function: one for one in curves_of(PROBLEM, CONSTRUCTED, "it", EXAMPLES)}
    assert tuple(curves) == FUNCTIONS
    norm, log_r = curves["half_norm2"], curves["log_resp"]
    assert norm.y == pytest.approx(norm.x, abs=0.2)  # chords of x^2 on [-8, 8] and |mu|^2/2 of a bin's mean
    above = [(x, y) for x, y in zip(log_r.x, log_r.y, strict=True) if x > 10 * PROBLEM.floor]
    # the mean log of a bin less the log of its mean: at most half the square of half its width, twice
    half_width = math.log(1e4) / BINS / 2
    assert [y for _, y in above] == pytest.approx([math.log(x) for x, _ in above], abs=half_width**2)


def test_curves_of_another_function_differ():
    """The control: log pi taken twice."""
    forms = forms_of_network(balanced(CONSTRUCTED))
    forms[1].w2[:, PROBLEM.construction.stream.log_pi.slice] *= 2
    mine, theirs = (
        {one.function: one for one in curves_of(PROBLEM, network, "it", EXAMPLES)}["log_pi"]
        for network in (CONSTRUCTED, network_of(forms, CONSTRUCTED))
    )
    slope, twice = ((one.y[-1] - one.y[0]) / math.log(one.x[-1] / one.x[0]) for one in (mine, theirs))
    assert slope == pytest.approx(1, abs=0.1)
    assert twice == pytest.approx(2, abs=0.2)


def test_forms_compute_what_the_network_computes():
    rebuilt = network_of(forms_of_network(CONSTRUCTED), CONSTRUCTED)
    apart = (rebuilt(EXAMPLES.tokens) - CONSTRUCTED(EXAMPLES.tokens)).abs().max()
    # Slopes of log near the floor are 1e3; four layers of sums over 22 coordinates: far below
    assert float(apart) < 1e-9


def test_groups_cover_every_weight_once():
    forms = forms_of_network(balanced(CONSTRUCTED))
    groups = theorem_groups(CONSTRUCTED, PROBLEM.construction.stream)
    for place, layer in enumerate(forms):
        for name in layer._fields:
            times = torch.stack([getattr(group.masks[place], name) for group in groups]).sum(0)
            assert bool((times == 1).all()), name
    other = tuple(type(layer)(*(part + 1 for part in layer)) for layer in forms)
    for mine, theirs in zip(mixed(forms, other, groups), other, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(mine, theirs, strict=True))
