"""The study: its design, what is kept, what is said of the figures, and the whole of it at a tiny size."""

import dataclasses
import json

import pytest

from baselines.metrics import Summary
from console.cells import Cells
from console.typed_json import from_plain, to_plain
from training.comparison.common.studies import StudyEffort
from training.comparison.starts import figures, measure, report
from training.comparison.starts.learning.arms import ARMS, RunPlan, WideSizes
from training.comparison.starts.learning.design import (
    NEAR_RATES,
    QUICK,
    RANDOM_RATES,
    StartsSettings,
    chosen_rates,
    key_of,
    run_plans,
    settings_of,
    sweep_plans,
)
from training.comparison.starts.learning.levels import Level
from training.comparison.starts.learning.runs import CurvePoint, RunResult
from training.comparison.starts.measure import StartsResult, measure_starts, pieces
from training.comparison.starts.references import (
    CONVERGED,
    ORACLE,
    SHIPPED,
    UNTRAINED,
    Reference,
    shipped_name,
)

TINY = StartsSettings((2,), 2, 1, 4, 1, 1, ("muon",), 2, 4)


def summary(mean):
    return Summary(mean, mean, mean, 0.0, 0.0, 4)


def levels(alone, with_em):
    return [Level(K, summary(alone), summary(with_em)) for K in (2, 3, 4, 5)]


def run(plan, alone, with_em, broken=False):
    curve = [CurvePoint(0, 0.0, 3.0, 2.0), CurvePoint(1, 0.5, 2 * alone, with_em)]
    curve += [CurvePoint(2, 1.0, alone, with_em)] * (not broken)
    return RunResult(plan, 10, curve, [] if broken else levels(alone, with_em))


def invented(errors):
    """A result whose arms have these errors at d = 2, a number a seed; with EM half of them."""
    settings = dataclasses.replace(TINY, seeds=2, changes=("tied",))
    runs = [
        run(RunPlan(2, arm, change, 1e-3, 2, seed, 4), value, value / 2)
        for (arm, change), values in errors.items()
        for seed, value in enumerate(values)
    ]
    names = [UNTRAINED, CONVERGED, ORACLE, *(shipped_name(n, v) for n in SHIPPED[2] for v in (1, 4))]
    found = [Reference(2, name, levels(0.2, 0.1), levels(0.2, 0.1)) for name in names]
    return StartsResult(settings, WideSizes(), [], [], runs, found)


ERRORS = {
    ("constructed", "none"): (0.10, 0.11),
    ("noise", "none"): (0.12, 0.13),
    ("random", "none"): (0.9, 0.8),
    ("normed", "none"): (0.3, 0.4),
    ("constructed", "tied"): (0.05, 0.06),
    ("normed", "tied"): (0.35, 0.36),
}


def test_every_arm_has_every_seed_and_every_rate():
    settings = settings_of(quick=False, seed=0)
    plans = run_plans(settings, [])
    for d in settings.n_features:
        for arm in ARMS:
            own = [p for p in plans if (p.n_features, p.arm, p.change) == (d, arm, "none")]
            assert [p.seed for p in own] == [0, 1, 2]
            rates = {p.rate for p in sweep_plans(settings) if (p.n_features, p.arm) == (d, arm)}
            assert set(RANDOM_RATES if arm in ("random", "normed") else NEAR_RATES) <= rates
    keys = [key_of(plan, settings) for plan in (*plans, *sweep_plans(settings))]
    assert len(set(keys)) == len(keys)
    assert {p.seed for p in sweep_plans(settings)} == {900}
    assert settings_of(quick=True, seed=3) == dataclasses.replace(QUICK, seed=3)
    assert min(p.seed for p in run_plans(settings_of(quick=True, seed=3), [])) == 3000


