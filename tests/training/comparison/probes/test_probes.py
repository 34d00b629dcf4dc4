import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.linear_model import Ridge as ScikitRidge
from sklearn.preprocessing import StandardScaler

from baselines.em_steps import em_step
from baselines.mixture import Mixture
from console.typed_json import from_plain, to_plain
from constructions.em.unit import em_stream
from constructions.language.rounding import gamma, unit_roundoff
from training.comparison.common.parts import Effort, Subject
from training.comparison.common.regimes import named_start
from training.comparison.probes import PART, targets
from training.comparison.probes import measure as probes
from training.comparison.probes import trend as trends
from training.comparison.probes.handbuilt import STEPS, hand_built
from training.comparison.probes.lens import TunedLens, logit_lens
from training.comparison.probes.maps import draws, probe_map, summary
from training.comparison.probes.measure import ProbesResult, numbers_of_components
from training.comparison.probes.report import growth_finding
from training.comparison.probes.ridge import PENALTIES, Ridge, Split, probe, shuffled, split_tasks
from training.comparison.probes.steps import step_test
from training.comparison.probes.tables import grows
from training.interpretability.recording import record
from training.model.settings import ModelConfig
from training.model.tgmm import TGMM
from training.serving.loading import Released
from training.tasks import TaskDistribution, sample_tasks

U = unit_roundoff(torch.float64)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=generator(seed))


def tasks(n: int, K: int = 3, N: int = 32, seed: int = 0):
    return sample_tasks(TaskDistribution(2), n, K, N, generator(seed), dtype=torch.float64)


def rounding(X: torch.Tensor) -> float:
    """How far two evaluations of responsibilities, or of averages weighed by them, can be apart.

    A log-density errs by (d + 4) u R^2 (baselines.em), a log-responsibility by twice that, an average of
    points within R by R times that again and gamma_N R for its sums; all twice for the two evaluations.
    """
    R, (N, d) = float(X.norm(dim=-1).max()) * 2, X.shape[-2:]
    log_responsibility = 2 * (d + 4) * U * R**2
    return 2 * max(1.0, R) * (2 * log_responsibility + gamma(2 * N, U))


def path_of(batch, steps: int = 6, seed: int = 1) -> targets.Path:
    start = named_start(batch.X, batch.truth.n_components, "random-points", generator(seed))
    return targets.em_path(batch.X, start, steps)


def permuted(mixture: Mixture, order: list[int]) -> Mixture:
    return mixture.permute(torch.tensor(order).expand(*mixture.batch_shape, -1))


# Ridge.


@pytest.mark.parametrize("penalty", [1e-2, 1.0])
def test_ridge_is_scikit_learns(penalty):
    H = normal(60, 6) @ normal(6, 6, seed=1) + 3
    Y = H[:, :2] ** 2 + normal(60, 2, seed=2)
    ridge = Ridge(H)
    weights, average = ridge.weights(Y, (penalty,))
    Z = StandardScaler().fit_transform(H.numpy())
    theirs = ScikitRidge(alpha=penalty * len(H)).fit(Z, Y.numpy())
    # Both solve an SPD system of condition number at most c; n rows are summed, the system has D
    # unknowns: each answer is off by at most gamma_(n + D^2) c relative to its size, to first order.
    condition = (float(ridge.values.max()) + penalty) / (float(ridge.values.min()) + penalty)
    tolerance = 2 * gamma(60 + 36, U) * condition * float(weights.norm())
    assert np.abs(weights[0].T.numpy() - theirs.coef_).max() <= tolerance
    assert np.abs(average.numpy() - theirs.intercept_).max() <= 2 * gamma(60, U) * float(Y.abs().max())


