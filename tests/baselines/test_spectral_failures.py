"""Where the moments have no answer the spectral estimator says so, task by task; bad input."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from spectral_instances import exact_data, separated_means
from tensor_instances import seeded

from baselines.spectral import SpectralError, Status, spectral

SEEDS = st.integers(0, 2**31 - 1)
FEW = settings(max_examples=40, deadline=None)


def test_failed_tasks_are_marked_and_leave_the_others_alone():
    """Task 1: equal means. Task 2: no means but 0. Task 3: M2 of rank 2, but symmetric: M3 is 0."""
    half = separated_means(14, 3, 2)
    good = exact_data(half, [4, 4], 1.0)
    same = exact_data(half[:1].expand(2, 3), [4, 4], 1.0)
    noise = exact_data(0 * half, [4, 4], 1.0)
    symmetric = exact_data(torch.cat([half, -half]), [2, 2, 2, 2], 1.0)
    X = torch.stack([good, same, noise, symmetric])
    starts = torch.randn(2, 8, 2, dtype=torch.float64, generator=seeded(15))
    result = spectral(X, 2, starts=starts, n_iter=40, on_failure="mark")
    assert result.status.tolist() == [0, Status.RANK_DEFICIENT, Status.RANK_DEFICIENT, Status.NO_THIRD_MOMENT]
    assert result.failed.tolist() == [False, True, True, True]
    for values in (result.weights, result.raw_weights, result.means, result.tensor_eigenvalues, result.moved):
        assert values[1:].isnan().all()
        assert values[0].isfinite().all()
    assert result.moment_eigenvalues.isfinite().all()
    assert (result.variance == 1).all()
    alone = spectral(good, 2, starts=starts, n_iter=40)
    torch.testing.assert_close(alone.means, result.means[0], rtol=0, atol=1e-13)
    with pytest.raises(ValueError, match=r"3 of 4 tasks failed, needs 0, or select\("):
        _ = result.mixture
    assert result.select(~result.failed).means.shape == (1, 2, 3)
    with pytest.raises(
        SpectralError, match=r"task \(1,\): eigenvalue 2 of the second moment .* needs > \d"
    ) as caught:
        spectral(X, 2, starts=starts)
    assert (caught.value.task, caught.value.status) == ((1,), Status.RANK_DEFICIENT)
    assert "\n" not in str(caught.value)


def test_no_third_moment():
    """Four means +-a, +-b with equal weights, asked for two: M2 has rank 2, M3 is 0."""
    half = separated_means(16, 3, 2)
    X = exact_data(torch.cat([half, -half]), [1, 1, 1, 1], 1.0)
    with pytest.raises(
        SpectralError, match=r"task \(\): an eigenvalue of the whitened third .* > \d"
    ) as caught:
        spectral(X, 2, generator=seeded(0))
    assert caught.value.status == Status.NO_THIRD_MOMENT
    marked = spectral(X, 2, generator=seeded(0), on_failure="mark")
    assert marked.status == Status.NO_THIRD_MOMENT
    assert marked.tensor_eigenvalues.isnan().all()


@pytest.mark.parametrize("scale", [1.0, 1e-120, 1e120])
def test_too_few_points_for_a_variance(scale):
    """N <= d: the covariance is singular whatever the data."""
    X = scale * torch.randn(6, 4, 4, dtype=torch.float64, generator=seeded(17))
    result = spectral(X, 2, variance=None, generator=seeded(0), on_failure="mark")
    assert (result.status == Status.NO_VARIANCE).all()
    assert result.failed.all()
    with pytest.raises(
        SpectralError, match=r"task \(0,\): the estimated variance is .*, needs a covariance of"
    ):
        spectral(X, 2, variance=None, generator=seeded(0))


@pytest.mark.parametrize("scale", [1e-160, 1e-170])
def test_a_variance_below_the_normal_numbers_is_none(scale):
    X = scale * torch.randn(40, 3, dtype=torch.float64, generator=seeded(18))
    result = spectral(X, 1, variance=None, generator=seeded(0), on_failure="mark")
    assert result.status == Status.NO_VARIANCE


@FEW
@given(SEEDS, st.integers(2, 8), st.integers(1, 60), st.sampled_from([0.0, 1e3, 1e6]), st.data())
def test_rank_is_never_made_of_rounding(seed, d, N, offset, data):
    """x on a line, a plane, ... of fewer dimensions r < K through 0 with s far below the rounding of M2: its
    K-th eigenvalue is at most that rounding, and the derived threshold is above it."""
    r = data.draw(st.integers(1, d - 1))
    generator = seeded(seed)
    frame = torch.randint(-3, 4, (r, d), generator=generator).double()
    inside = torch.randint(-(2**20), 2**20, (N, r), generator=generator).double() / 2**10 + offset
    result = spectral(inside @ frame, r + 1, variance=1e-200, generator=generator, on_failure="mark")
    assert result.status == Status.RANK_DEFICIENT


@FEW
@given(
    SEEDS,
    st.integers(2, 6),
    st.sampled_from([None, 1.0]),
    st.lists(st.integers(1, 4), min_size=2, max_size=2),
)
def test_equal_means_are_one_component(seed, d, variance, counts):
    """M2 has rank 1; its second eigenvalue is rounding, also that of an estimated variance."""
    means = 3 * separated_means(seed, d, 1).expand(2, d)
    X = exact_data(means, counts, 1.0)
    result = spectral(X, 2, variance=variance, generator=seeded(seed), on_failure="mark")
    assert result.status == Status.RANK_DEFICIENT
    assert result.variance.item() == pytest.approx(1.0, rel=1e-11)


@FEW
@given(SEEDS, st.integers(1, 5), st.integers(1, 8), st.data())
def test_any_few_points_give_numbers_or_a_mark(seed, d, N, data):
    K = data.draw(st.integers(1, d))
    X = 3 * torch.randn(5, N, d, dtype=torch.float64, generator=seeded(seed))
    result = spectral(X, K, generator=seeded(seed), on_failure="mark")
    assert torch.equal(result.weights.isnan().any(-1), result.failed)
    assert torch.equal(result.means.isnan().any((-2, -1)), result.failed)
    if N < K:
        assert result.failed.all()
    if not result.failed.all():
        result.select(~result.failed)


# ---- bad input

X0 = torch.randn(20, 3, dtype=torch.float64, generator=seeded(21)) + 2
BAD = X0.clone()
BAD[4, 1] = torch.nan
SEEDED = {"generator": seeded(0)}


@pytest.mark.parametrize(
    ("data", "K", "arguments", "match"),
    [
        (BAD, 2, SEEDED, r"X\[4, 1\] is nan, needs finite"),
        (X0.long(), 2, SEEDED, "torch.int64, needs a floating-point"),
        (X0[0], 2, SEEDED, r"shape \(3,\), needs \(\.\.\., N, d\)"),
        (X0[:0], 2, SEEDED, r"shape \(0, 3\), needs"),
        (1e200 * X0, 2, SEEDED, r"a squared norm \|x\|\^2 of X is inf, needs < .*torch.float64"),
        (X0, 0, SEEDED, "n_components is 0, needs an integer of at least 1"),
        (X0, 2.0, SEEDED, "n_components is 2.0, needs an integer"),
        (X0, 4, SEEDED, "n_components is 4, needs <= n_features = 3"),
        (X0, 2, {}, "neither of generator and starts given"),
        (X0, 2, SEEDED | {"variance": 0.0}, "variance is 0.0, needs None or a finite number of at least"),
        (X0, 2, SEEDED | {"variance": -1.0}, "variance is -1.0, needs"),
        (X0, 2, SEEDED | {"variance": float("nan")}, "variance is nan, needs"),
        (X0, 2, SEEDED | {"variance": float("inf")}, "variance is inf, needs"),
        (X0, 2, SEEDED | {"n_starts": 0}, "n_starts is 0, needs"),
        (X0, 2, SEEDED | {"n_iter": 0}, "n_iter is 0, needs"),
        (X0, 2, SEEDED | {"on_failure": "skip"}, "on_failure is 'skip', needs one of raise, mark"),
        (
            X0,
            2,
            {"starts": X0.expand(2, 20, 3)},
            r"starts have shape \(2, 20, 3\), needs \(\.\.\., 2, n_starts, 2\)",
        ),
    ],
)
def test_bad_input(data, K, arguments, match):
    with pytest.raises(ValueError, match=match) as caught:
        spectral(data, K, **arguments)
    assert "\n" not in str(caught.value)


def test_more_components_than_features_can_be_marked():
    X = torch.randn(4, 30, 5, dtype=torch.float64, generator=seeded(22))
    result = spectral(X, 6, generator=seeded(0), on_failure="mark")
    assert (result.status == Status.TOO_MANY_COMPONENTS).all()
    assert result.failed.all()
    assert result.means.shape == (4, 6, 5)
    assert result.means.isnan().all()
    assert result.weights.isnan().all()
