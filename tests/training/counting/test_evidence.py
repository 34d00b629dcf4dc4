"""The numbers that the head sees: against the formulas, under other units, where fits fail."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from baselines.choosing import select_many
from training.counting.evidence import evidence, n_numbers

MOST = 4


def sets():
    rng = np.random.default_rng(0)
    return [rng.normal(size=(n, 2)) + 6 * (np.arange(n)[:, None] % 2) for n in (90, 120)]


@pytest.fixture(scope="module")
def found():
    return select_many(sets(), range(1, MOST + 1), "full")


def test_the_numbers_are_those_of_the_formulas(found):
    numbers = evidence(found, "full")
    assert numbers.shape == (2, n_numbers(MOST))
    for place, X in enumerate(sets()):
        N, models = len(X), [found[place].fitted(K, "full") for K in range(1, MOST + 1)]
        level = [N * model.score(X) for model in models]
        free = [K - 1 + 2 * K + 3 * K for K in range(1, MOST + 1)]
        gain = [(level[K] - level[K - 1]) / (free[K] - free[K - 1]) for K in range(1, MOST)]
        doubt = [-np.log(model.predict_proba(X).max(1)).sum() for model in models]
        bic = [p * math.log(N) - 2 * one for p, one in zip(free, level, strict=True)]
        icl = [one + 2 * unsure for one, unsure in zip(bic, doubt, strict=True)]
        expected = [math.copysign(math.log1p(abs(one)), one) for one in gain]
        expected += [math.log1p(one) for one in doubt] + [one / N for one in doubt]
        expected += [min(one - min(values), 200) / 30 for values in (bic, icl) for one in values]
        expected += [float(model.converged_) for model in models] + [math.log(N / 250)]
        # A sum of N logarithms of size 10 rounds by up to N * (10 N) u; two orders of it, and twice that in
        # BIC, whose other operations are few; what is taken of these afterwards does not expand.
        tolerance = 4 * N * (10 * N) * np.finfo(float).eps / 2
        np.testing.assert_allclose(numbers[place], expected, rtol=0, atol=tolerance)


def test_units_change_nothing():
    """Powers of two, so that only the exponents of the data change; no variance is added to (reg_covar)."""
    one, other = (
        evidence(select_many([scale * X for X in sets()], range(1, 3), "full", reg_covar=0.0), "full")
        for scale in (1.0, 1024.0)
    )
    # L moves by N d log 1024: sums of N = 120 logarithms of size 20 round by up to N * (20 N) u, in both, and
    # twice in BIC.
    assert (one - other).abs().max() <= 4 * 120 * (20 * 120) * np.finfo(float).eps / 2


def failing(selection, K):
    """The fit of K has a singular component."""
    candidates = tuple(
        replace(one, problem="singular component", log_likelihood=math.nan, bic=math.nan, icl=math.nan)
        if one.n_components == K
        else one
        for one in selection.candidates
    )
    return replace(selection, candidates=candidates)


def test_a_fit_that_failed_has_the_numbers_of_the_one_before(found):
    plain, numbers = (evidence([one], "full")[0] for one in (found[0], failing(found[0], 3)))
    assert bool(torch.isfinite(numbers).all())
    gains, doubts = numbers[: MOST - 1], numbers[MOST - 1 : 2 * MOST - 1]
    assert gains[1] == 0  # from K = 2 to 3
    assert doubts[2] == doubts[1] == plain[MOST]
    with pytest.raises(ValueError, match="the fit of one component failed: singular component"):
        evidence([failing(found[0], 1)], "full")


def test_needs_every_k_from_1_on():
    gaps = select_many(sets(), [1, 3], "full")
    with pytest.raises(ValueError, match=r"the fits are of K = \[1, 3\], needs 1 to M without gaps"):
        evidence(gaps, "full")
    with pytest.raises(ValueError, match=r"K = \[\]"):
        evidence(gaps, "diagonal")
