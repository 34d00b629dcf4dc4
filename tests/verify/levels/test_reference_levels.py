"""The published levels, measured again (slow), and the parts of the comparison (fast)."""

import json
from fractions import Fraction
from math import comb

import pytest
import torch
from scipy.stats import norm

from baselines.metrics import Summary
from baselines.spectral import SpectralResult, spectral
from console.errors import run_command
from verify.levels import check as level_check
from verify.levels.command import (
    GREEDY,
    LEVELS,
    METHODS,
    ORACLE,
    RESTARTS,
    SPECTRAL,
    Level,
    Published,
    _level,
    measure_levels,
    published_standard_error,
    share_distance,
)
from verify.reference_levels import app


@pytest.fixture(autouse=True)
def one_thread():
    """A second thread only waits on tensors this small, and on a busy machine it waits for long."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.slow
def test_published_levels_are_reproduced():
    levels = measure_levels(n_tasks=1024, seed=0)
    compared = [level for level in levels if level.published is not None]
    assert len(compared) == len(LEVELS) == 15
    assert [level for level in compared if not level.reproduced] == []
    for level in levels:
        if level.method == GREEDY and level.n_features == 8:
            oracle = next(
                o.measured
                for o in levels
                if o.method == ORACLE and (o.n_features, o.n_components) == (8, level.n_components)
            )
            assert level.measured.mean <= oracle.mean + 3 * oracle.standard_error


def test_published_standard_error():
    """Half of 1,024 tasks at error 4 above an oracle of no spread: the deviation is 2, its error 2/32."""
    oracle = Summary(mean=1.0, median=1.0, p90=1.0, standard_error=0.0, percent_bad=0.0, n_tasks=100)
    assert published_standard_error(Published(3.0, 50.0, 0.0), oracle) == pytest.approx(2 / 32)
    spread = Summary(mean=1.0, median=1.0, p90=1.0, standard_error=0.3, percent_bad=0.0, n_tasks=64)
    assert published_standard_error(Published(1.0, None, 0.0), spread) == pytest.approx(0.3 * 8 / 32)


def summary(percent_bad):
    return Summary(1.0, 1.0, 1.0, 0.1, percent_bad, 1024)


def fisher(bad, n, other, m):
    """Two-sided p-value of the hypergeometric distribution: all tables that are no likelier, added up."""
    least, most = max(0, bad + other - m), min(n, bad + other)
    chances = {
        k: Fraction(comb(n, k) * comb(m, bad + other - k), comb(n + m, bad + other))
        for k in range(least, most + 1)
    }
    return float(sum(p for p in chances.values() if p <= chances[bad]))


@pytest.mark.parametrize(
    ("percent", "n_tasks", "published", "count"),
    [
        (10.0, 1000, 20.0, 205),
        (25.0, 16, 8.1, 83),
        (0.0, 64, 0.5, 5),
        (12.5, 64, 0.5, 5),
        (100.0, 8, 46.0, 471),
    ],
)
def test_share_distance(percent, n_tasks, published, count):
    """3 stands for p = 0.0027, of the exact test."""
    bad = round(percent * n_tasks / 100)
    found = share_distance(summary(percent), Published(1.0, published, 0.0), n_tasks)
    p = fisher(bad, n_tasks, count, 1024)
    assert 2 * norm.sf(found) == pytest.approx(p, rel=1e-6)
    found = share_distance(summary(percent), Published(1.0, published, 0.0), n_tasks, 11)
    assert 2 * norm.sf(found) == pytest.approx(min(1.0, 11 * p), rel=1e-6)


def test_a_share_that_is_printed_alike_is_at_distance_0():
    assert share_distance(summary(0.0), Published(1.0, 0.0, 0.0), 1024) == 0
    assert share_distance(summary(100 * 2 / 1024), Published(1.0, 0.2, 0.0), 1024) == 0


def test_small_samples_compare_shares_only(monkeypatch):
    """One task far off decides the mean of 16: no failure to reproduce, which a share of bad tasks may be."""
    published = Published(0.028, 0.2, 0.0005)
    monkeypatch.setitem(LEVELS, (RESTARTS, 8, 3), published)
    oracle = torch.full((16,), 0.028, dtype=torch.float64)
    one = oracle.clone()
    one[3] = 50.0
    level = _level(RESTARTS, 8, 3, one, oracle, 0.0)
    assert level.reproduced
    assert (level.published, level.combined_standard_error) == (0.028, None)
    many = oracle.clone()
    many[:8] = 50.0
    assert not _level(RESTARTS, 8, 3, many, oracle, 0.0).reproduced
    alone = _level(ORACLE, 8, 3, oracle, oracle, 0.0)  # no share is published
    assert (alone.distance, alone.reproduced) == (None, True)
    assert _level(RESTARTS, 8, 3, one.repeat(64), oracle.repeat(64), 0.0).combined_standard_error is not None


@pytest.mark.parametrize("level", [Published(0.4, 0.0, 0.0005), Published(0.034, 30.0, 0.0005)])
def test_a_wrong_spectral_level_is_told_apart(monkeypatch, level):
    """By its mean, or by its share of bad tasks alone."""
    oracle = torch.linspace(0.01, 0.046, 1024, dtype=torch.float64)
    total = oracle + 0.006
    total[:2] = 1.0  # 0.2 %
    assert _level(SPECTRAL, 8, 3, total, oracle, 0.0).reproduced
    monkeypatch.setitem(LEVELS, (SPECTRAL, 8, 3), level)
    assert not _level(SPECTRAL, 8, 3, total, oracle, 0.0).reproduced


@pytest.fixture
def spectral_alone(monkeypatch):
    """Beside the oracle, which is always measured."""
    for d in METHODS:
        monkeypatch.setitem(METHODS, d, (SPECTRAL,))


@pytest.mark.usefixtures("spectral_alone")
def test_a_task_without_an_estimate_is_bad_and_in_no_mean(monkeypatch):
    def some_fail(X, n_components, **settings) -> SpectralResult:
        moved = X.clone()
        moved[::4] = 0.0
        return spectral(moved, n_components, **settings)

    [right] = [found for found in measure_levels(64, 0, ((32, 3),)) if found.method == SPECTRAL]
    monkeypatch.setattr("verify.levels.command.spectral", some_fail)
    [level] = [found for found in measure_levels(64, 0, ((32, 3),)) if found.method == SPECTRAL]
    assert (right.n_failed, level.n_failed) == (0, 16)
    assert (right.measured.percent_bad, level.measured.percent_bad) == (0.0, 25.0)
    assert level.measured.n_tasks == 48
    assert level.measured.mean == pytest.approx(right.measured.mean, rel=0.1)


def test_ledger_lines(monkeypatch):
    """One line for EM and one for the spectral method, each judged by its own levels."""

    def levels(n_tasks, seed):
        assert (n_tasks, seed) == (1024, 5)
        return [
            Level(ORACLE, 2, 3, summary(0.0), 0.04, 0.01, 1.5, 0, 1.0),
            Level(ORACLE, 8, 3, summary(0.0), 0.04, 0.01, 0.5, 0, 2.0),
            Level(GREEDY, 8, 3, summary(0.0), None, None, None, 0, 4.0),
            Level(SPECTRAL, 8, 3, summary(0.0), 0.04, 0.01, 2.0, 1, 8.0),
            Level(SPECTRAL, 32, 5, summary(0.0), 0.04, 0.01, 3.5, 2, 16.0),
            Level(SPECTRAL, 32, 3, summary(0.0), None, None, None, 0, 32.0),
        ]

    monkeypatch.setattr(level_check, "measure_levels", levels)
    of_em, of_spectral = level_check.check_reference_levels(5, 1)
    assert of_em.claim.startswith("EM reproduces")
    assert (of_em.passed, of_em.observed, of_em.margin, of_em.instances) == (True, 1.5, 2.0, 2 * 1024)
    assert of_em.note == f"2 levels; furthest: {ORACLE}, d = 2, K = 3"
    assert of_em.seconds == 7.0
    assert of_spectral.claim.startswith("spectral (variance known) reproduces")
    assert (of_spectral.passed, of_spectral.observed, of_spectral.seconds) == (False, 3.5, 56.0)
    assert of_spectral.note == f"2 levels; furthest: {SPECTRAL}, d = 32, K = 5; 3 tasks without an estimate"


def test_a_wrong_level_is_told_apart(monkeypatch):
    oracle = torch.linspace(0.01, 0.046, 1024, dtype=torch.float64)
    assert _level(ORACLE, 8, 3, oracle, oracle, 0.0).reproduced
    monkeypatch.setitem(LEVELS, (ORACLE, 8, 3), Published(0.056, None, 0.0005))
    assert not _level(ORACLE, 8, 3, oracle, oracle, 0.0).reproduced


def test_command(tmp_path, capsys):
    code = run_command(app, ["--tasks", "8", "--seed", "1", "--out", str(tmp_path / "new")])
    content = json.loads((tmp_path / "new" / "results.json").read_text())
    assert code == (0 if content["passed"] else 1)
    assert len(content["records"]) == 22
    assert content["settings"]["n_tasks"] == 8
    assert "Total error on the paper's tasks" in capsys.readouterr().out


def test_command_refuses_bad_input(tmp_path, capsys):
    assert run_command(app, ["--tasks", "1"]) == 2
    assert capsys.readouterr().err == "error: --tasks 1: at least 2 are needed\n"
    taken = tmp_path / "file"
    taken.write_text("kept")
    assert run_command(app, ["--tasks", "8", "--out", str(taken)]) == 2
    assert str(taken) in capsys.readouterr().err
    assert taken.read_text() == "kept"
