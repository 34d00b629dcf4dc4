"""The claims of paper_notes/learned_vs_constructed.md that ``python -m verify`` checks: trained networks.

Every claim has a control that must fail by the same measure; a claim is held only if it does. The second
argument, a number of one-step instances, is not used here: each check says how many tasks and seeds it had.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from scipy import stats

from training.comparison.common.random_paths import OriginPurpose
from training.comparison.origins.em_problem import EMProblem
from training.comparison.origins.report import RETURNED
from training.comparison.origins.training_runs import RunPlan, slot_blocks, train
from training.comparison.symmetry.alignment import align_transformers
from training.comparison.symmetry.group import random_copy, random_copy_model
from training.comparison.symmetry.model_alignment import align_models
from training.serving.loading import load_tgmm
from training.serving.shipped import STUDIED
from verify.engine.record import Check, Learned, Record

NOTE = "paper_notes/learned_vs_constructed.md"
DEVICE = "cpu"

COPIES = 3
COPY_DISTANCE = 1e-10
CHANGED = 1.5
"""The control of the copies: one hidden unit of each layer writes so many times as much."""

STEPS, SEEDS, CONTROL_SEEDS = 1000, 5, 2
TASKS = 256
STAYING_RATE, RETURNING_RATE = 1e-4, 3e-4
NOISE, TOO_MUCH_NOISE = 3e-3, 3e-2


def check_copies(seed: int, instances: int) -> list[Record]:
    """A copy under random symmetries is at distance 0 after alignment; a changed copy is not."""
    check = Check(f"{NOTE}, proposition 1", seed)
    generator = torch.Generator().manual_seed(seed)
    problem = EMProblem(dtype=torch.float64)
    constructed, slots = problem.constructed(), slot_blocks(problem)
    distances, controls = [], []
    for _ in range(COPIES):
        copied = random_copy(constructed, generator, slots).transformer
        distances.append(align_transformers(constructed, copied, slots).distance)
        _change(copied.layers)
        controls.append(align_transformers(constructed, copied, slots).distance)
    for name in STUDIED:
        model = load_tgmm(name).double()
        for _ in range(COPIES):
            copied = random_copy_model(model, generator)
            distances.append(align_models(model, copied).distance)
            _change(copied.backbone.layers)  # pyright: ignore[reportArgumentType]
            controls.append(align_models(model, copied).distance)
    largest, least = max(distances), min(controls)
    note = f"the construction, {', '.join(STUDIED)}; control, one unit a layer changed: {least:.1e}"
    passed = largest <= COPY_DISTANCE < least
    claim = "a copy of a network under random symmetries is at distance 0 from it after alignment"
    return [check.record(claim, COPY_DISTANCE, largest, len(distances), passed, note)]


@torch.no_grad()
def _change(layers: torch.nn.ModuleList) -> None:
    for layer in layers:
        layer.mlp.w2[0] *= CHANGED  # pyright: ignore


def check_staying(seed: int, instances: int) -> list[Record]:
    """Training from the construction on the distance to EM ends near the construction's own loss."""
    plans = _plans("constructed", STAYING_RATE, 0.0, SEEDS, seed)
    return [
        _trained(f"trained from the construction, rate {STAYING_RATE:g}, the loss ends near it", plans, seed)
    ]


def check_returning(seed: int, instances: int) -> list[Record]:
    """Training undoes a little noise."""
    plans = _plans("noise", RETURNING_RATE, NOISE, SEEDS, seed)
    return [_trained(f"from the construction with noise {NOISE:g} training returns to its loss", plans, seed)]


def _plans(start: str, rate: float, noise: float, count: int, seed: int) -> list[RunPlan]:
    return [
        RunPlan(start, "em", rate, STEPS, seed * 1000 + place, noise, (0, STEPS))  # pyright: ignore
        for place in range(count)
    ]


def _trained(claim: str, plans: Sequence[RunPlan], seed: int) -> Record:
    """The control is the same training from more noise."""
    check = Check(f"{NOTE}, section 3", seed, "float32", "learned")
    problem = EMProblem()
    held_out = problem.examples(TASKS, OriginPurpose.HELD_OUT, seed)
    with torch.no_grad():
        constructed = float(problem.losses(problem.constructed(), held_out, "em").mean())

    def ends(plan: RunPlan) -> tuple[float, float]:
        curve = train(problem, plan, held_out).curve
        last = curve[-1].loss if curve[-1].step == plan.steps else math.inf
        return curve[0].loss / constructed, last / constructed

    before, after = zip(*map(ends, plans), strict=True)
    interval = mean_interval(after)
    rate = plans[0].learning_rate
    controls = [ends(plan)[1] for plan in _plans("noise", rate, TOO_MUCH_NOISE, CONTROL_SEEDS, seed)]
    note = (
        f"mean of {len(plans)} seeds, the largest {max(after):.3g}; {max(before):.3g} times before "
        f"training; control, noise {TOO_MUCH_NOISE:g}: {min(controls):.3g} and more"
    )
    return check.record(
        f"{claim}: at most {RETURNED:g} times the construction's after {STEPS:,} steps, in every seed",
        RETURNED,
        float(torch.tensor(after, dtype=torch.float64).mean()),
        len(plans) * TASKS,
        passed=max(*after, interval[1]) <= RETURNED < min(controls),
        note=note,
        learned=Learned(STEPS, DEVICE, interval),
    )


def mean_interval(values: Sequence[float]) -> tuple[float, float]:
    """95 % interval of the mean over seeds by Student's t; all of them have the same held-out tasks."""
    sample = torch.tensor(values, dtype=torch.float64)
    half = float(stats.t.ppf(0.975, len(values) - 1) * sample.std() / len(values) ** 0.5)
    return float(sample.mean()) - half, float(sample.mean()) + half
