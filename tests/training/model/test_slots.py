"""The construction's tokens as read-in and read-out: EM at the start, one task whatever the batch."""

import dataclasses

import pytest
import torch

from constructions.language.rounding import gamma, unit_roundoff
from training.model import slots
from training.model.settings import ModelConfig
from training.model.tgmm import TGMM
from training.tasks import TaskDistribution
from training.trainer.config import ConfigError, RunConfig, load_preset

CONFIG = ModelConfig(2, (2, 3), layers=2, heads=2, width=32, readout="slots", data_scale=1.0)
U = unit_roundoff(torch.float64)


def model_of(config=CONFIG, noise=None):
    torch.manual_seed(0)
    model = TGMM(config, dtype=torch.float64)
    if noise is not None:
        slots.begin_with_em(model.backbone, config, noise)
    return model


def points(tasks=4, N=12, seed=0):
    """In [-1, 1]."""
    generator = torch.Generator().manual_seed(seed)
    return 2 * torch.rand(tasks, N, 2, generator=generator, dtype=torch.float64) - 1


def starts(X, K, look=0):
    return slots.kmeans_starts(X, K, torch.ones(X.shape[:2], dtype=torch.bool), look)


@torch.no_grad()
def differences(noise):
    """Means and log weights of a network begun with noise, from the hand-built layers at the same start."""
    X, K = points(), 3
    means = starts(X, K)
    weights = torch.full((len(X), K), 1 / K, dtype=torch.float64)
    run = slots.construction_of(2, 3, 1).run(X, weights, means, evaluation="dense")
    found = model_of(noise=noise)(X, K)
    return float((found.means - run.means).abs().max()), float(
        (found.log_weights - run.weights.log().log_softmax(-1)).abs().max()
    )


def test_without_noise_the_function_is_the_constructions() -> None:
    """One step, both in float64.

    A sum of n <= 32 + 12 + 128 terms (stream, points, units) errs by gamma_n times the sum of their sizes,
    at most 2,000 (log on [1e-3, 1] has slopes to 1,000, squares on [-12, 12] values to 144): e. Points and
    means lie in [-1, 1]: log r is off by 1,001 e, averages with it by twice that, log pi by 1,000 times
    that. Twice, for two evaluations. The construction's weights are read off the block pi, ours off log pi:
    log is off by its chords as well, at most log_pi's error bound.
    """
    e = 2000 * gamma(172, U)
    of_means, of_weights = differences(0.0)
    chord = float(slots.construction_of(2, 3, 1).log_pi.approximation_error)
    assert of_means <= 2 * 2002 * e < 1e-5
    assert of_weights <= 2 * 2e6 * e + 2 * chord
    assert differences(slots.NOISE)[0] > 1e-4  # what noise does, and so would other weights


@torch.no_grad()
def test_every_layer_pair_is_a_step() -> None:
    """Two applications of one block, and two blocks: from random weights these would differ."""
    looped, unrolled = (dataclasses.replace(CONFIG, **sizes) for sizes in ({"loops": 2}, {"layers": 4}))
    X = points()
    first, second = (model_of(config, 0.0)(X, 3).means for config in (looped, unrolled))
    one = model_of(CONFIG, 0.0)(X, 3).means
    assert (first - second).abs().max() < 1e-3 * (first - one).abs().max()


@torch.no_grad()
@pytest.mark.parametrize("K", [2, 3])
def test_starts_and_estimate_do_not_depend_on_the_batch_or_on_padding(K: int) -> None:
    """Starts are copies of points: exactly. The rest is in test_model_masks's sense the same to rounding;
    here far below what another start does."""
    X, model = points(3), model_of()
    mask = torch.zeros(3, 20, dtype=torch.bool)
    spread = torch.full((3, 20, 2), torch.nan, dtype=torch.float64)
    for task in range(3):
        places = torch.randperm(20, generator=torch.Generator().manual_seed(task))[:12].sort().values
        mask[task, places] = True
        spread[task, places] = X[task]
    first = torch.cat([X, torch.zeros(3, 8, 2, dtype=torch.float64)], dim=1)
    present = torch.arange(20).expand(3, 20) < 12
    assert torch.equal(slots.kmeans_starts(first, K, present, 0), starts(X, K))
    expected = model(X, K).means
    padded = model(spread, K, mask).means
    alone = torch.cat([model(X[task : task + 1], K).means for task in range(3)])
    moved = (model(X, K, look=1).means - expected).abs().amax()
    assert max(float((found - expected).abs().max()) for found in (padded, alone)) < 1e-9 * float(moved)


