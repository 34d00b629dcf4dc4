"""A training step is a pure function of its number: what each micro-batch is, and drawing it."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from training.tasks import MOST_SAMPLES, MicroBatch, TaskDistribution, draw, plan_step

LEVEL = 1e-3  # of every test of a law here; seeds are fixed
PAPER = TaskDistribution(2)


@given(
    components=st.lists(st.integers(1, 6), min_size=1, max_size=5, unique=True),
    micro_batches=st.integers(1, 9),
    size=st.integers(1, 5),
    low=st.integers(1, MOST_SAMPLES - 100),
    span=st.integers(0, 100),
    seed=st.integers(0, 2**70),
    step=st.integers(0, 2**40),
)
def test_a_plan_is_complete_and_pure(components, micro_batches, size, low, span, seed, step):
    distribution = TaskDistribution(8, tuple(components), (low, low + span))
    plan = plan_step(distribution, micro_batches * size, micro_batches, seed, step)
    assert plan == plan_step(distribution, micro_batches * size, micro_batches, seed, step)
    assert len(plan) == micro_batches
    turns = [components[(step * micro_batches + m) % len(components)] for m in range(micro_batches)]
    assert [micro.n_components for micro in plan] == turns
    for K in set(turns):
        lengths = [N for micro in plan if micro.n_components == K for N in micro.n_samples]
        assert lengths == sorted(lengths)
        assert low <= lengths[0]
        assert lengths[-1] <= low + span
    assert all(len(micro.n_samples) == size and 0 <= micro.seed < 2**63 for micro in plan)


def test_the_plan_of_a_step_is_what_it_was():
    """Written down, so that a run resumed with a later version goes on with the same tasks."""
    assert plan_step(TaskDistribution(2, (2, 3)), 6, 2, seed=7, step=11) == [
        MicroBatch(n_components=2, n_samples=(76, 84, 90), seed=8153075804128931663),
        MicroBatch(n_components=3, n_samples=(65, 84, 111), seed=3762930454123200227),
    ]


def test_seeds_and_lengths_differ_between_steps_and_runs():
    """2,000 micro-batches of 3 seeds: no two alike. Of 8 lengths in 65 values two tuples agree by chance in
    2,000^2 / 2 / 65^8 * 8! (sorted), less than 1e-3."""
    plans = [
        micro for seed in (0, 1, 2) for step in range(167) for micro in plan_step(PAPER, 32, 4, seed, step)
    ]
    assert len({micro.seed for micro in plans}) == len(plans)
    assert len({micro.n_samples for micro in plans}) == len(plans)


@pytest.mark.parametrize("micro_batches", [1, 3, 4, 6, 8])
def test_every_number_of_components_comes_equally_often(micro_batches):
    """Exactly, over any four steps; in every step when micro_batches is a multiple of four."""
    period = 1 if micro_batches % 4 == 0 else 4
    for first in range(8):
        seen = [
            micro.n_components
            for step in range(first, first + period)
            for micro in plan_step(PAPER, micro_batches, micro_batches, 0, step)
        ]
        assert [seen.count(K) for K in (2, 3, 4, 5)] == [period * micro_batches // 4] * 4


@pytest.mark.parametrize("K", [2, 5])
def test_lengths_are_uniform(K):
    """Chi-square test over the 17 values, both ends included, 100 steps."""
    distribution = TaskDistribution(2, samples=(16, 32))
    lengths = torch.tensor(
        [
            micro.n_samples
            for step in range(100)
            for micro in plan_step(distribution, 64, 8, 0, step)
            if micro.n_components == K
        ]
    )
    assert lengths.shape == (200, 8)
    assert chisquare(lengths.flatten().bincount(minlength=33)[16:]).pvalue > LEVEL


def test_little_is_padded():
    """Share of padding with 64 tasks of N in 64..128 in 8 micro-batches, two for each K.

    The i-th of 16 sorted lengths is about 64 + 64 i / 17. The lower 8 average 80.9 and are padded to 94.1,
    the upper 8 average 111.1 and are padded to 124.2: 26.4 / 218.3 = 0.121 (unsorted it would be 0.206). The
    share of one pair of micro-batches deviates by 0.020 (measured), that of 200 pairs by 0.0014; 5 of these.
    """
    plans = [micro for step in range(50) for micro in plan_step(PAPER, 64, 8, 0, step)]
    slots = sum(len(micro.n_samples) * max(micro.n_samples) for micro in plans)
    assert abs(1 - sum(sum(micro.n_samples) for micro in plans) / slots - 0.121) < 0.0071


def test_draw_is_pure_in_any_order():
    plan = plan_step(TaskDistribution(3, covariance="full"), 8, 4, 5, 6)
    distribution = TaskDistribution(3, covariance="full")
    forwards = [draw(distribution, micro) for micro in plan]
    before = torch.get_rng_state()
    backwards = [draw(distribution, micro) for micro in reversed(plan)][::-1]
    assert torch.equal(before, torch.get_rng_state())
    for micro, one, other in zip(plan, forwards, backwards, strict=True):
        assert torch.equal(one.X, other.X)
        assert torch.equal(one.labels, other.labels)
        assert torch.equal(one.truth.weights, other.truth.weights)
        assert one.X.shape == (2, micro.n_samples[-1], 3)
        assert one.n_samples.tolist() == list(micro.n_samples)
        assert one.truth.n_components == micro.n_components
    assert not torch.equal(forwards[0].truth.means, forwards[1].truth.means[:, :2])


def test_draw_in_float64():
    micro = MicroBatch(2, (3, 4), 1)
    assert draw(PAPER, micro, dtype=torch.float64).X.dtype == torch.float64
    assert draw(PAPER, micro).X.dtype == torch.float32


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ((10, 4, 0, 0), "n_tasks is 10, needs a multiple of micro_batches = 4"),
        ((0, 1, 0, 0), "n_tasks is 0"),
        ((4, 0, 0, 0), "micro_batches is 0"),
        ((4, 4, -1, 0), "seed is -1, needs an integer of at least 0"),
        ((4, 4, 0, -1), "step is -1"),
        ((4, 4, 0, 1.0), "step is 1.0"),
    ],
)
def test_refusals(arguments, match):
    with pytest.raises(ValueError, match=match) as caught:
        plan_step(PAPER, *arguments)
    assert "\n" not in str(caught.value)
