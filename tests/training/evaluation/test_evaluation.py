"""Figures of tasks against hand-made ones; that everybody gets the same tasks; who is left out, and why."""

import math
from dataclasses import replace

import pytest
import torch

from baselines.em import em
from baselines.methods import MAX_ITER, TOL, MethodResult
from baselines.metrics import errors
from baselines.mixture import Mixture
from training.evaluation import contenders
from training.evaluation import measure as evaluation
from training.evaluation.contenders import em_off_the_truth, method_contenders, network_contenders
from training.evaluation.grids import Cell, cells_of
from training.evaluation.measure import (
    cell_record,
    measure_cell,
    result_of,
    slices_of,
    task_figures,
    total_summary,
)
from training.model.settings import ModelConfig
from training.model.tgmm import TGMM
from training.tasks import TaskDistribution, sample_tasks

PAIR = torch.tensor([[-4.0, 0.0], [4.0, 0.0]], dtype=torch.float64)
WEIGHTS = torch.tensor([0.25, 0.75], dtype=torch.float64)


def cell(d=2, K=3, N=32, grid="main"):
    return cells_of(grid, [d], [K], [N])[0]


def network(**changes):
    torch.manual_seed(0)
    return TGMM(
        ModelConfig(**{"n_features": 2, "components": (2, 3), "layers": 1, "heads": 1, "width": 8} | changes)
    )


def timeless(row):
    return replace(row, milliseconds=0.0, cpu_milliseconds=0.0)


def test_figures_of_three_tasks():
    """Exact, shifted by (1, 0) and failed: errors by hand, NaN where there is no estimate."""
    generator = torch.Generator().manual_seed(0)
    batch = sample_tasks(TaskDistribution(2), 3, 2, 40, generator, dtype=torch.float64)
    truth = Mixture(WEIGHTS.expand(3, 2), PAIR.expand(3, 2, 2))
    labels = torch.arange(40).expand(3, 40) % 2
    batch = replace(batch, X=truth.means[0][labels] + 0.1, labels=labels, truth=truth)
    shifted = PAIR + torch.tensor([1.0, 0.0], dtype=torch.float64)
    estimate = Mixture(WEIGHTS.flip(0).expand(2, 2), torch.stack([PAIR.flip(0), shifted.flip(0)]))
    failed = torch.tensor([False, False, True])
    best = Mixture(truth.weights, truth.means + 1)
    found = task_figures(MethodResult(estimate, failed, ~failed), batch, best)
    nan = math.nan
    for name, wanted in {
        "total": [0, 0.5, nan],  # |(1, 0)|^2 / d = 1/2
        "means": [0, 0.5, nan],
        "weights": [0, 0, nan],
        "algorithmic": [1, 0.5, nan],  # |(1, 1)|^2 / d = 1, |(0, 1)|^2 / d = 1/2
        "adjusted_rand_index": [1, 1, nan],
        # The points are off by (0.1, 0.1) from the truth, by (-0.9, 0.1) from the shifted: (0.02 - 0.82) / 2;
        # the other component is 8 away and adds less than exp(-20).
        "log_likelihood": [0, -0.4, nan],
    }.items():
        torch.testing.assert_close(
            getattr(found, name),
            torch.tensor(wanted, dtype=torch.float64),
            atol=1e-8,  # exp(-20) = 2e-9; rounding is below 1e-14
            rtol=0,
            equal_nan=True,
        )


def test_all_failed():
    batch = sample_tasks(TaskDistribution(2), 3, 2, 40, torch.Generator(), dtype=torch.float64)
    failed = torch.ones(3, dtype=torch.bool)
    found = task_figures(MethodResult(None, failed, ~failed), batch, batch.truth)
    assert found.total.isnan().all()
    assert total_summary(found.total, torch.ones(3)) is None


def test_failed_tasks_are_bad_and_in_no_mean():
    total = torch.tensor([1.0, math.nan, 3.0, 20.0], dtype=torch.float64)
    summary = total_summary(total, torch.ones(4, dtype=torch.float64))
    assert summary is not None
    assert (summary.mean, summary.median, summary.n_tasks) == (8.0, 3.0, 3)
    assert summary.percent_bad == 50.0


def test_oracle_is_em_from_the_truth():
    result = measure_cell(cell(), [], 6, seed=5)
    D = cell().distribution
    assert D is not None
    generator = torch.Generator().manual_seed(cell().seed(5, 0, evaluation.DATA))
    batch = sample_tasks(D, 6, 3, 32, generator, dtype=torch.float64)
    mixture = em(batch.X, init=batch.truth, max_iter=MAX_ITER, tol=TOL).mixture
    [row] = result.rows
    assert row.total is not None
    assert row.total.mean == float(errors(mixture, batch.truth).total.mean())
    assert (row.algorithmic, row.n_tasks, row.n_failed) == (0.0, 6, 0)
    assert result.statistical == row.total