def test_the_rate_with_the_least_error_is_taken_and_never_that_of_a_broken_run():
    def swept(rate, error, broken=False):
        return run(RunPlan(2, "normed", "none", rate, 1, 900), error, error, broken)

    found = chosen_rates([swept(1e-4, 0.4), swept(3e-4, 0.2), swept(1e-3, 0.1, broken=True)])
    assert [one.rate for one in found] == [3e-4]
    plans = run_plans(TINY, found)
    assert {p.rate for p in plans if p.arm == "normed"} == {3e-4}  # Muon was not swept: the arm's own
    assert {p.rate for p in plans if p.arm == "random"} == {0.0}


def test_verdicts():
    assert report.compared([1.0, 2.0], [3.0, 4.0]) == "better"
    assert report.compared([3.0, 4.0], [1.0, 2.0]) == "worse"
    assert report.compared([1.0, 3.0], [2.0, 4.0]) == "not told apart"
    assert report.compared([1.0, float("nan")], [2.0]) == "not told apart"
    assert report.compared([], [2.0]) == "not told apart"


def test_the_step_from_which_on_all_seeds_are_below():
    data = invented(ERRORS)
    runs = data.chosen(2, "constructed")
    assert report.first_below(runs, 1.0) == 1
    assert report.first_below(runs, 0.15) == 2
    assert report.first_below(runs, 0.105) is None
    assert report.first_below(runs, 10.0) == 0
    assert report.first_below([], 1.0) is None


def test_what_is_said_follows_from_the_figures():
    text = " ".join(report.paragraphs(invented(ERRORS)))
    assert "alone it ends at 0.1 to 0.11, the better random start (random, LayerNorm) at 0.3 to 0.4" in text
    assert "better (below where that ends from step 1 on)" in text
    assert "d2 as shipped has 0.2 (better) alone and 0.1 (better) with EM" in text
    assert "construction (0.1 to 0.11 unchanged): one block, three times 0.05 to 0.06 (better)" in text
    assert "random, LayerNorm (0.3 to 0.4 unchanged): one block, three times 0.35 to 0.36 (not told" in text
    worse = {**ERRORS, ("constructed", "none"): (0.5, 0.6)}
    text = " ".join(report.paragraphs(invented(worse)))
    assert "at 0.3 to 0.4: worse" in text
    assert "d2 as shipped has 0.2 (worse)" in text


def test_a_run_that_broke_off_is_no_winner():
    data = invented(ERRORS)
    first = next(r for r in data.runs if r.plan.arm == "constructed")
    broken = [dataclasses.replace(r, levels=[]) if r is first else r for r in data.runs]
    text = " ".join(report.paragraphs(dataclasses.replace(data, runs=broken)))
    assert "not told apart" in text


def test_pictures_have_a_curve_an_arm():
    data = invented(ERRORS)
    made = figures.pictures(data)
    assert [picture.name for picture in made] == list(figures.NAMES)
    labels = [line.get_label() for line in made[0].figure.axes[0].lines]
    assert set(figures.ARM_NAMES.values()) <= set(labels)
    assert len(figures.pictures(dataclasses.replace(data, runs=data.runs[:8]))) == 1
    assert from_plain(StartsResult, json.loads(json.dumps(to_plain(data)))) == data


@pytest.mark.slow
def test_the_whole_study_is_resumable_and_two_processes_train_what_one_trains(tmp_path, monkeypatch):
    few = dataclasses.replace(TINY, steps=1)

    def study(folder, jobs):
        cells = Cells(folder, measure.COMMAND, {}, measure.ROOMS, threads=1)
        return measure_starts(few, StudyEffort(True, 0, jobs), cells, lambda name: None)

    def errors_of(result):
        return [(one.plan, one.levels) for one in (*result.sweep, *result.runs)]

    one = study(tmp_path / "one", 1)
    assert errors_of(study(tmp_path / "two", 2)) == errors_of(one)
    monkeypatch.setattr(measure, "run_one", None)  # nothing is trained again
    assert study(tmp_path / "one", 1) == one
    assert report.render(one).tables
    assert pieces(StudyEffort(quick=True, seed=0)) == 12 + 6 + 1
