"""Plain EM steps of many tasks at once: they are EM steps, and what is lost is marked."""

import itertools
from typing import NamedTuple

import pytest
import torch
from em_instances import COVARIANCE_TYPES, instance, step_rounding
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from baselines import em_accurate
from baselines.em import Status, em
from baselines.em_paths import reference_path, reference_step
from baselines.em_rounding import reference_rounding
from baselines.em_steps import e_step, em_step, isotropic_moments, update
from baselines.gaussian import isotropic_features
from baselines.mixture import Mixture
from baselines.tasks import paper_tasks

F64 = torch.float64
U = torch.finfo(F64).eps / 2


class Start(NamedTuple):
    """X (B, N, d), weights (B, K), means (B, K, d)."""

    X: Tensor
    weights: Tensor
    means: Tensor


def a_problem(dim=2, components=3, samples=20, trials=4) -> Start:
    """Starting means at the first points."""
    generator = torch.Generator().manual_seed(0)
    X = paper_tasks(trials, dim, components, samples, generator, max_cosine=2.0).X
    return Start(X, X.new_full((trials, components), 1 / components), X[:, :components].clone())


@pytest.fixture
def vanishing() -> Start:
    """Two tasks on a line; the second component of task 1 is 60 away, where exp(-60^2/2) is 0."""
    X = torch.randn(2, 15, 1, generator=torch.Generator().manual_seed(2), dtype=F64)
    means = torch.tensor([[[-1.0], [1.0]], [[0.0], [60.0]]], dtype=F64)
    return Start(X, torch.full((2, 2), 0.5, dtype=F64), means)


@pytest.mark.parametrize("sizes", [(1, 1, 1), (1, 3, 7), (2, 2, 2), (5, 4, 33)])
def test_reference_step_is_an_em_step_of_baselines(sizes):
    """Both are float64; X is centred at its average there and here, so they may differ only by rounding.

    A mean is an average of N values of size R = max|x|: gamma(N + 10) R on each side.
    """
    problem = a_problem(*sizes)
    new = reference_step(problem.X, problem.weights, problem.means)
    expected, _, _ = em_step(problem.X, Mixture(problem.weights, problem.means))
    tolerance = 2 * (sizes[2] + 10) * U
    assert not new.empty.any()
    assert (new.means - expected.means).abs().max() <= tolerance * problem.X.abs().max()
    assert (new.weights - expected.weights).abs().max() <= tolerance


def test_reference_step_ignores_a_factor_of_the_weights():
    problem = a_problem()
    once = reference_step(problem.X, problem.weights, problem.means)
    again = reference_step(problem.X, 4 * problem.weights, problem.means)
    # 4 w / sum(4 w) is exactly w / sum(w).
    assert torch.equal(once.means, again.means)


def test_reference_step_marks_what_is_empty(vanishing):
    new = reference_step(vanishing.X, vanishing.weights, vanishing.means)
    assert new.empty.tolist() == [[False, False], [False, True]]
    assert new.means.isfinite().all()
    alone, _, _ = em_step(vanishing.X[0], Mixture(vanishing.weights[0], vanishing.means[0]))
    assert (new.means[0] - alone.means).abs().max() <= 2 * 25 * U * vanishing.X.abs().max()


def test_reference_step_of_a_zero_weight():
    problem = a_problem(trials=2)
    weights = problem.weights.clone()
    weights[1, 0] = 0
    new = reference_step(problem.X, weights, problem.means)
    assert new.empty.tolist() == [[False] * 3, [True] * 3]
    assert new.means[1].abs().max() == 0