def test_a_constant_feature_changes_nothing_and_only_constants_are_refused():
    H, Y = normal(40, 3), normal(40, 1, seed=1)
    more = torch.cat([H, torch.full((40, 1), 0.1, dtype=torch.float64)], 1)
    assert Ridge(more).kept.tolist() == [True, True, True, False]
    expected = Ridge(H).weights(Y, (0.1,))[0]
    # The columns that are kept lie otherwise in memory, so sums may: as derived for scikit-learn's above.
    condition = (float(Ridge(H).values.max()) + 0.1) / (float(Ridge(H).values.min()) + 0.1)
    tolerance = 2 * gamma(40 + 9, U) * condition * float(expected.norm())
    assert (Ridge(more).weights(Y, (0.1,))[0] - expected).abs().max() <= tolerance
    with pytest.raises(ValueError, match="every feature of H is constant"):
        Ridge(torch.ones(5, 2, dtype=torch.float64))
    with pytest.raises(ValueError, match=r"H is torch.float32 of shape \(5, 2\)"):
        Ridge(torch.ones(5, 2))


# Splits and R^2.


def test_a_split_is_by_task_and_refuses_a_task_in_two_parts():
    split = split_tasks(20, generator())
    assert sorted(torch.cat([split.train, split.validation, split.test]).tolist()) == list(range(20))
    with pytest.raises(ValueError, match="task 3 is in two parts"):
        Split(torch.tensor([0, 3]), torch.tensor([1]), torch.tensor([3]))
    with pytest.raises(ValueError, match="a part of the split is empty"):
        Split(torch.tensor([0]), torch.tensor([], dtype=torch.long), torch.tensor([3]))
    with pytest.raises(ValueError, match="n_tasks is 6"):
        split_tasks(6, generator())


def test_splitting_by_point_instead_of_task_is_noticed():
    """Stream and target are random numbers of the task: by task nothing is learnt, by point all."""
    B, P = 40, 10
    H = normal(B, 1, 80).expand(B, P, 80) + 0.01 * normal(B, P, 80, seed=1)
    Y = normal(B, 1, 1, 1, seed=2).expand(B, P, 1, 1).contiguous()
    by_task = probe(H, Y, split_tasks(B, generator()))
    by_point = probe(H.reshape(B * P, 1, 80), Y.reshape(B * P, 1, 1, 1), split_tasks(B * P, generator()))
    r2_task, r2_point = (1 - float(s.error.sum() / s.total.sum()) for s in (by_task, by_point))
    assert r2_task < 0.2  # 12 test tasks: the R^2 of no knowledge is at most 0, and 0.2 by luck
    assert r2_point > 0.95


def test_r2_is_measured_from_the_average_of_the_training_targets():
    B = 20
    split = split_tasks(B, generator())
    Y = normal(B, 4, 2, 3)
    Y[split.test] += 5.0  # what a predictor that knows only the training tasks cannot know
    sums = probe(normal(B, 4, 2, seed=1), Y, split)
    train = Y[split.train].mean((0, 1))
    expected = (Y[split.test] - train).square().sum((1, 3))
    assert torch.allclose(sums.total[split.test], expected, rtol=1e-12, atol=0)
    around_test_mean = (Y[split.test] - Y[split.test].mean((0, 1))).square().sum()
    assert float(expected.sum()) > 5 * float(around_test_mean)
    assert float(1 - sums.error.sum() / sums.total.sum()) > -0.1  # from the test mean: below -5
    assert not sums.total[split.train].any()
    assert not sums.error[split.validation].any()


def test_test_tasks_take_no_part_in_the_fit():
    B = 20
    split, H = split_tasks(B, generator()), normal(B, 4, 3)
    Y = (H @ normal(3, 2, seed=1))[..., None]
    before = probe(H, Y, split)
    changed = Y.clone()
    changed[split.test] = 100 * normal(len(split.test), 4, 2, 1, seed=3)
    after = probe(H, changed, split)
    assert torch.equal(before.penalty, after.penalty)
    assert float(before.error.sum() / before.total.sum()) < 1e-12
    assert float(after.error.sum() / after.total.sum()) > 0.5


