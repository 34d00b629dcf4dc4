"""The reference step is as near to EM in fifty digits as its bound says, however small the variances are."""

import mpmath
import pytest
import torch
from em_instances import COVARIANCE_TYPES, instance
from exact_em import exact_step

from baselines.em_paths import reference_step
from baselines.em_rounding import StepRounding, reference_rounding
from baselines.em_steps import em_step
from baselines.mixture import Mixture

F64 = torch.float64
KNOWN = [kind for kind in COVARIANCE_TYPES if kind != "unit"]


def arguments(X, start):
    """Of `reference_step`, for one task as a batch of one."""
    covariances = None if start.covariances is None else start.covariances[None]
    return X[None], start.weights[None], start.means[None], covariances, start.covariance_type


def tight(kind, ratio, offset=0.0, d=2, K=3, N=30):
    """Groups of standard deviation ratio^-1/2 about places of size 4, all moved by `offset`."""
    _, start = instance(3, d, K, N, kind)
    generator = torch.Generator().manual_seed(9)
    places = 4 * torch.randn(K, d, dtype=F64, generator=generator) + offset
    noise = torch.randn(N + K, d, dtype=F64, generator=generator) * ratio**-0.5
    X = places[torch.arange(N) % K] + noise[:N]
    covariances = None if start.covariances is None else start.covariances / ratio
    return X, Mixture(start.weights, places + 0.4 * noise[N:], covariances, kind)


def off(mine, exact):
    """|mine - exact| of nested lists of the shape of a tensor, as float64."""

    def gaps(values, true):
        if values.dim() == 0:
            return float(abs(mpmath.mpf(values.item()) - true))
        return [gaps(value, part) for value, part in zip(values, true, strict=True)]

    return torch.tensor(gaps(mine, exact), dtype=F64)


def errors(weights, means, covariances, exact, kind):
    """Like the bound: of one task, the covariances in their layout."""
    found = off(weights, exact[0]), off(means, exact[1])
    if covariances is None:
        return StepRounding(*found, None)
    d = means.shape[-1]
    true = [[[matrix[i, j] for j in range(d)] for i in range(d)] for matrix in exact[2]]
    layout = {
        "tied_spherical": lambda: true[0][0][0],
        "spherical": lambda: [matrix[0][0] for matrix in true],
        "diagonal": lambda: [[matrix[j][j] for j in range(d)] for matrix in true],
        "tied": lambda: true[0],
        "full": lambda: true,
    }[kind]
    return StepRounding(*found, off(covariances, layout()))


def assert_within(found, bound):
    for mine, limit in zip(found, bound, strict=True):
        assert mine is None or (mine <= limit).all(), (mine, limit)


def check(X, start):
    """The errors of the reference step from `start` and its bound; they are within it."""
    new = reference_step(*arguments(X, start))
    assert not (new.empty | new.singular).any()
    covariances = None if new.covariances is None else new.covariances[0]
    with mpmath.workdps(50):
        found = errors(new.weights[0], new.means[0], covariances, exact_step(X, start), start.covariance_type)
    bound = reference_rounding(*arguments(X, start))
    bound = StepRounding(*(None if values is None else values[0] for values in bound))
    assert_within(found, bound)
    return found, bound


@pytest.mark.parametrize("kind", COVARIANCE_TYPES)
@pytest.mark.parametrize(("d", "K", "N"), [(1, 1, 9), (2, 4, 9), (4, 2, 20)])
def test_the_step_is_within_its_bound(kind, d, K, N):
    check(*instance(10 * d + K, d, K, N, kind))


@pytest.mark.parametrize("kind", KNOWN)
@pytest.mark.parametrize("offset", [0.0, 1000.0])
def test_a_covariance_keeps_its_digits_however_small_it_is(kind, offset):
    """The same noise at two scales. All terms of the bound, over the variance, stay, but (d + 4) H, which
    grows as log ratio does, and |s| m_1, at most u 1000 (variance)^-1/2 = 1e-9 of m_2: in all by less than 2.
    """
    relative = [check(*tight(kind, ratio, offset))[1].covariances * ratio for ratio in (1e4, 1e8)]
    assert (relative[1] <= 2 * relative[0]).all()


@pytest.mark.parametrize("kind", ["tied_spherical", "spherical"])
def test_the_expanded_square_would_lose_them(kind):
    """Each sum that em_step takes a variance from rounds by about u R^2, which is 1e8 u variances."""
    X, start = tight(kind, 1e8)
    plain, _, _ = em_step(X, start)
    with mpmath.workdps(50):
        found = errors(plain.weights, plain.means, plain.covariances, exact_step(X, start), kind)
    assert (found.covariances > check(X, start)[1].covariances).all()


@pytest.mark.parametrize("kind", ["tied", "full"])
@pytest.mark.parametrize("angle", [1e-2, 1e-5])
def test_ill_conditioned_matrices_are_within_the_bound(kind, angle):
    """Features that agree but for `angle`: condition numbers of about angle^-2."""
    X, start = instance(5, 3, 2, 30, kind)
    mix = torch.eye(3, dtype=F64)
    mix[1] = torch.tensor([1.0, angle, 0.0], dtype=F64)
    covariances = mix @ start.covariances @ mix.T
    covariances = (covariances + covariances.mT) / 2
    check(X @ mix.T, Mixture(start.weights, start.means @ mix.T, covariances, kind))


@pytest.mark.parametrize("kind", KNOWN)
def test_a_mean_near_zero_keeps_its_digits_beside_a_group_far_away(kind):
    """The centre of the data and so the origin carry u 5000, the mean has u times its spread.

    By the bound it is off by (2 N + 4) u 0.003 + 2 u 0.003 < u at most, as all points are within 0.003.
    """
    generator = torch.Generator().manual_seed(4)
    places = torch.tensor([[0.0, 0.0], [1e4, 1e4]], dtype=F64)
    X = places[torch.arange(14) % 2] + 1e-3 * torch.randn(14, 2, dtype=F64, generator=generator)
    _, start = instance(3, 2, 2, 14, kind)
    found, _ = check(X, Mixture(start.weights, places, 1e-6 * start.covariances, kind))
    assert found.means[0].max() < 2.0**-53


@pytest.mark.parametrize("kind", COVARIANCE_TYPES)
@pytest.mark.parametrize("rare", [0.5, 0.001])
def test_components_nearly_in_one_place_are_within_the_bound(kind, rare):
    """Every share is near its weight, where it follows the log joints; two copies of each point."""
    X, start = instance(8, 2, 2, 12, kind)
    X = torch.cat([X, X])
    middle = start.means.mean(0)
    means = middle + 0.01 * (start.means - middle)
    check(X, Mixture(torch.tensor([1 - rare, rare], dtype=F64), means, start.covariances, kind))


@pytest.mark.parametrize("kind", COVARIANCE_TYPES)
def test_nothing_is_said_of_a_void_step_or_of_a_point_far_from_all(kind):
    X, start = instance(3, 2, 2, 12, kind)
    far = X.clone()
    far[0] = 1e8  # q = 2e16 and more, u q > 1
    weights = start.weights.repeat(3, 1)
    weights[2, 0] = 0
    means = start.means.repeat(3, 1, 1)
    covariances = None if start.covariances is None else torch.stack([start.covariances] * 3)
    bound = reference_rounding(torch.stack([X, far, X]), weights, means, covariances, kind)
    assert bound.weights.isfinite().all(-1).tolist() == [True, False, False]
    assert bound.means.isfinite().flatten(1).all(-1).tolist() == [True, False, False]