def test_reference_path_repeats_the_step_and_keeps_a_lost_task_where_it_was(vanishing):
    weights, means, _, defined = reference_path(vanishing.X, vanishing.weights, vanishing.means, 3)
    assert defined.tolist() == [[True] * 3, [False] * 3]
    assert torch.equal(means[1], vanishing.means[1].expand(4, 2, 1))
    state = vanishing.weights[:1], vanishing.means[:1]
    for t in range(3):
        new = reference_step(vanishing.X[:1], *state)
        state = new.weights, new.means
        # The same formula on a batch of one; torch may add in another order.
        assert (means[0, t + 1] - new.means[0]).abs().max() <= 2 * 25 * U * vanishing.X.abs().max()
        assert (weights[0, t + 1] - new.weights[0]).abs().max() <= 2 * 25 * U


def unit_step(X, weights, means):
    """The unit-covariance step as it was computed before there were other types."""
    shares, _ = e_step(X, Mixture(weights / weights.sum(-1, keepdim=True), means))
    centre = X.mean(-2, keepdim=True)
    moments = isotropic_moments(shares, isotropic_features(X - centre))
    new = update(moments, torch.zeros_like(means), X.new_full(X.shape[:-2], X.shape[-2]), "unit")
    return new.weights, new.means + centre


@pytest.mark.parametrize("sizes", [(1, 1, 1), (1, 3, 7), (2, 2, 2), (5, 4, 33)])
def test_unit_steps_are_bit_for_bit_what_they_were(sizes):
    """The same operations on the same numbers, in the same order."""
    problem = a_problem(*sizes)
    weights, means = 3 * problem.weights, problem.means
    path = reference_path(problem.X, weights, means, 3)
    assert path.covariances is None
    for t in range(3):
        weights, means = unit_step(problem.X, weights, means)
        assert torch.equal(path.weights[:, t + 1], weights)
        assert torch.equal(path.means[:, t + 1], means)


# ---- every covariance type


class Known(NamedTuple):
    """Arguments of `reference_step`."""

    X: Tensor
    weights: Tensor
    means: Tensor
    covariances: Tensor | None
    covariance_type: str

    def task(self, b) -> "Known":
        return Known(*(values if isinstance(values, str) or values is None else values[b] for values in self))

    def mixture(self) -> Mixture:
        return Mixture(*self[1:])


def a_start(kind, seed=7, d=2, K=3, N=20, batch=(4,)) -> Known:
    X, start = instance(seed, d, K, N, kind, batch=batch)
    return Known(X, start.weights, start.means, start.covariances, kind)


def parts(found):
    """Weights, means and covariances that are there, of an update, a bound, a mixture or a state."""
    values = found.weights, found.means, found.covariances
    return [part for part in values if part is not None]


def assert_near(one, other, tolerance):
    for mine, theirs, limit in zip(parts(one), parts(other), parts(tolerance), strict=True):
        assert ((mine - theirs).abs() <= limit).all()


@pytest.mark.parametrize("kind", COVARIANCE_TYPES)
@pytest.mark.parametrize(("d", "K", "N"), [(1, 1, 9), (2, 3, 40), (5, 4, 60)])
def test_a_step_of_every_type_is_one_of_em(kind, d, K, N):
    """`step_rounding` is what a step of `em` may be off by; the reference has its own bound."""
    start = a_start(kind, d=d, K=K, N=N)
    new, own = reference_step(*start), reference_rounding(*start)
    assert not (new.empty | new.singular).any()
    result = em(start.X, init=start.mixture(), max_iter=1, tol=0)
    for b in range(len(start.X)):
        plain = step_rounding(start.X[b], start.task(b).mixture())
        for mine, theirs, limit in zip(parts(new), parts(result.mixture), parts(own), strict=True):
            assert ((mine[b] - theirs[b]).abs() <= plain + limit[b]).all()
    if new.roots is not None:
        # Each entry of L L^T sums at most d products, as the factorisation did (Higham, theorem 10.3).
        diagonal = new.covariances.diagonal(dim1=-2, dim2=-1).sqrt()
        gap = (new.roots @ new.roots.mT - new.covariances).abs()
        assert (gap <= (2 * d + 4) * U * diagonal[..., None] * diagonal[..., None, :]).all()


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**31 - 1),
    kind=st.sampled_from(COVARIANCE_TYPES),
    d=st.integers(1, 3),
    K=st.integers(1, 4),
    repeats=st.integers(1, 3),
    rare=st.booleans(),
)
def test_small_and_repeated_and_rare(seed, kind, d, K, repeats, rare):
    """N = K d + 1 points, each `repeats` times, and a weight of one in a thousand: as `em`, or marked."""
    start = a_start(kind, seed, d, K, K * d + 1, batch=(1,))
    weights = start.weights.clone()
    if rare and K > 1:
        weights[:, 0] = 0.001 * weights[:, 1:].sum(-1) / 0.999
    weights = weights / weights.sum(-1, keepdim=True)
    start = start._replace(X=start.X.repeat(1, repeats, 1), weights=weights)
    new, own = reference_step(*start), reference_rounding(*start)
    result = em(start.X, init=start.mixture(), max_iter=1, tol=0)
    if (new.empty | new.singular).any() or result.status.item() != Status.MAX_ITER:
        return
    plain = step_rounding(start.X[0], start.task(0).mixture())
    for mine, theirs, limit in zip(parts(new), parts(result.mixture), parts(own), strict=True):
        assert ((mine - theirs).abs() <= plain + limit).all()


