"""Batches of tasks: exactly what was asked for, of the stated law, padded with zeros."""

import json
from dataclasses import replace
from itertools import accumulate
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare, ks_2samp, kstest
from torch.profiler import ProfilerActivity, profile

from baselines import task_families
from baselines.mixture import Mixture
from training.tasks import TaskBatch, TaskDistribution, sample_tasks

LEVEL = 1e-3  # of every test of a law here: seeds are fixed, so a right sampler passes always or never
FLOAT64 = torch.float64


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def paper_task(rng, d, K):
    """Weights (K,) and means (K, d) of one task, as the paper puts it, one draw after the other."""
    while True:
        means = rng.uniform(-5, 5, size=(K, d))
        directions = means / np.linalg.norm(means, axis=1, keepdims=True)
        cosines = [directions[i] @ directions[j] for i in range(K) for j in range(i)]
        if all(cosine < 0.8 for cosine in cosines):
            break
    weights = rng.uniform(0.2, 0.8, size=K)
    return weights / weights.sum(), means


def cosines(means):
    directions = means / means.norm(dim=-1, keepdim=True)
    i, j = torch.triu_indices(means.shape[-2], means.shape[-2], 1)
    return (directions[:, i] * directions[:, j]).sum(-1)


@st.composite
def requests(draw):
    """A distribution with K and lengths that it can serve; K = 1, d = 1, N = 1 and one task among them."""
    d = draw(st.integers(1, 4))
    K = draw(st.integers(1, 2 if d == 1 else 4))
    fixed = K - d <= 1 and draw(st.booleans())
    distribution = TaskDistribution(
        d,
        components=(K,),
        covariance=draw(st.sampled_from(["unit", "diagonal", "full"])),
        separation=draw(st.floats(0.1, 10)) if fixed else None,
        perturbation=0.0 if fixed else draw(st.sampled_from([0.0, 3.0])),
        sort_weights=draw(st.booleans()),
    )
    lengths = draw(st.lists(st.integers(1, 9), min_size=1, max_size=5))
    return distribution, K, lengths


@given(request=requests(), seed=st.integers(0, 2**32 - 1), dtype=st.sampled_from([torch.float32, FLOAT64]))
def test_exactly_what_was_asked_for(request, seed, dtype):
    distribution, K, lengths = request
    T, N, d = len(lengths), max(lengths), distribution.n_features
    tasks = sample_tasks(distribution, T, K, torch.tensor(lengths), seeded(seed), dtype=dtype)
    assert tasks.X.shape == (T, N, d)
    assert tasks.labels.shape == tasks.mask.shape == (T, N)
    assert tasks.truth.means.shape == (T, K, d)
    assert tasks.truth.covariance_type == distribution.covariance
    assert {tasks.X.dtype, tasks.truth.weights.dtype, tasks.truth.means.dtype} == {dtype}
    assert tasks.n_samples.tolist() == lengths == tasks.mask.sum(-1).tolist()
    for t, length in enumerate(lengths):
        assert tasks.mask[t, :length].all()
        assert (tasks.X[t, :length] != 0).any(-1).all()
        assert (tasks.X[t, length:] == 0).all()
        assert (tasks.labels[t, length:] == -1).all()
        assert set(tasks.labels[t, :length].tolist()) <= set(range(K))


def test_one_length_for_all_is_the_same_as_a_tensor_of_it():
    distribution = TaskDistribution(3)
    one = sample_tasks(distribution, 4, 3, 7, seeded())
    many = sample_tasks(distribution, 4, 3, torch.full((4,), 7), seeded())
    assert torch.equal(one.X, many.X)
    assert torch.equal(one.n_samples, many.n_samples)
    assert one.mask.all()


def test_padding_changes_no_point():
    """Shorter tasks are the same draws cut short: the tasks differ in nothing but the padding."""
    distribution = TaskDistribution(2)
    full = sample_tasks(distribution, 3, 2, 9, seeded())
    cut = sample_tasks(distribution, 3, 2, torch.tensor([1, 9, 4]), seeded())
    assert torch.equal(cut.X[cut.mask], full.X[cut.mask])
    assert torch.equal(cut.labels[cut.mask], full.labels[cut.mask])