def test_what_else_is_measured_changes_nothing(monkeypatch):
    monkeypatch.setattr(evaluation, "NUMBERS_AT_ONCE", 4 * 32 * 2)
    assert slices_of(cell(), 6) == [4, 2]
    alone = measure_cell(cell(), method_contenders(["em"]), 6, seed=1).rows
    beside = measure_cell(cell(), method_contenders(["k-means", "em", "em-restarts"]), 6, seed=1).rows
    assert [row.method for row in beside] == ["em-truth", "k-means", "em", "em-restarts"]
    assert timeless(alone[1]) == timeless(beside[2])
    assert timeless(alone[0]) == timeless(beside[0])
    other = measure_cell(cell(), [], 6, seed=2).rows[0]
    assert other.total != alone[0].total


def test_a_slow_method_sees_the_first_tasks_only(monkeypatch):
    monkeypatch.setattr(evaluation, "NUMBERS_AT_ONCE", 4 * 32 * 2)
    monkeypatch.setattr(contenders, "SLOW_TASKS", 5)
    called = []
    rows = measure_cell(cell(), method_contenders(["bayesian", "em"]), 12, 0, called.append).rows
    assert [row.n_tasks for row in rows] == [12, 5, 12]
    assert rows[1].covariance_type == "spherical"
    assert called == ["em-truth", "bayesian", "em"] * 3


def test_network_alone_and_with_em_layers():
    model = network()
    made = network_contenders(model, 2)
    rows = measure_cell(cell(), made, 4, seed=1).rows
    assert [row.method for row in rows] == ["em-truth", "network", "network + 2 EM layers"]
    D = cell().distribution
    assert D is not None
    generator = torch.Generator().manual_seed(cell().seed(1, 0, evaluation.DATA))
    batch = sample_tasks(D, 4, 3, 32, generator, dtype=torch.float64)
    for row, estimator in zip(rows[1:], (model, model.with_polish(2)), strict=True):
        total = errors(estimator.estimate(batch.X, 3), batch.truth).total
        assert row.total is not None
        # The same arithmetic, but for the order of sums in products of batches cut in another place.
        assert row.total.mean == pytest.approx(float(total.mean()), rel=1e-4)


@pytest.mark.parametrize(
    ("changes", "where", "reason"),
    [
        ({}, {"d": 3}, "this model serves d = 2"),
        ({}, {"K": 4}, "this model serves K = 2, 3"),
        ({"max_positions": 16}, {}, "this model serves at most N = 16 points"),
    ],
)
def test_cells_that_a_network_does_not_serve(changes, where, reason):
    made = network_contenders(network(**changes), 1)
    result = measure_cell(cell(**where), made, 2, seed=0)
    assert result.absent == {"network": reason, "network + 1 EM layers": reason}
    assert [row.method for row in result.rows] == ["em-truth"]


def test_a_network_with_scales_has_no_em_layers():
    result = measure_cell(cell(), network_contenders(network(covariance="diagonal"), 3), 2, seed=0)
    assert [row.covariance_type for row in result.rows] == ["unit", "diagonal"]
    assert "needs unit covariances" in result.absent["network + 3 EM layers"].replace("need ", "needs ")


def test_spectral_beyond_d_is_marked_impossible():
    result = measure_cell(cell(d=2, K=3), method_contenders(["spectral", "em"]), 2, seed=0)
    assert result.absent == {"spectral": "impossible: needs K <= d = 2, linearly independent means"}


def test_diagonal_tasks_are_fitted_both_ways():
    made = method_contenders(["em", "k-means", "em-truth"], "diagonal")
    assert [one.name for one in made] == ["em", "em, diagonal", "k-means"]
    rows = measure_cell(cell(N=64, grid="diagonal"), made, 4, seed=0).rows
    assert [row.covariance_type for row in rows] == ["diagonal", "unit", "diagonal", "unit"]