def test_each_target_gets_the_penalty_that_serves_it_on_the_validation_tasks():
    split, H = split_tasks(30, generator()), normal(30, 2, 20)
    Y = torch.stack([H[..., :1], normal(30, 2, 1, seed=4)], 2)  # known exactly; noise
    both = probe(H, Y, split)
    assert both.penalty.tolist() == [PENALTIES[0], PENALTIES[-1]]
    for group, penalty in enumerate(both.penalty.tolist()):
        alone = probe(H, Y[:, :, [group]], split, (penalty,))
        # The first leaves about 1e-7, differences of numbers of size 1 that round at 1e-16.
        assert torch.allclose(both.error[:, [group]], alone.error, rtol=1e-7, atol=0)
    assert both.error[:, 1].sum() < probe(H, Y, split, PENALTIES[:1]).error[:, 1].sum()


def test_bad_targets_are_refused():
    split, H = split_tasks(10, generator()), normal(10, 2, 3)
    with pytest.raises(ValueError, match=r"Y has shape \(10, 3, 1, 1\)"):
        probe(H, normal(10, 3, 1, 1), split)
    with pytest.raises(ValueError, match="needs finite float64"):
        probe(H, torch.full((10, 2, 1, 1), math.nan, dtype=torch.float64), split)


@pytest.mark.parametrize("value", [0.0, 1.0, *(math.log(1 / K) for K in (2, 3, 5, 7))])
@pytest.mark.parametrize("n_tasks", [10, 96])
def test_a_target_that_does_not_vary_has_no_r2_whether_or_not_its_average_rounds(value, n_tasks):
    states, varied = normal(2, n_tasks, 3, 4), normal(n_tasks, 3, 1, 2, seed=1)
    targets_ = torch.cat([varied, torch.full_like(varied, value)], 2)
    seeds = draws(n_tasks, 3, generator())
    found, alone = probe_map(states, targets_, seeds), probe_map(states, varied, seeds)
    # Products of at most 300 rows with two more columns beside them: sums of size 300 that round at 300 u.
    same = {"rtol": 0, "atol": 300 * 300 * U}
    assert torch.allclose(found.r2[:, :1], alone.r2, **same)
    assert torch.allclose(found.control[:, :1], alone.control, **same)
    assert found.r2[:, 1].isnan().all()
    assert found.control[:, 1].isnan().all()
    told = summary(found, found.resampled(20, generator()))
    assert told.seed_deviation == pytest.approx(float(alone.by_seed.std(0).max()), abs=same["atol"])
    assert math.isnan(told.low[0][1])
    targets_[seeds[0].split.test[0], 0, 1, 0] += 1e-9  # beyond rounding: now it varies, for one seed
    assert probe_map(states, targets_, seeds).by_seed[0, :, 1].isfinite().all()


# Targets.


def test_iterates_are_em_steps_and_the_order_is_that_of_the_estimate():
    batch = tasks(12)
    path = path_of(batch)
    expected = em_step(batch.X, path.iterates[2])[0]
    assert float((path.iterates[3].means - expected.means).abs().max()) < rounding(batch.X)
    turned = permuted(path.converged, [2, 0, 1])
    aligned = path.aligned(turned)
    assert torch.equal(aligned.converged.means, turned.means)
    assert torch.equal(aligned.iterates[1].means, permuted(path.iterates[1], [2, 0, 1]).means)


def test_log_responsibilities_follow_the_order_and_centres_need_none():
    batch = tasks(8)
    mixture = path_of(batch).iterates[2]
    turned = permuted(mixture, [2, 0, 1])
    own, other = (targets.log_responsibilities(batch.X, [m])[:, :, 0] for m in (mixture, turned))
    assert torch.allclose(own[..., [2, 0, 1]], other, rtol=0, atol=rounding(batch.X))
    assert not torch.allclose(own, other, rtol=0, atol=1e-1)
    assert float(own.sum(-1).abs().max()) < 1e-12
    assert float(own.max() - own.min()) <= 2 * targets.FLOOR
    centres = [targets.posterior_centres(batch.X, [m]) for m in (mixture, turned)]
    assert torch.allclose(*centres, rtol=0, atol=rounding(batch.X))