def test_starts_are_different_points_of_the_task_and_another_look_has_others() -> None:
    X = points(6, 30)
    means = starts(X, 5)
    hits = (X[:, None] == means[:, :, None]).all(-1)
    assert (hits.sum(-1) == 1).all()
    assert (hits.sum(1) <= 1).all()
    assert not torch.equal(means, starts(X, 5, look=1))


def test_points_are_drawn_in_proportion_to_their_mass() -> None:
    uniform = (torch.arange(8, dtype=torch.float64) + 0.5) / 8
    mass = torch.tensor([[1.0, 0, 3, 0], [0, 2, 0, 0]], dtype=torch.float64)
    assert slots._drawn(mass, uniform).tolist() == [[0, 0, 2, 2, 2, 2, 2, 2], [1] * 8]


def test_the_best_trial_is_taken() -> None:
    """The second mean leaves the least sum of squared distances that any of its trials would leave."""
    X = points(8, 30)
    drawn = torch.rand(2, slots.TRIALS, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    first, second = starts(X, 2).unbind(1)
    nearest = (X - first[:, None]).square().sum(-1)
    trials = X.take_along_dim(slots._drawn(nearest, drawn[1])[:, :, None], 1)
    left = torch.minimum(nearest[:, None], (X[:, None] - trials[:, :, None]).square().sum(-1)).sum(-1)
    chosen = torch.minimum(nearest, (X - second[:, None]).square().sum(-1)).sum(-1)
    torch.testing.assert_close(chosen, left.amin(1))  # sums in another order
    assert (left.amax(1) > 1.01 * left.amin(1)).all()


def test_equal_points_have_equal_starts_and_no_error() -> None:
    X = torch.ones(2, 7, 2, dtype=torch.float64)
    assert torch.equal(starts(X, 3), torch.ones(2, 3, 2, dtype=torch.float64))
    assert model_of().estimate(X, 3).means.isfinite().all()


def test_every_weight_is_reached_by_a_gradient() -> None:
    model = model_of()
    found = model(points(), 3)
    (found.means.square().sum() + found.log_weights.square().sum()).backward()
    unused = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert unused == []


def test_too_few_points_are_refused() -> None:
    with pytest.raises(
        ValueError, match=r"a task has 2 points, read-out 'slots' needs at least n_components = 3"
    ):
        model_of().estimate(points(2, 2), 3)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"layers": 3}, "layers is 3 and loops 1, read-out 'slots' needs an even number"),
        ({"layers": 4, "loops": 2}, "layers is 4 and loops 2"),
        ({"width": 20}, "width is 20, read-out 'slots' needs at least 22 for d = 2 and K up to 3"),
        ({"heads": 1}, "heads is 1, read-out 'slots' needs at least 2"),
        ({"heads": 16}, "width / heads is 2, read-out 'slots' needs at least"),
        ({"mlp_ratio": 1}, r"mlp_ratio \* width is 32, read-out 'slots' needs at least"),
    ],
)
def test_sizes_that_the_construction_does_not_fit_into(changed, message) -> None:
    with pytest.raises(ValueError, match=message):
        TGMM(dataclasses.replace(CONFIG, **changed))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("covariance", "full"),
        ("causal", True),
        ("max_positions", 16),
        ("task_embedding", False),
        ("data_scale", 5.0),
    ],
)
def test_settings_that_its_tokens_have_no_place_for(name, value) -> None:
    with pytest.raises(ValueError, match=f"{name} is .* with the read-out 'slots'"):
        dataclasses.replace(CONFIG, **{name: value})


def test_a_run_with_sizes_or_tasks_that_do_not_fit_is_refused_in_one_line() -> None:
    preset = load_preset("d8-constructed")
    for change, message in (
        ({"model": dataclasses.replace(preset.model, layers=5)}, r"\[model\] layers is 5"),
        ({"tasks": dataclasses.replace(preset.tasks, samples=(4, 9))}, "samples start at 4"),
        ({"tasks": TaskDistribution(8, preset.tasks.components, covariance="full")}, "needs tasks of unit"),
    ):
        with pytest.raises(ConfigError, match=message):
            dataclasses.replace(preset, **change)
    assert isinstance(preset, RunConfig)