@pytest.mark.parametrize("kind", COVARIANCE_TYPES)
def test_a_path_repeats_the_step(kind):
    start = a_start(kind, N=40)
    path = reference_path(*start[:3], 3, *start[3:])
    assert path.defined.all()
    assert path.defined.shape == (4, 3)
    states = [
        Known(
            start.X,
            path.weights[:, t],
            path.means[:, t],
            None if path.covariances is None else path.covariances[:, t],
            kind,
        )
        for t in range(4)
    ]
    assert all(torch.equal(mine, began) for mine, began in zip(parts(states[0]), parts(start), strict=True))
    for before, after in itertools.pairwise(states):
        # Both are within the bound of the exact step, in whatever order a sum runs.
        limit = [2 * values for values in parts(reference_rounding(*before))]
        for mine, theirs, most in zip(parts(after), parts(reference_step(*before)), limit, strict=True):
            assert ((mine - theirs).abs() <= most).all()


@pytest.mark.parametrize("kind", [k for k in COVARIANCE_TYPES if k not in ("unit", "tied_spherical", "tied")])
def test_a_dropped_log_det_is_noticed(kind, monkeypatch):
    """Without it a share is off by a ratio of determinants; with one covariance for all there is none."""
    start = a_start(kind)
    new, bound = reference_step(*start), reference_rounding(*start)
    monkeypatch.setattr(em_accurate, "half_log_determinants", lambda scale, *_: torch.zeros(scale.shape[:2]))
    without = reference_step(*start)
    for mine, theirs, limit in zip(parts(new), parts(without), parts(bound), strict=True):
        assert ((mine - theirs).abs() > 2 * limit).flatten(1).any(-1).all()


# ---- what is lost


def lost(kind, b=1):
    """Four tasks; component 1 of task b is so far away that exp(-q/2) is 0 for every point."""
    start = a_start(kind)
    means = start.means.clone()
    means[b, 1] += 1e4
    return start._replace(means=means)


@pytest.mark.parametrize("kind", COVARIANCE_TYPES)
def test_an_empty_component_marks_its_task_and_no_other(kind):
    start = lost(kind)
    new = reference_step(*start)
    expected = torch.zeros(4, 3, dtype=torch.bool)
    expected[1, 1] = True
    assert torch.equal(new.empty, expected)
    assert not new.singular.any()
    assert all(values.isfinite().all() for values in parts(new))
    sound = start.task([0, 2, 3])
    limit = [2 * values for values in parts(reference_rounding(*sound))]
    alone = reference_step(*sound)
    for mine, theirs, most in zip(parts(new), parts(alone), limit, strict=True):
        assert ((mine[[0, 2, 3]] - theirs).abs() <= most).all()
    path = reference_path(*start[:3], 2, *start[3:])
    assert path.defined.tolist() == [[True, True], [False, False], [True, True], [True, True]]
    for states, began in zip(parts(path), parts(start), strict=True):
        assert all(torch.equal(states[1, t], began[1]) for t in range(3))