def test_the_straight_line_has_the_ends_of_the_path_and_is_no_em():
    path = path_of(tasks(8))
    line = path.straight_line()
    assert torch.equal(line.iterates[0].means, path.iterates[0].means)
    assert torch.allclose(line.iterates[-1].means, path.converged.means, rtol=1e-14, atol=1e-14)
    assert float((line.iterates[1].means - path.iterates[1].means).abs().max()) > 0.1


# Planted streams.


def test_a_stream_made_from_iterate_4_is_found_at_4_and_shuffled_targets_are_not():
    batch = tasks(80)
    path = path_of(batch)
    wanted = targets.log_responsibilities(batch.X[:, :8], path.iterates)
    mixing = normal(3, 10, seed=5)
    states = torch.stack([normal(80, 8, 10, seed=6), wanted[:, :, 4] @ mixing])
    found = probe_map(states, wanted, draws(80, 3, generator()))
    # The ridge of penalty 1e-8 shrinks a direction of variance e by 1e-8 / e; here e > 1e-4.
    assert float(found.r2[1, 4]) > 1 - 1e-7
    assert int(found.r2[1].argmax()) == 4
    others = found.r2[1, [0, 1, 2, 3, 5, 6]]
    assert float(others.max()) < 0.999
    assert float(found.r2[0].max()) < 0.02  # a stream of noise: 10 features, 3 x 192 test rows
    assert float(found.control.max()) < 0.02
    assert torch.isfinite(found.by_seed).all()
    # Mutation: the stream of other tasks.
    wrong = probe_map(states.roll(1, 1), wanted, draws(80, 1, generator()))
    assert float(wrong.r2[1].max()) < 0.1


def test_shuffling_keeps_the_values_and_breaks_their_places():
    Y = normal(6, 5, 2, 1)
    other = shuffled(Y, generator())
    assert torch.equal(Y.flatten(0, 1).sort(0).values, other.flatten(0, 1).sort(0).values)
    assert (other != Y).any()


@pytest.fixture(scope="module")
def built():
    return hand_built(64, 48, 6, generator())


def share_left(found: torch.Tensor, wanted: torch.Tensor) -> float:
    return float((found - wanted).square().sum() / (wanted - wanted.mean((0, 1))).square().sum())


def test_the_hand_built_em_is_recognised_layer_by_layer(built):
    seeds = draws(64, 2, generator())
    points = torch.arange(8) * 6
    resp, other = (
        probe_map(built.states[:, :, points], built.point_targets(points, path), seeds)
        for path in (built.path, built.other)
    )
    means = probe_map(built.states[:, :, :3], built.token_targets(built.path), seeds)
    blocks, exact = em_stream(2, 3), built.point_targets(points, built.path)
    exact_means = built.token_targets(built.path)
    for step in range(STEPS):
        # R^2 is 1 to the pieces' error: reading the block as it is leaves this share. A fit to 35 tasks
        # leaves about 1 + 22 features / 280 rows of it, on tasks other than those; twice is allowed.
        log_resp = built.states[2 * step + 1][:, points][..., blocks.log_resp.slice]
        left = share_left(log_resp - log_resp.mean(-1, keepdim=True), exact[:, :, step])
        assert 1 - float(resp.r2[2 * step + 1, step]) < 2 * left < 1e-4
        mu = built.states[2 * step + 2][:, :3, blocks.mu.slice]
        left = share_left(mu, exact_means[:, :, step + 1])
        assert 1 - float(means.r2[2 * step + 2, step + 1]) < 2 * left < 1e-4
    found = trends.trend(resp.r2, resp.resampled(50, generator()))
    assert [t for t in found.best if not math.isnan(t)] == [0, 1, 2, 3]
    assert found.spearman.low == pytest.approx(1)
    assert found.growth.value == pytest.approx(0.5)
    found = trends.trend(means.r2, means.resampled(50, generator()))
    assert found.best[1::2] == [1, 2, 3, 4]
    assert found.peak[:5] == [0, 2, 4, 6, 8]
    assert [t for t in found.newest if not math.isnan(t)] == [1, 2, 3, 4]
    # Controls: another start is not found; with the layers in reverse the growth is, too.
    assert float(other.r2.max()) < 0.9
    swapped = means.r2[[0, 8, 7, 6, 5, 4, 3, 2, 1]]
    assert float(trends.spearman(trends.best_iterations(swapped))) == pytest.approx(-1)


