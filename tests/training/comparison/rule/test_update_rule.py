"""The family has EM in it; each of its numbers does what its formula says."""

import dataclasses

import pytest
import torch

from baselines.em import em
from baselines.mixture import Mixture
from constructions.language.rounding import gamma, unit_roundoff
from training.comparison.rule.update_rule import EM, UpdateRule

U = unit_roundoff(torch.float64)
T, N, K, D = 5, 12, 3, 2


def instance():
    generator = torch.Generator().manual_seed(0)
    X = 3 * torch.randn(T, N, D, generator=generator, dtype=torch.float64)
    return X, Mixture(torch.full((T, K), 1 / K, dtype=torch.float64), X[:, :K].clone())


def rounding(X):
    """Of one step, as of exact EM: a score errs by (d + 8) u R^2, shares by twice that, sums by gamma_2N."""
    R = 2 * float(X.norm(dim=-1).max())
    return 2 * (2 * (D + 8) * U * R**2 + gamma(2 * N, U)) * max(1.0, R)


def test_em_is_in_the_family():
    X, start = instance()
    found = EM.path(X, start, 1)[0]
    expected = em(X, init=start, max_iter=1, tol=0.0).mixture
    assert (found.means - expected.means).abs().max() <= rounding(X)
    assert (found.weights - expected.weights).abs().max() <= rounding(X)


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(UpdateRule)])
def test_every_number_changes_the_answer(name):
    """The control: no number of a rule is without use. Two steps: the weights of the first are equal."""
    X, start = instance()
    other = dataclasses.replace(EM, **{name: getattr(EM, name) + 0.2})
    mine, theirs = (rule.path(X, start, 2)[-1] for rule in (EM, other))
    apart = torch.cat([(mine.means - theirs.means).flatten(), (mine.weights - theirs.weights).flatten()])
    assert apart.abs().max() > 1e6 * rounding(X)


def test_a_step_by_hand():
    """d = 1, K = 2, three points; the formula of the file's head in plain numbers."""
    rule = UpdateRule(0.7, 0.4, -0.6, 0.2, 2.0, 1.1, -0.2, 0.1, 0.5)
    x, mu, pi = [-1.0, 0.5, 2.0], [0.0, 1.0], [0.3, 0.7]
    scores = [
        [2.718281828459045 ** (0.7 * a * m - 0.4 * m * m / 2) * p**-0.6 for m, p in zip(mu, pi, strict=True)]
        for a in x
    ]
    r = [[one / sum(row) for one in row] for row in scores]
    wanted, shares = [], []
    for k in range(2):
        w = [max(row[k], 0.2) ** 2 for row in r]
        average = sum(a * b for a, b in zip(w, x, strict=True)) / sum(w)
        wanted.append(1.1 * average - 0.2 * mu[k] + 0.1 * sum(x) / 3)
        shares.append((sum(row[k] for row in r) / 3) ** 0.5)
    as_tensor = torch.tensor([x], dtype=torch.float64).mT[None]
    start = Mixture(
        torch.tensor([pi], dtype=torch.float64), torch.tensor([mu], dtype=torch.float64)[..., None]
    )
    found = rule.path(as_tensor, start, 1)[0]
    # some forty operations on numbers below 4
    assert found.means.flatten().tolist() == pytest.approx(wanted, abs=4 * gamma(40, U))
    weights = [one / sum(shares) for one in shares]
    assert found.weights.flatten().tolist() == pytest.approx(weights, abs=4 * gamma(40, U))


def test_bad_numbers_are_refused():
    with pytest.raises(ValueError, match=r"floor is 1\.0, needs 0 <= floor < 1"):
        UpdateRule(floor=1.0)
    with pytest.raises(ValueError, match="old is nan, needs a finite number"):
        UpdateRule(old=float("nan"))
