"""What the report says of runs whose figures are planted: it must follow the figures."""

import dataclasses
import json
import math

import pytest

from console.typed_json import from_plain, to_plain
from training.comparison.origins.em_problem import EMProblem
from training.comparison.origins.figures import NAMES, grouped
from training.comparison.origins.measure import QUICK, OriginsResult, RunResult, measure_origins, pieces
from training.comparison.origins.report import has_returned, paragraphs, render, verdict
from training.comparison.origins.training_runs import Measurement, RunPlan

FEW = dataclasses.replace(QUICK, steps=2, random_steps=2, tasks=8, curvature_tasks=3, line_points=3)


def point(step, loss):
    return Measurement(loss, loss, loss, 0.0, {}, 0.0, step=step, gradient=0.0)


def run(start, *losses, seed=0, noise=0.0, steps=10):
    """A run whose measured losses are these; None stands for one that broke off before its end."""
    curve = [point(i, loss) for i, loss in enumerate(losses[:-1])]
    if losses[-1] is not None:
        curve.append(point(steps, losses[-1]))
    plan = RunPlan(start, "em", 1e-3, steps, seed, noise)
    return RunResult(plan, plan.name, curve, [(one.step, one.loss) for one in curve])


def with_runs(data, chosen, changed):
    """The result with changed(run) in place of the runs on the distance to EM from one start."""
    mine = [one.plan.target == "em" and one.plan.start == chosen for one in data.runs]
    runs = [changed(one) if own else one for one, own in zip(data.runs, mine, strict=True)]
    return dataclasses.replace(data, runs=runs)


def ending(curve, loss):
    return [*curve[:-1], dataclasses.replace(curve[-1], loss=loss)]


@pytest.mark.parametrize(
    ("runs", "expected"),
    [
        ([run("constructed", 1.0, 1.5, 2.0), run("constructed", 1.0, 1.0, 0.5)], "stays"),
        ([run("constructed", 1.0, 1.5, 2.0), run("constructed", 1.0, 2.1, 0.5)], "leaves and returns"),
        ([run("constructed", 1.0, 1.5, 2.1), run("constructed", 1.0, 1.0, 0.5)], "leaves"),
        ([run("constructed", 1.0, 1.5, None), run("constructed", 1.0, 1.0, 0.5)], "leaves"),
        ([run("noise", 50.0, 2.0), run("noise", 60.0, 1.0)], "returns"),
        ([run("noise", 50.0, 2.0), run("noise", 60.0, 2.1)], "does not return"),
        ([run("random", 50.0, 1.9)], "arrives"),
        ([run("random", 50.0, 3.0)], "does not arrive"),
    ],
)
def test_verdicts(runs, expected):
    assert verdict(runs, 1.0) == expected
    assert has_returned(runs, 1.0) == (expected in ("stays", "leaves and returns", "returns", "arrives"))


@pytest.fixture(scope="module")
def figures():
    """A whole experiment of two steps, as it comes back from disk."""
    started = []
    problem = EMProblem(n_components=2, n_samples=8, steps=1, pieces=4)
    data = measure_origins(problem, FEW, started.append)
    assert len(started) == pieces(FEW)
    return from_plain(OriginsResult, json.loads(json.dumps(to_plain(data))))


def test_every_run_is_there(figures):
    assert {(r.plan.start, r.plan.noise, r.plan.target): len(g) for t in ("em", "truth") for g in
            grouped(figures.runs, t).values() for r in g[:1]} == {
        ("constructed", 0.0, "em"): 2,
        ("noise", 1e-3, "em"): 2,
        ("noise", 1e-2, "em"): 2,
        ("random", 0.0, "em"): 1,
        ("constructed", 0.0, "truth"): 1,
        ("noise", 1e-2, "truth"): 1,
        ("random", 0.0, "truth"): 1,
    }  # fmt: skip


def test_the_control_line_is_flat_and_the_copy_at_distance_zero(figures):
    control = figures.lines[0].line
    assert control.distance <= 1e-10
    assert control.barrier_after == pytest.approx(1, abs=1e-6)
    assert control.barrier_before > 1.5


def test_the_section_has_every_picture_and_names_controls(figures):
    section = render(figures)
    assert [picture.name for picture in section.pictures] == list(NAMES)
    assert all(len(picture.caption) > 100 for picture in section.pictures)
    text = " ".join([*section.paragraphs, *(table.note for table in section.tables)])
    assert "control" in text
    for table in section.tables:
        assert {len(row) for row in table.rows} == {len(table.header)}


def test_the_finding_follows_the_figures(figures):
    level = figures.levels.construction.em

    def ended(end):
        def changed(one):
            curve = ending([dataclasses.replace(point, loss=level) for point in one.curve], end)
            watched = [(point.step, point.loss) for point in curve]
            return dataclasses.replace(one, curve=curve, watched=watched)

        return with_runs(figures, "constructed", changed)

    stays, leaves = ended(1.5 * level), ended(3 * level)
    assert "it stays (at the end 1.5 times" in paragraphs(stays)[0]
    assert "it leaves (at the end 3 times" in paragraphs(leaves)[0]


def test_the_radius_follows_the_figures(figures):
    level = figures.levels.construction.em
    said = {}
    for name, ends in (("both", (1, 2)), ("small", (1, 3)), ("none", (3, 1))):

        def changed(one, ends=ends):
            end = level * ends[one.plan.noise > 5e-3]
            return dataclasses.replace(one, curve=ending(one.curve, end))

        said[name] = paragraphs(with_runs(figures, "noise", changed))[1]
    assert "up to 0.01" in said["both"]
    assert "the largest tried" in said["both"]
    assert "up to 0.001" in said["small"]
    assert "no longer from 0.01" in said["small"]
    assert "not even noise of size 0.001" in said["none"]


def test_a_peak_between_two_measurements_is_seen(figures):
    """The losses are taken far more often than the distances."""
    level = figures.levels.construction.em
    watched = [(0, level), (1, 2.5 * level), (2, math.nan), (3, level)]

    def changed(one):
        return dataclasses.replace(one, curve=ending(one.curve, level), watched=watched)

    data = with_runs(figures, "constructed", changed)
    assert "leaves and returns" in paragraphs(data)[0]
    assert "at the highest on the way 2.5" in paragraphs(data)[0]


def test_the_copy_has_every_block_and_unrelated_weights_do_not(figures):
    counts = list(figures.counts.values())
    assert counts[0].lacks == counts[0].in_addition == 0 < counts[0].has
    assert counts[-1].lacks > counts[-1].has