def test_a_seed_fixes_everything_and_nothing_else_is_read():
    distribution = TaskDistribution(2, covariance="full", perturbation=1.0)
    first = sample_tasks(distribution, 5, 4, 6, seeded(3))
    torch.rand(10)
    before = torch.get_rng_state()
    second = sample_tasks(distribution, 5, 4, 6, seeded(3))
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(first.X, second.X)
    assert torch.equal(first.labels, second.labels)
    assert torch.equal(first.truth.covariances, second.truth.covariances)
    assert not torch.equal(first.X, sample_tasks(distribution, 5, 4, 6, seeded(4)).X)


@pytest.mark.parametrize(("d", "K"), [(2, 3), (2, 5), (8, 2)])
def test_means_and_weights_have_the_papers_law(d, K):
    """Two-sample Kolmogorov-Smirnov tests against the paper's sampler written one task at a time in numpy.

    One figure a task, so that the samples are independent; six tests of level LEVEL each.
    """
    truth = sample_tasks(TaskDistribution(d), 2000, K, 1, seeded(), dtype=FLOAT64).truth
    rng = np.random.default_rng(1)
    peers = [paper_task(rng, d, K) for _ in range(2000)]
    weights = torch.from_numpy(np.stack([w for w, _ in peers]))
    means = torch.from_numpy(np.stack([m for _, m in peers]))
    assert truth.means.abs().max() <= 5
    assert cosines(truth.means).max() < 0.8
    figures = {
        "a coordinate": lambda w, m: m[:, 0, 0],
        "the largest coordinate": lambda w, m: m.abs().amax((1, 2)),
        "the largest cosine": lambda w, m: cosines(m).amax(-1),
        "a weight": lambda w, m: w[:, -1],
        "the smallest weight": lambda w, m: w.amin(-1),
        "ratio of extreme weights": lambda w, m: w.amax(-1) / w.amin(-1),
    }
    for name, figure in figures.items():
        p = ks_2samp(figure(truth.weights, truth.means), figure(weights, means)).pvalue
        assert p > LEVEL, name


def test_sorted_weights_are_the_same_weights_in_ascending_order():
    unsorted = sample_tasks(TaskDistribution(3), 50, 4, 1, seeded()).truth.weights
    ordered = sample_tasks(TaskDistribution(3, sort_weights=True), 50, 4, 1, seeded()).truth.weights
    assert torch.equal(ordered, unsorted.sort(-1).values)
    assert not torch.equal(ordered, unsorted)


def test_perturbation_moves_the_accepted_means_by_sigma_z():
    """The means come first from the generator, so the same seed gives the same ones before the shift."""
    plain = TaskDistribution(2)
    before = sample_tasks(plain, 300, 3, 1, seeded(), dtype=FLOAT64).truth.means
    after = sample_tasks(replace(plain, perturbation=10.0), 300, 3, 1, seeded(), dtype=FLOAT64).truth.means
    assert kstest(((after - before) / 10).flatten(), "norm").pvalue > LEVEL
    assert after.abs().max() > 5
    assert cosines(after).max() > 0.8


