"""Task samplers: exactly what was asked for, inside the stated bounds, the same for the same seed."""

import pytest
import torch

from baselines.tasks import diagonal_tasks, near_equal_tasks, paper_tasks, separated_tasks


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def cosines(means):
    directions = means / means.norm(dim=-1, keepdim=True)
    K = means.shape[-2]
    i, j = torch.triu_indices(K, K, 1)
    return (directions[:, i] * directions[:, j]).sum(-1)


@pytest.mark.parametrize(("d", "K"), [(1, 1), (1, 2), (2, 5), (8, 3), (32, 5)])
@pytest.mark.parametrize("n_tasks", [1, 3, 1500])
def test_paper_tasks(d, K, n_tasks):
    tasks = paper_tasks(n_tasks, d, K, 7, seeded())
    assert tasks.X.shape == (n_tasks, 7, d)
    assert tasks.labels.shape == (n_tasks, 7)
    assert tasks.truth.batch_shape == (n_tasks,)
    assert (tasks.truth.n_components, tasks.truth.covariance_type) == (K, "unit")
    assert tasks.truth.means.abs().max() <= 5
    assert (cosines(tasks.truth.means) < 0.8).all()
    ratio = tasks.truth.weights.amax(-1) / tasks.truth.weights.amin(-1)
    assert (ratio <= 4 + 1e-12).all()


def test_paper_distribution():
    """Means and weights are spread as stated.

    E mu_j = 0 and E mu_j^2 = 25/3 where the cosine bound removes almost nothing (d = 32), and the box is
    filled to its edges. Of two weights the first is the larger in half the tasks, unless they are sorted.
    """
    truth = paper_tasks(4000, 32, 2, 1, seeded()).truth
    n = truth.means.numel()
    assert truth.means.mean().abs() < 5 * (25 / 3 / n) ** 0.5
    assert (truth.means.square().mean() - 25 / 3).abs() < 5 * ((5**4 / 5 - (25 / 3) ** 2) / n) ** 0.5
    assert truth.means.max() > 4.999
    larger = (truth.weights[:, 0] > truth.weights[:, 1]).double().mean()
    assert (larger - 0.5).abs() < 5 * 0.5 / 4000**0.5
    assert truth.weights.min() < 0.25
    ordered = paper_tasks(500, 4, 3, 1, seeded(), sort_weights=True).truth.weights
    assert (ordered.diff(dim=-1) >= 0).all()


def test_a_seed_fixes_everything_and_nothing_else_is_read():
    first = paper_tasks(5, 2, 4, 6, seeded(3))
    torch.rand(10)
    second = paper_tasks(5, 2, 4, 6, seeded(3))
    other = paper_tasks(5, 2, 4, 6, seeded(4))
    assert torch.equal(first.X, second.X)
    assert torch.equal(first.truth.weights, second.truth.weights)
    assert not torch.equal(first.X, other.X)
    before = torch.get_rng_state()
    paper_tasks(5, 2, 4, 6, seeded(3))
    assert torch.equal(before, torch.get_rng_state())


def test_dtype():
    assert paper_tasks(2, 3, 2, 4, seeded(), dtype=torch.float32).X.dtype == torch.float32


def test_diagonal_scale_is_a_standard_deviation_and_the_truth_holds_variances():
    """The paper's own code mixes the two.

    With 4,000 points the variance of a component is known to a relative sqrt(2/n_k); deviations near 0.5 and
    1.5 differ from their squares by far more.
    """
    tasks = diagonal_tasks(20, 3, 2, 4000, seeded(), deviation_range=(0.3, 2.0))
    deviations = tasks.truth.covariances.sqrt()
    assert 0.3 <= deviations.min() < 0.5
    assert 1.8 < deviations.max() <= 2.0
    for task in range(20):
        for k in range(2):
            own = tasks.X[task][tasks.labels[task] == k]
            relative = own.var(0) / tasks.truth.covariances[task, k] - 1
            assert (relative.abs() < 5 * (2 / len(own)) ** 0.5).all()


@pytest.mark.parametrize(("d", "K"), [(1, 2), (3, 4), (8, 5), (4, 1)])
def test_separated_tasks(d, K):
    tasks = separated_tasks(6, d, K, 5, seeded(), separation=3.0)
    assert tasks.X.shape == (6, 5, d)
    assert tasks.truth.means.shape == (6, K, d)
    i, j = torch.triu_indices(K, K, 1)
    distances = (tasks.truth.means[:, i] - tasks.truth.means[:, j]).norm(dim=-1)
    torch.testing.assert_close(distances, torch.full_like(distances, 3.0), rtol=1e-13, atol=0)
    torch.testing.assert_close(tasks.truth.means.mean(1), torch.zeros(6, d).double(), rtol=0, atol=1e-14)


def test_separated_tasks_are_turned_each_in_its_own_way():
    means = separated_tasks(6, 3, 3, 5, seeded(), separation=3.0).truth.means
    assert (means[0] - means[1]).norm() > 0.1


def test_near_equal_tasks():
    tasks = near_equal_tasks(200, 4, 3, 5, seeded(), spread=1e-3)
    gaps = tasks.truth.means - tasks.truth.means.mean(1, keepdim=True)
    assert 1e-4 < gaps.square().mean().sqrt() < 2e-3
    assert tasks.truth.means.abs().max() > 4


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: paper_tasks(0, 2, 2, 5, seeded()), "n_tasks is 0, needs an integer of at least 1"),
        (lambda: paper_tasks(1, 0, 2, 5, seeded()), "n_features is 0"),
        (lambda: paper_tasks(1, 2, 0, 5, seeded()), "n_components is 0"),
        (lambda: paper_tasks(1, 2, 2, 0, seeded()), "n_samples is 0"),
        (lambda: paper_tasks(1, 1, 3, 5, seeded()), "max_cosine is 0.8, kept by 0 of .*n_components = 3"),
        (lambda: paper_tasks(1, 2, 2, 5, seeded(), box=0), "box is 0, needs > 0"),
        (
            lambda: separated_tasks(1, 2, 4, 5, seeded(), separation=1),
            "n_components is 4, needs <= n_features",
        ),
        (lambda: separated_tasks(1, 2, 2, 5, seeded(), separation=0), "separation is 0, needs > 0"),
        (lambda: near_equal_tasks(1, 2, 2, 5, seeded(), spread=-1), "spread is -1, needs >= 0"),
        (
            lambda: diagonal_tasks(1, 2, 2, 5, seeded(), deviation_range=(0, 1)),
            r"deviation_range is \(0, 1\)",
        ),
    ],
)
def test_refusals(call, match):
    with pytest.raises(ValueError, match=match) as caught:
        call()
    assert "\n" not in str(caught.value)