# Trends.


@given(st.lists(st.one_of(st.integers(0, 4), st.none()), min_size=3, max_size=9))
@settings(max_examples=60, deadline=None)
def test_rank_correlation_and_slope_are_scipys(values):
    y = torch.tensor([math.nan if v is None else v for v in values], dtype=torch.float64)
    there = [(i, v) for i, v in enumerate(values) if v is not None]
    if len(there) < trends.FEWEST:
        assert math.isnan(float(trends.spearman(y)))
        assert math.isnan(float(trends.slope(y)))
        return
    places, found = zip(*there, strict=True)
    assert float(trends.slope(y)) == pytest.approx(np.polyfit(places, found, 1)[0], abs=1e-12)
    if len(set(found)) == 1:
        assert float(trends.spearman(y)) == 0
    else:
        expected = stats.spearmanr(places, found)[0]
        assert float(trends.spearman(y)) == pytest.approx(expected, abs=1e-12)


def test_a_stream_that_keeps_its_start_still_shows_what_is_new():
    """Iterate 0 stays known to all layers; layer l adds iterate l - 1 besides."""
    r2 = torch.full((5, 5), 0.6, dtype=torch.float64)
    r2[1:, 0] = 1 - 1e-9
    for layer in range(2, 5):
        r2[layer:, layer - 1] = 0.9
    assert trends.best_iterations(r2).tolist() == [0, 0, 0, 0]
    assert trends.newest_iterations(r2).tolist() == [1, 2, 3]
    assert float(trends.spearman(trends.newest_iterations(r2))) == pytest.approx(1)
    assert trends.best_iterations(r2 * 0.49).isnan().all()


def test_a_column_without_r2_is_nobodys_best():
    r2 = torch.tensor([[0.6, 0.5, 0.7], [0.6, 0.7, 0.8], [0.9, 0.95, 0.6]], dtype=torch.float64)
    gone = r2.clone()
    gone[:, 0] = math.nan
    assert trends.best_iterations(gone).tolist() == trends.best_iterations(r2).tolist() == [2, 1]
    assert trends.newest_iterations(gone).tolist() == [1]
    assert trends.peak_layers(gone)[1:].tolist() == [2, 1]
    assert trends.peak_layers(gone)[0].isnan()
    gone[:, 1] = math.nan
    assert trends.newest_iterations(gone).tolist() == [2]
    gone[:] = math.nan
    assert trends.best_iterations(gone).isnan().all()
    assert trends.newest_iterations(gone).isnan().all()


def test_jump_and_resampling():
    assert trends.largest_share(torch.tensor([0.1, 0.2, 0.7, 0.6])) == (pytest.approx(5 / 6), 2)
    assert math.isnan(trends.largest_share(torch.tensor([0.3, 0.2]))[0])
    error, total = torch.full((10, 2), 0.25).double(), torch.ones(10, 2).double()
    assert (trends.resampled_r2(error, total, 5, generator()) == 0.75).all()
    error = torch.rand(200, 1, dtype=torch.float64, generator=generator())
    total = torch.ones(200, 1).double()
    low, high = trends.interval(trends.resampled_r2(error, total, 500, generator()))
    # The mean of 200 uniforms has deviation 1 / sqrt(2400); 500 resamples give it within 20 %.
    assert float(high - low) == pytest.approx(2 * 1.96 / math.sqrt(2400), rel=0.2)
    assert float(low) < float(1 - error.mean()) < float(high)


# Lenses and the worth of a layer.


def small(**options) -> TGMM:
    torch.manual_seed(0)
    config = ModelConfig(
        **({"n_features": 2, "components": (2, 3), "layers": 2, "heads": 2, "width": 16} | options)
    )
    return TGMM(config).eval().requires_grad_(False)