@pytest.mark.parametrize("d", [1, 2, 8])
@pytest.mark.parametrize("covariance", ["unit", "diagonal", "full"])
def test_points_have_the_law_that_the_truth_states(d, covariance):
    """Labels by the weights, and whitened points of each component standard normal, in every task.

    Counts: one chi-square test a task. Points z_n = L_k^-1 (x_n - mu_k): the average of n has deviation
    n^-1/2 a coordinate, sum z z^T / n has (2/n)^1/2 on the diagonal and n^-1/2 off it; 5 deviations, of
    fewer than 1e3 figures each.
    """
    N = 20_000
    distribution = TaskDistribution(d, components=(2,), covariance=covariance)
    tasks = sample_tasks(distribution, 4, 2, N, seeded(), dtype=FLOAT64)
    truth = tasks.truth
    eye = torch.eye(d, dtype=FLOAT64)
    allowed = 5 * (1 + (2**0.5 - 1) * eye)
    for t in range(4):
        counts = tasks.labels[t].bincount(minlength=2)
        assert chisquare(counts, N * truth.weights[t]).pvalue > LEVEL
        for k in range(2):
            covariances = {
                "unit": lambda: eye,
                "diagonal": lambda t=t, k=k: truth.covariances[t, k].diag(),
                "full": lambda t=t, k=k: truth.covariances[t, k],
            }[covariance]()
            own = tasks.X[t][tasks.labels[t] == k] - truth.means[t, k]
            z = torch.linalg.solve_triangular(torch.linalg.cholesky(covariances), own.mT, upper=False)
            n = z.shape[1]
            assert (z.mean(1).abs() < 5 * n**-0.5).all()
            assert ((z @ z.mT / n - eye).abs() < allowed * n**-0.5).all()


@pytest.mark.parametrize("covariance", ["diagonal", "full"])
def test_deviations_are_uniform_in_their_range(covariance):
    """The standard deviations along the axes ("full": the turned axes) are independent and uniform."""
    distribution = TaskDistribution(3, covariance=covariance, deviation_range=(0.3, 2.0))
    covariances = sample_tasks(distribution, 100, 2, 1, seeded(), dtype=FLOAT64).truth.covariances
    variances = covariances if covariance == "diagonal" else torch.linalg.eigvalsh(covariances)
    assert kstest(variances.sqrt().flatten(), "uniform", args=(0.3, 1.7)).pvalue > LEVEL


def test_full_covariances_are_correlated_and_differ_by_component():
    covariances = sample_tasks(TaskDistribution(3, covariance="full"), 50, 2, 1, seeded()).truth.covariances
    deviations = covariances.diagonal(dim1=-2, dim2=-1).sqrt()
    correlations = covariances / (deviations.unsqueeze(-1) * deviations.unsqueeze(-2))
    assert correlations[..., 0, 1].abs().median() > 0.1
    assert not torch.equal(covariances[:, 0], covariances[:, 1])
    assert torch.equal(covariances, covariances.mT)


@pytest.mark.parametrize(("d", "K"), [(1, 2), (2, 3), (8, 5)])
def test_separation(d, K):
    """Every two means are exactly so far apart, and the weights are the paper's.

    Rounding: a coordinate of a corner has error of a few u times its size of at most 3, summed over d.
    """
    distribution = TaskDistribution(d, components=(K,), separation=3.0)
    truth = sample_tasks(distribution, 200, K, 1, seeded(), dtype=FLOAT64).truth
    i, j = torch.triu_indices(K, K, 1)
    distances = (truth.means[:, i] - truth.means[:, j]).norm(dim=-1)
    torch.testing.assert_close(distances, torch.full_like(distances, 3.0), rtol=1e-13, atol=0)
    assert truth.weights.std() > 0.05
    side = (truth.means[:, 0, 0] > 0).double().mean()
    assert (side - 0.5).abs() < 5 * 0.5 / 200**0.5


def test_rotations_are_uniform():
    """Each entry of a uniform rotation of R^3 is uniform on [-1, 1] (Archimedes); half are reflections."""
    rotations = task_families.random_rotations((2000,), 3, seeded(), FLOAT64, "cpu")
    identity = torch.eye(3, dtype=FLOAT64).expand(2000, 3, 3)
    torch.testing.assert_close(rotations @ rotations.mT, identity, rtol=0, atol=1e-14)
    for i in range(3):
        for j in range(3):
            assert kstest(rotations[:, i, j], "uniform", args=(-1, 2)).pvalue > LEVEL, (i, j)
    reflections = (torch.linalg.det(rotations) < 0).double().mean()
    assert (reflections - 0.5).abs() < 5 * 0.5 / 2000**0.5