def test_em_off_the_truth_is_em_from_moved_means():
    """No noise: the oracle's estimate. sigma: EM of the true weights and the means + sigma z."""
    [where] = cells_of("full", [2], [2], [64])
    far = 5.0
    zero, moved = (em_off_the_truth(sigma) for sigma in (0.0, far))
    D = where.distribution
    assert D is not None
    batch = sample_tasks(D, 3, 2, 64, torch.Generator().manual_seed(1), dtype=torch.float64)
    truth = batch.truth
    result = zero.run(batch.X, 2, torch.Generator(), truth).mixture
    oracle = em(batch.X, init=truth, max_iter=MAX_ITER, tol=TOL).mixture
    assert result is not None
    assert torch.equal(result.means, oracle.means)
    z = torch.randn(truth.means.shape, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    start = replace(truth, means=truth.means + far * z)
    by_hand = em(batch.X, init=start, max_iter=MAX_ITER, tol=TOL).mixture
    led_astray = moved.run(batch.X, 2, torch.Generator().manual_seed(7), truth).mixture
    assert led_astray is not None
    assert torch.equal(led_astray.means, by_hand.means)
    assert not torch.equal(led_astray.means, oracle.means)


def test_correlated_tasks_are_fitted_as_unit_and_as_full():
    where = cells_of("correlation", [2], [2], [64])[-1]
    rows = measure_cell(where, method_contenders(["em", "spectral"], "full"), 4, seed=0).rows
    assert [row.method for row in rows] == ["em-truth", "em", "em, full", "spectral"]
    assert [row.covariance_type for row in rows] == ["full", "unit", "full", "unit"]
    assert rows[2].log_likelihood > rows[1].log_likelihood


def test_a_network_of_full_covariances_is_measured_on_elongated_tasks():
    where = cells_of("anisotropic", [2], [2], [32])[-1]
    [row] = measure_cell(where, network_contenders(network(covariance="full"), 0), 2, seed=0).rows[1:]
    assert (row.method, row.covariance_type, row.n_failed) == ("network", "full", 0)


def test_attention_is_measured_on_so_many_pairs_of_points(monkeypatch):
    monkeypatch.setattr(contenders, "PAIRS_A_CELL", 3 * 32**2 + 1)
    made = network_contenders(network(), 0)
    assert [row.n_tasks for row in measure_cell(cell(), made, 4, seed=0).rows] == [4, 3]
    [reason] = measure_cell(cell(N=40), made, 4, seed=0).absent.values()
    assert reason.startswith("attention takes time in N^2, 1.6e+03 pairs of points a task")


def test_a_slow_method_is_refused_where_a_task_takes_minutes():
    made = {one.name: one for one in method_contenders(["posterior-mean", "bayesian", "em"])}
    for N, refused in ((4096, []), (16384, ["posterior-mean"]), (100_000, ["posterior-mean"])):
        assert [name for name, one in made.items() if one.refusal(cell(N=N, grid="samples"))] == refused
    assert made["posterior-mean"].refusal(cell(N=16384)).startswith("some 164 s a task on one core")


def test_what_a_start_does_not_move_is_measured_once():
    """A later cell takes the rows that it lacks from the first one, and keeps its own."""
    first, second = cells_of("initialisation", [2], [2], [32])[:2]
    everybody = [em_off_the_truth(0.0), *method_contenders(["em"])]
    one = measure_cell(first, everybody, 4, seed=0)
    alone = measure_cell(second, [em_off_the_truth(0.5)], 4, seed=0)
    joined = alone.with_rows_of(replace(one, absent={"spectral": "impossible"}))
    assert [row.method for row in joined.rows] == ["em-truth", "em-off-truth", "em"]
    assert joined.rows[:2] == alone.rows
    assert joined.rows[2] == one.rows[2]
    assert joined.absent == {"spectral": "impossible"}


def test_a_cell_without_tasks():
    impossible = cells_of("separation", [2], [3, 4])[-1]
    called = []
    result = measure_cell(impossible, method_contenders(["em"]), 4, 0, called.append)
    assert result.rows == []
    assert set(result.absent) == set(called) == {"em-truth", "em"}
    assert result.statistical is None


def test_refused():
    with pytest.raises(ValueError, match="the number of tasks is 1, needs an integer of at least 2"):
        measure_cell(cell(), [], 1, 0)
    with pytest.raises(ValueError, match="no method 'magic'; there are em"):
        method_contenders(["magic"])


def test_a_law_that_accepts_no_means_has_no_rows_and_disturbs_no_other_cell():
    """Eight directions in the plane, every two 37 degrees apart: none is drawn in 200,000."""
    law = TaskDistribution(2, (8,))
    result = measure_cell(Cell(2, 8, 16, 8, law), method_contenders(["em"]), 2, seed=0)
    assert result.rows == []
    assert set(result.absent) == {"em-truth", "em"}
    assert all("max_cosine is 0.8, kept by 0 of" in reason for reason in result.absent.values())
    assert result_of(result.cell, cell_record(result)).absent == result.absent
