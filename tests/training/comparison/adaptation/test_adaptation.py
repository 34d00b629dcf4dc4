import json
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from model_instances import small_model
from planted_networks import planted, subject

from baselines import methods
from baselines.metrics import errors
from console.phrases import Interval
from console.typed_json import from_plain, to_plain
from training.comparison.adaptation import PART
from training.comparison.adaptation.measure import (
    NEVER,
    STEPS,
    first_step,
    measure,
    needed,
    polish_check,
    worth,
)
from training.comparison.adaptation.report import steps_interval, steps_text
from training.comparison.common import regimes
from training.comparison.common.parts import Effort, Subject
from training.comparison.common.regimes import SHUFFLED, Regime, regime_tasks
from training.serving.loading import Released


@pytest.fixture(autouse=True)
def short_runs(monkeypatch):
    """Iterations that stop after 60 steps: the floor is what EM from the truth has reached by then."""
    for module in (methods, regimes):
        monkeypatch.setattr(module, "MAX_ITER", 60)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("steps", [0, 3])
def test_a_network_that_is_some_em_steps_is_worth_just_these(steps):
    found = measure(planted(lambda tasks: tasks.iterates("k-means++", STEPS)[steps], Regime(2, 2, 48), 16))
    own = found.worth["learned"]["k-means++"]
    means = [row.value for row in found.curves["k-means++"].mean]
    assert found.curves["learned"].mean[0].value == means[steps]
    assert all(value > means[steps] for value in means[:steps])  # or it would be worth fewer
    assert own.mean.value == own.solved.value == steps
    assert own.median.value <= steps
    assert own.task.never == 0.0
    assert own.task.quartiles[2] <= steps
    for kind in ("untrained", SHUFFLED):
        assert found.worth[kind]["k-means++"].mean == (0.0, 0.0, 0.0)


def test_a_network_that_is_the_floor_needs_nothing_and_random_starts_never_reach_it():
    found = measure(planted(lambda tasks: tasks.converged("truth").mixture, Regime(2, 3, 48), 24))
    assert found.needed["learned"].mean == (0.0, 0.0, 0.0)
    assert found.needed["random-points"].mean.value == NEVER
    assert found.worth["learned"]["random-points"].mean.value == NEVER
    assert found.curves["random-points"].failed > 0
    assert found.curves["learned"].failed == 0


def test_worth_by_hand():
    """Three tasks: the start is as good after 1, 2 and never; the mean after 2, the median after 1."""
    curve = torch.tensor([[9.0, 9, 9], [1, 5, 9], [1, 1, 1.5], [1, 1, 1.5]], dtype=torch.float64)
    own = torch.tensor([1.0, 1.0, 1.2], dtype=torch.float64)
    own_wide = torch.tensor([1.0, 1.0, 2.5], dtype=torch.float64)
    solved = torch.tensor([True, True, False])
    found = worth(curve, own, solved, generator())
    assert (found.task.quartiles, found.task.never) == ([1.0, 2.0, NEVER], pytest.approx(1 / 3))
    assert found.mean.value == NEVER  # 3.5/3 above 3.2/3
    assert found.solved.value == 2.0
    assert found.solved.tasks == 2
    assert worth(curve, own_wide, solved, generator()).mean.value == 2.0
    assert found.median.value == 2.0


def test_needed_excludes_the_failed_tasks():
    curve = torch.tensor([[3.0, 3], [1, 3], [1, 3]], dtype=torch.float64)
    floor = torch.ones(2, dtype=torch.float64)
    found = needed(curve, floor, torch.tensor([True, False]), generator())
    assert found.mean.value == NEVER
    assert math.isnan(found.solved.value)  # one task has no interval, and so no figure
    both = needed(curve[:, [0, 0, 1]], floor[[0, 0, 0]], torch.tensor([True, True, False]), generator())
    assert both.solved[:3] == (1.0, 1.0, 1.0)
    assert both.mean.value == NEVER


@given(st.lists(st.booleans(), min_size=1, max_size=20))
def test_the_first_step_is_the_first_true_one(reached):
    found = float(first_step(torch.tensor(reached)[:, None])[0])
    assert found == (reached.index(True) if True in reached else NEVER)


def test_the_interval_of_a_worth_is_one_of_its_steps():
    tasks = regime_tasks(subject(tasks=16), Regime(2, 2, 48), 16)
    curve = torch.stack([errors(m, tasks.truth).total for m in tasks.iterates("k-means++", STEPS)])
    found = worth(curve, curve[2], torch.ones(16, dtype=torch.bool), generator())
    for values in (found.mean, found.median):
        assert all(v == NEVER or float(v).is_integer() for v in values)
        assert values.low <= values.value <= values.high


def test_constructed_layers_are_the_exact_steps_and_the_control_is_not():
    model = small_model(components=(2, 3)).eval().requires_grad_(False)
    tasks = regime_tasks(subject(), Regime(2, 3, 48), 8)
    found = polish_check(model, tasks, 3)
    assert found.tasks == 3
    for row in found.rows:
        assert row.mean <= row.most < 1e-2 * row.control


def test_layers_that_cannot_be_built_are_refused_with_the_reason():
    diagonal = small_model({"covariance": "diagonal"}, components=(2, 3))
    tasks = regime_tasks(subject(), Regime(2, 3, 48), 8)
    assert "estimates others" in polish_check(diagonal, tasks, 2).refusal
    assert "Mixture" in polish_check(tasks.truth, tasks, 2).refusal


def test_steps_in_words():
    assert steps_text(3.0) == "3"
    assert steps_text(math.nan) == steps_text(NEVER) == "never"
    assert steps_interval(Interval(3.0, 2.0, NEVER)) == "3 (2 to never)"
    assert steps_interval(Interval(3.0, 3.0, 3.0)) == "3"


@pytest.mark.parametrize("scales", [False, True])
def test_the_section_is_made_from_json_alone(scales):
    model, other = (
        small_model({"covariance": "diagonal" if scales else "unit"}, components=(2,), seed=s)
        .eval()
        .requires_grad_(False)
        for s in (0, 1)
    )
    owner = Subject(Released("small", model, "", {}), other, Effort(True, 0, 8))
    started: list[str] = []
    values = PART.compute(owner, started.append)
    assert len(started) == PART.pieces(owner)
    section = PART.render(from_plain(PART.result, json.loads(json.dumps(to_plain(values)))))
    assert tuple(p.name for p in section.pictures) == PART.pictures
    text = " ".join([*section.paragraphs, *(c for t in section.tables for row in t.rows for c in row)])
    assert "nan" not in text
    assert "inf" not in text
    assert ("were not compared with exact steps" in text) == scales