def test_a_matrix_without_rank_has_a_rotation_too(monkeypatch):
    """In float32 two random columns are proportional now and then: R_22 is 0, and has no sign."""
    monkeypatch.setattr(torch, "randn", lambda shape, **options: torch.zeros(shape, dtype=options["dtype"]))
    rotations = task_families.random_rotations((2,), 2, seeded(), FLOAT64, "cpu")
    assert torch.equal((rotations @ rotations.mT).abs(), torch.eye(2, dtype=FLOAT64).expand(2, 2, 2))


def test_many_points_are_drawn_in_chunks(monkeypatch):
    """No call draws more than the chunk, and what the chunks give is in order and complete."""
    asked, drawn = [], []
    sample = Mixture.sample

    def spy(self, n_samples, generator):
        asked.append(n_samples)
        drawn.append(sample(self, n_samples, generator))
        return drawn[-1]

    monkeypatch.setattr(Mixture, "sample", spy)
    monkeypatch.setattr(task_families, "CHUNK_VALUES", 4 * 3 * 10)
    tasks = sample_tasks(TaskDistribution(3), 4, 2, 25, seeded())
    assert asked == [10, 10, 5]
    assert torch.equal(tasks.X, torch.cat([X for X, _ in drawn], 1))
    assert torch.equal(tasks.labels, torch.cat([labels for _, labels in drawn], 1))