def subject(model: TGMM) -> Subject:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        untrained = TGMM(model.config).eval().requires_grad_(False)
    return Subject(Released("small", model, "", {}), untrained, Effort(True, 0, 24))


@pytest.mark.parametrize("options", [{}, {"task_embedding": False}, {"causal": True}])
def test_both_lenses_end_at_the_networks_estimate(options):
    model, batch = small(**options), tasks(30, K=2)
    recording = record(model, batch.X, 2)
    logit, tuned = logit_lens(model, recording, 2), TunedLens(recording, 2).estimates(recording)
    estimate = recording.estimate.to_mixture()
    assert len(logit) == len(tuned) == 3
    assert torch.equal(logit[-1].means, estimate.means)
    assert torch.allclose(logit[-1].weights, estimate.weights, rtol=1e-6, atol=0)
    chosen = (logit[0], tuned[0], tuned[-1])
    first, fitted, last = (float((m.means - estimate.means).square().mean()) for m in chosen)
    assert last <= fitted < first


def test_a_pooling_network_has_no_lens():
    model, batch = small(readout="pooling"), tasks(4, K=2)
    with pytest.raises(ValueError, match="readout is 'pooling'"):
        logit_lens(model, record(model, batch.X, 2), 2)


def test_a_layer_of_two_em_steps_is_worth_two_and_one_of_none_is_worth_none():
    batch = tasks(24, N=48)
    iterates = path_of(batch, 6).iterates
    found = step_test(batch.X, [iterates[i] for i in (0, 2, 4, 4)], 4, 40, generator())
    assert found.nearest == [2, 2, 0]
    assert [row[t] for row, t in zip(found.distance, (2, 2, 0), strict=True)] == [0, 0, 0]
    assert all(min(row) > 0.01 for row in found.control[:2])  # on the points of another task
    assert found.nearest_low == found.nearest_high == [2, 2, 0]


# The part as a whole.


def computed(model: TGMM) -> tuple[ProbesResult, Subject]:
    examined, names = subject(model), []
    results = PART.compute(examined, names.append)
    assert len(names) == PART.pieces(examined)
    return from_plain(PART.result, json.loads(json.dumps(to_plain(results)))), examined


@pytest.fixture(scope="module")
def results():
    return computed(small())[0]


def test_the_section_is_made_from_json_alone(results):
    section = PART.render(results)
    assert {p.name for p in section.pictures} == set(PART.pictures)
    assert len(section.tables) == 3
    assert all(len(row) == len(table.header) for table in section.tables for row in table.rows)
    assert {row.target for row in results.maps} == {
        "log-responsibilities",
        "centres",
        "means",
        "log weights",
    }
    check_no_nan(section)


def check_no_nan(section) -> None:
    cells = [cell for table in section.tables for row in table.rows for cell in row]
    assert not any("nan" in text for text in (*section.paragraphs, *cells))


def test_the_equal_weights_of_a_start_have_no_r2(results):
    for row in results.maps:
        missing = {t for line in row.r2 for t, value in enumerate(line) if math.isnan(value)}
        equal = row.target == "log weights" and row.start in probes.NAMED_STARTS.values()
        assert missing == ({0} if equal else set()), (row.target, row.start)
        assert not math.isnan(row.seed_deviation)


@pytest.mark.usefixtures("known_hand_built")
def test_one_layer_adds_to_none_before_it():
    found, _ = computed(small(layers=1))
    section = PART.render(found)
    check_no_nan(section)
    assert {p.name for p in section.pictures} == set(PART.pictures)
    assert section.tables[0].rows[0][2] == "-"


@pytest.mark.usefixtures("known_hand_built")
def test_in_one_dimension_two_components_are_asked_about():
    found, _ = computed(small(n_features=1, components=(1, 2, 3)))
    assert {row.K for row in found.maps} == {2}