@pytest.mark.parametrize("kind", [k for k in COVARIANCE_TYPES if k != "unit"])
def test_a_component_without_spread_is_singular(kind):
    """All points of task 2 in one place: every component of it is singular, and none of another task."""
    start = a_start(kind)
    X = start.X.clone()
    X[2] = X[2, :1]
    new = reference_step(X, *start[1:])
    assert not new.empty.any()
    assert new.singular.tolist() == [[b == 2] * 3 for b in range(4)]
    assert new.covariances[2].abs().max() == 0
    path = reference_path(X, *start[1:3], 1, *start[3:])
    assert path.defined[:, 0].tolist() == [True, True, False, True]


def far_groups(spread):
    """One task: points at +-0.1 and at 1 +- spread on a line, a component at each."""
    X = torch.tensor([-0.1, 0.1, -0.1, 0.1, 1 - spread, 1 + spread, 1 - spread, 1 + spread], dtype=F64)
    means = torch.tensor([[[0.0], [1.0]]], dtype=F64)
    return X.reshape(1, 8, 1), torch.full((1, 2), 0.5, dtype=F64), means


@pytest.mark.parametrize(("spread", "singular"), [(2.0**-23, False), (2.0**-25, True)])
def test_a_spherical_variance_is_singular_where_update_says_so(spread, singular):
    """s = spread^2 is 2^-46 and 2^-50. The group is 1/2 from the centre, so that 64 eps E|x|^2 = 2^-48."""
    X, weights, means = far_groups(spread)
    start = torch.full((1, 2), 1e-3, dtype=F64)
    new = reference_step(X, weights, means, start, "spherical")
    assert new.singular.tolist() == [[False, singular]]


BAD = {
    "a weight of 0": ("weights", lambda v: v.masked_fill(torch.tensor([True, False, False]), 0.0)),
    "a weight below 0": ("weights", lambda v: v.masked_fill(torch.tensor([True, False, False]), -0.1)),
    "a weight that is no number": ("weights", lambda v: v * torch.nan),
    "an infinite mean": ("means", lambda v: v + torch.inf),
    "a covariance that is no number": ("covariances", lambda v: v * torch.nan),
    "a negative covariance": ("covariances", torch.neg),
    "a covariance of 0": ("covariances", torch.zeros_like),
}


@pytest.mark.parametrize(
    ("kind", "bad"),
    [(k, bad) for k in COVARIANCE_TYPES for bad in BAD if k != "unit" or BAD[bad][0] != "covariances"],
)
def test_a_start_that_is_no_mixture_is_marked_as_empty(kind, bad):
    field, spoil = BAD[bad]
    start = a_start(kind)
    values = getattr(start, field).clone()
    values[1] = spoil(values[1])
    start = start._replace(**{field: values})
    new = reference_step(*start)
    assert new.empty.tolist() == [[b == 1] * 3 for b in range(4)]
    assert not new.singular.any()
    path = reference_path(*start[:3], 1, *start[3:])
    assert path.defined[:, 0].tolist() == [True, False, True, True]
    for states, began in zip(parts(path), parts(start), strict=True):
        assert torch.equal(states[1, 1].nan_to_num(), began[1].nan_to_num())


@pytest.mark.parametrize("kind", ["tied", "full"])
def test_a_matrix_that_is_not_symmetric_is_no_covariance(kind):
    start = a_start(kind)
    covariances = start.covariances.clone()
    covariances[1, ..., 0, 1] += 1e-3
    new = reference_step(*start._replace(covariances=covariances))
    assert new.empty.tolist() == [[b == 1] * 3 for b in range(4)]