def peak_allocated(run, trace: Path) -> tuple[int, TaskBatch]:
    """The most bytes that tensors made by `run` held at a time, and what `run` returned."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as found:
        result = run()
    found.export_chrome_trace(str(trace))
    events = [e for e in json.loads(trace.read_text())["traceEvents"] if e["name"] == "[memory]"]
    changes = [e["args"]["Bytes"] for e in sorted(events, key=lambda e: e["ts"])]
    return max(accumulate(changes)), result


@pytest.mark.parametrize("covariance", ["unit", "diagonal", "full"])
def test_a_hundred_thousand_points_cost_the_memory_of_the_points(covariance, tmp_path):
    """32 tasks of up to 100,000 points, d = 8: 122 MiB of X and labels.

    Over that: one chunk of 2^21 coordinates (8 MiB) in at most 6 copies (noise, means, scales, two products
    and their sum), its labels (2 MiB) and uniforms (1 MiB); when all are drawn, only the mask.
    """
    distribution = TaskDistribution(8, covariance=covariance)
    lengths = torch.full((32,), 100_000)
    lengths[0] = 99_999
    peak, tasks = peak_allocated(
        lambda: sample_tasks(distribution, 32, 5, lengths, seeded()), tmp_path / "trace.json"
    )
    kept = tasks.X.nbytes + tasks.labels.nbytes
    assert kept == 32 * 100_000 * (8 * 4 + 8)
    assert kept < peak < kept + 6 * 2**23 + 3 * 2**20


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu():
    distribution = TaskDistribution(4, covariance="full")
    lengths = torch.tensor([3, 9])
    first, second = (
        sample_tasks(distribution, 2, 3, lengths, torch.Generator("cuda").manual_seed(1), device="cuda")
        for _ in range(2)
    )
    assert first.X.is_cuda
    assert first.n_samples.is_cuda
    assert torch.equal(first.X, second.X)
    assert (first.X[~first.mask] == 0).all()


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"n_features": 0}, "n_features is 0, needs an integer of at least 1"),
        ({"components": ()}, r"components is \(\), needs at least one"),
        ({"components": 3}, "components is 3, needs a tuple of numbers"),
        ({"components": (2, 0)}, "a number of components is 0"),
        ({"samples": (64,)}, r"samples is \(64,\), needs 2 numbers"),
        ({"samples": (0, 5)}, r"samples\[0\] is 0"),
        ({"samples": (6, 5)}, r"samples\[1\] is 5, needs an integer of at least 6"),
        ({"samples": (5, 6.0)}, r"samples\[1\] is 6.0"),
        ({"samples": (5, 100_001)}, r"samples\[1\] is 100001, needs at most 100000 points a task"),
        (
            {"covariance": "tied"},
            "covariance is 'tied', needs one of unit, spherical, diagonal, full, correlated, inverse-wishart",
        ),
        ({"deviation_range": (0, 1)}, r"deviation_range is \(0, 1\), needs 0 < low <= high"),
        ({"deviation_range": (2, 1)}, r"deviation_range is \(2, 1\)"),
        ({"deviation_range": ("a", 1)}, "deviation_range's low is 'a', needs a finite number"),
        ({"separation": 0.0}, "separation is 0.0, needs a finite number > 0"),
        ({"separation": 1.0, "components": (2, 5)}, "n_components is 5, needs <= n_features \\+ 1 = 4"),
        ({"separation": 1.0, "perturbation": 1.0}, "perturbation is 1.0, needs 0 with a fixed separation"),
        ({"perturbation": -1.0}, "perturbation is -1.0, needs a finite number >= 0"),
        ({"perturbation": float("nan")}, "perturbation is nan"),
        ({"box": 0.0}, "box is 0.0, needs a finite number > 0"),
        ({"box": float("inf")}, "box is inf"),
        ({"max_cosine": -1.0}, "max_cosine is -1.0, needs a finite number > -1"),
        ({"sort_weights": 1}, "sort_weights is 1, needs True or False"),
        ({"n_features": 1}, r"components is \(2, 3\), needs at most 2 in one dimension"),
    ],
)
def test_refused_distributions(changes, match):
    with pytest.raises(ValueError, match=match) as caught:
        TaskDistribution(**{"n_features": 3, "components": (2, 3), **changes})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"n_tasks": 0}, "n_tasks is 0, needs an integer of at least 1"),
        ({"n_components": 0}, "n_components is 0"),
        ({"n_samples": 0}, "n_samples is 0"),
        ({"n_samples": torch.tensor([3, 0])}, "n_samples has 0, needs at least 1"),
        ({"n_samples": 10**11}, "n_samples is 100000000000, needs at most 100000 points a task"),
        ({"n_samples": torch.tensor([3, 100_001])}, "n_samples is 100001, needs at most 100000"),
        ({"n_samples": torch.tensor([3])}, r"n_samples is torch.int64 of shape \(1,\), needs .*\(2,\)"),
        ({"n_samples": torch.tensor([3.0, 4.0])}, "n_samples is torch.float32"),
        ({"dtype": torch.bfloat16}, "dtype is torch.bfloat16, needs torch.float32 or torch.float64"),
        ({"device": "meta"}, "generator is on cpu, needs meta"),
        (
            {"distribution": TaskDistribution(2, max_cosine=-0.9), "n_components": 4},
            "max_cosine is -0.9, kept by 0 of .*n_components = 4",
        ),
        (
            {"distribution": TaskDistribution(2, components=(2,), separation=1.0), "n_components": 4},
            "n_components is 4, needs <= n_features",
        ),
    ],
)
def test_refused_requests(changes, match):
    request = {
        "distribution": TaskDistribution(2),
        "n_tasks": 2,
        "n_components": 2,
        "n_samples": 5,
        "generator": seeded(),
        **changes,
    }
    with pytest.raises(ValueError, match=match) as caught:
        sample_tasks(**request)
    assert "\n" not in str(caught.value)


def test_lists_become_tuples():
    """As a TOML file gives them; two equal distributions are then equal and hash alike."""
    distribution = TaskDistribution(2, components=[2, 3], samples=[16, 32], deviation_range=[0.5, 1])
    assert hash(distribution) == hash(TaskDistribution(2, (2, 3), (16, 32), "unit", (0.5, 1)))


def test_a_batch_is_a_value():
    tasks = sample_tasks(TaskDistribution(2), 2, 2, 3, seeded())
    assert isinstance(tasks, TaskBatch)
    with pytest.raises(AttributeError):
        tasks.X = tasks.X + 1