def test_a_network_that_says_the_same_of_every_task_is_not_probed():
    model = small()
    with torch.no_grad():
        for weights in model.backbone.parameters():
            weights.zero_()
    with pytest.raises(ValueError, match="the same for every task"):
        PART.compute(subject(model), lambda name: None)


def test_a_layer_that_moves_nothing_can_be_shown(results):
    lenses = []
    for row in results.lenses:
        distance = [[0.0] * len(row.steps.distance[0]), *row.steps.distance[1:]]
        steps = replace(row.steps, distance=distance, nearest=[0, *row.steps.nearest[1:]])
        lenses.append(replace(row, steps=steps))
    changed = replace(results, lenses=lenses)
    section = PART.render(changed)
    assert {p.name for p in section.pictures} == set(PART.pictures)
    [lens] = [p.figure for p in section.pictures if p.name == "probe_lens"]
    assert lens.axes[1].get_legend_handles_labels()[1] == ["layer 1 to 2", "another task's points", "no step"]


@pytest.fixture
def known_hand_built(results, monkeypatch):
    """The hand-built control takes half the time and does not depend on the network."""
    monkeypatch.setattr(probes, "_hand_built", lambda subject, size: results.handbuilt)


@pytest.mark.usefixtures("known_hand_built")
def test_the_same_seed_gives_the_same_numbers_and_another_seed_others(results):
    again, examined = computed(small())
    assert json.dumps(to_plain(again)) == json.dumps(to_plain(results))
    other = PART.compute(replace(examined, effort=Effort(True, 1, 24)), lambda name: None)
    assert other.maps[0].r2 != results.maps[0].r2


@pytest.mark.usefixtures("known_hand_built")
def test_a_pooling_network_is_asked_about_its_points_only():
    found, _ = computed(small(readout="pooling"))
    assert {row.target for row in found.maps} == {"log-responsibilities", "centres"}
    assert found.lenses == []
    section = PART.render(found)
    assert "no component tokens" in " ".join(section.paragraphs)
    assert {p.name for p in section.pictures} < set(PART.pictures)


def test_refusals_and_numbers_of_components():
    assert PART.refusal(subject(small())) == ""
    assert "covariances" in PART.refusal(subject(small(covariance="diagonal")))
    assert "K = 1" in PART.refusal(subject(small(components=(1,))))
    other = small()
    other.backbone = torch.nn.Identity()
    assert "layers of a transformer" in PART.refusal(
        Subject(Released("x", other, "", {}), other, Effort(True, 0, 8))
    )
    whole = Subject(Released("x", small(components=(1, 2, 4)), "", {}), other, Effort(False, 0, 8))
    assert numbers_of_components(whole) == [2, 4]


def climbing(low: float) -> trends.Statistic:
    return trends.Statistic(1.0, low, 1.0)


FLAT = trends.Statistic(0.0, -0.3, 0.3)
UNKNOWN = trends.Statistic(math.nan, math.nan, math.nan)


def test_growth_needs_an_interval_above_zero_and_above_the_control():
    assert grows(climbing(0.5), FLAT) is True
    assert grows(climbing(0.5), UNKNOWN) is True
    assert grows(climbing(0.5), climbing(0.5)) is False
    assert grows(climbing(-0.1), FLAT) is False
    assert grows(UNKNOWN, FLAT) is None


def test_the_finding_follows_the_numbers(results):
    """An unrolled EM in place of the network is called one; one that holds nothing is not judged."""
    flat = trends.Statistic(0.0, 0.0, 0.0)
    for statistic, verdict in (
        (climbing(0.9), "as an unrolled EM would"),
        (flat, "find no unrolled EM"),
        (UNKNOWN, "Too few layers"),
    ):
        maps = []
        for row in results.maps:
            own = statistic if row.network == "learned" else flat
            maps.append(replace(row, trend=replace(row.trend, spearman=own, newest_spearman=own)))
        assert verdict in growth_finding(replace(results, maps=maps))


def test_penalties_are_ascending_and_positive():
    assert list(PENALTIES) == sorted(PENALTIES)
    assert PENALTIES[0] > 0
