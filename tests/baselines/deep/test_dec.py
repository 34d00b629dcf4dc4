"""DEC: its formulas by loops, what it finds, its end, seeds, errors."""

import warnings

import numpy as np
import pytest
import torch
from scipy.stats import entropy
from sklearn.base import clone
from sklearn.datasets import make_blobs
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.metrics import adjusted_rand_score

from baselines.deep.dec import DEC, divergence, soft_assignment, target_distribution

X, GROUPS = make_blobs(90, centers=[[0, 0, 0], [9, 0, 0], [0, 9, 0]], random_state=0)
U = 2.0**-53
SMALL = {"hidden": (8,), "pretrain_steps": 60, "pretrain_rate": 0.01, "update_interval": 10}


def test_the_formulas_by_loops() -> None:
    rng = np.random.default_rng(0)
    z, centres = rng.normal(size=(6, 2)), rng.normal(size=(3, 2))
    q = np.array([[1 / (1 + (x[0] - m[0]) ** 2 + (x[1] - m[1]) ** 2) for m in centres] for x in z])
    q /= q.sum(1, keepdims=True)
    found = soft_assignment(torch.from_numpy(z), torch.from_numpy(centres))
    # Relative roundings of numbers that are all positive: 1 of each difference, so 3 of a square, 4 of two, 5
    # with the 1, 6 of the inverse, 9 of the sum of three and 15 of the quotient; on both sides.
    np.testing.assert_allclose(found, q, rtol=2 * 16 * U)
    sizes = [sum(q[n][k] for n in range(6)) for k in range(3)]
    p = np.empty((6, 3))
    for n in range(6):
        total = sum(q[n][k] ** 2 / sizes[k] for k in range(3))
        for k in range(3):
            p[n, k] = q[n][k] ** 2 / sizes[k] / total
    # q^2 has 31, the sum of six q 21, their quotient 53, the sum of three 56, p 110; on both sides.
    np.testing.assert_allclose(target_distribution(found), p, rtol=2 * 112 * U)
    expected = np.mean([entropy(a, b) for a, b in zip(p, q, strict=True)])
    # A relative error e of p or q moves p log(p/q) by p (|log p/q| + 2) e at most: e = 15 + 112, and the 18
    # terms, their sums and scipy's own normalising of p and q round 40 times more.
    sizes = np.mean(np.sum(p * (np.abs(np.log(p)) + np.abs(np.log(q)) + 2), 1))
    assert abs(float(divergence(torch.from_numpy(p), found)) - expected) <= 2 * 170 * U * sizes


def test_a_target_of_zeros_has_a_divergence() -> None:
    p, q = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.25, 0.75]])
    # In float32: one logarithm, good to 2 u, of an exact 1/4.
    assert float(divergence(p, q)) == pytest.approx(np.log(4), rel=2 * 2.0**-24)


def test_far_groups_are_found_and_a_seed_fixes_everything() -> None:
    model = DEC(3, random_state=3, **SMALL).fit(X)
    assert adjusted_rand_score(GROUPS, model.labels_) == 1
    assert (model.predict(X) == model.labels_).all()
    assert model.converged_
    assert 1 <= model.n_iter_ <= model.max_updates
    assert model.cluster_centers_.shape == (3, 3)
    again = clone(model).fit(X)
    assert (again.cluster_centers_ == model.cluster_centers_).all()
    other = clone(model).set_params(random_state=4).fit(X)
    assert (other.cluster_centers_ != model.cluster_centers_).any()


def test_updates_pull_points_and_centres_together() -> None:
    """The sum of the largest shares grows: the target is sharper than what it is made of."""
    overlapping, _ = make_blobs(90, centers=[[0, 0], [3, 0]], random_state=1)
    settings = SMALL | {"random_state": 0, "tol": 0.0}
    shares = []
    for updates in (0, 5):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model = DEC(2, max_updates=updates, learning_rate=0.1, **settings).fit(overlapping)
        shares.append(float(model._shares(model._in_units(overlapping)).amax(-1).mean()))
    assert shares[1] > shares[0] + 0.02


def test_an_end_before_tol_is_said() -> None:
    with pytest.warns(ConvergenceWarning, match="after max_updates = 1 the groups still change by tol = 0.0"):
        model = DEC(3, max_updates=1, tol=0.0, random_state=0, **SMALL).fit(X)
    assert not model.converged_


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"n_clusters": 0}, "n_clusters is 0, needs an integer of at least 1"),
        ({"n_clusters": 91}, "X with n_samples = 90 needs at least n_clusters = 91"),
        ({"update_interval": 0}, "update_interval is 0, needs an integer of at least 1"),
        ({"learning_rate": 0}, "learning_rate is 0, needs a finite number above 0"),
        ({"tol": -1}, "tol is -1, needs a finite number of at least 0"),
        ({"hidden": 8}, "hidden is 8, needs a sequence of widths"),
        ({"hidden": (8, 0)}, "a width of hidden is 0, needs an integer of at least 1"),
        ({"learning_rate": 1e30}, "learning_rate is 1e.30, too large"),
    ],
)
def test_bad_parameters_are_one_line(settings, line) -> None:
    with pytest.raises(ValueError, match=line):
        DEC(**{"n_clusters": 3, "random_state": 0} | SMALL | settings).fit(X)


def test_constant_points_and_an_unfitted_model() -> None:
    with pytest.raises(ValueError, match="X has a spread of 0, needs one above 0"):
        DEC(2).fit(np.ones((5, 2)))
    with pytest.raises(NotFittedError):
        DEC(2).predict(X)
