"""All runs of "one architecture, two origins", the curvature at their ends, and the lines between them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from typing import Annotated, Any

import joblib
import torch
from torch import Tensor

from console.typed_json import Beside, Key
from constructions.language.shown import short_repr
from constructions.language.stream import Block
from constructions.language.transformer import Transformer
from training.comparison.common.parts import Start, Subject
from training.comparison.common.random_paths import OriginPurpose, beside_construction
from training.comparison.origins.curvature import Curvature, curvature
from training.comparison.origins.em_problem import TARGETS, EMProblem, Examples, ProblemSizes, Target
from training.comparison.origins.straight_lines import Line, compare_lines
from training.comparison.origins.training_runs import (
    Measurement,
    RunPlan,
    TrainedRun,
    measured_steps,
    slot_blocks,
    starting_network,
    train,
)
from training.comparison.symmetry.alignment import align_transformers
from training.comparison.symmetry.group import random_copy
from training.comparison.symmetry.random_network import random_like
from training.comparison.weights.block_verdicts import BlocksResult, Counts
from training.comparison.weights.blocks import compare_blocks, layer_inputs
from training.model.balance import balanced

COPY = "a copy of the construction, symmetries drawn at random"
SEEDS_APART = 1000
"""Between the seeds of the runs of two experiments."""


@dataclass(frozen=True)
class OriginSettings:
    """How much is trained.

    steps, random_steps   a run from the construction (or near it), and from random weights.
    rates                 learning rates from the construction itself, loss "em".
    noise_rate            that of runs from the construction plus noise; truth_rate of all near-construction
                          runs with loss "truth"; random_rate of random starts.
    noises, truth_noises  sizes of noise for the two losses.
    seeds, truth_seeds, random_seeds   how many of each.
    tasks                 held-out tasks.
    curvature_tasks, eigenvalues       tasks behind a Hessian, eigenvalues from each of its ends.
    line_points           places on a line.
    workers               processes.
    seed                  of all that is random; runs have the seeds 1,000 seed, 1,000 seed + 1, ...
    """

    steps: int = 1000
    random_steps: int = 5000
    rates: tuple[float, ...] = (1e-5, 1e-4, 1e-3)
    noise_rate: float = 3e-4
    truth_rate: float = 3e-4
    random_rate: float = 3e-3
    noises: tuple[float, ...] = (3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
    truth_noises: tuple[float, ...] = (1e-3, 1e-2, 1e-1)
    seeds: int = 5
    truth_seeds: int = 3
    random_seeds: int = 3
    tasks: int = 256
    curvature_tasks: int = 64
    eigenvalues: int = 3
    line_points: int = 21
    workers: int = 2
    seed: int = 0


QUICK = OriginSettings(
    steps=60,
    random_steps=120,
    rates=(1e-4,),
    noises=(1e-3, 1e-2),
    truth_noises=(1e-2,),
    seeds=2,
    truth_seeds=1,
    random_seeds=1,
    tasks=64,
    curvature_tasks=8,
    eigenvalues=1,
    line_points=9,
    workers=1,
)


def settings_of(subject: Subject) -> OriginSettings:
    """How much is trained: a thousand steps and five seeds a size, or with --quick too little to conclude."""
    return replace(QUICK if subject.effort.quick else OriginSettings(), seed=subject.effort.seed)


@dataclass(frozen=True)
class ProblemResult(ProblemSizes):
    """The problem; dtype by its name."""

    dtype: str = ""

    __repr__ = short_repr


@dataclass(frozen=True)
class Level:
    """Mean losses of something that is not trained: distance to EM, and to the truth."""

    em: float
    truth: float

    def of(self, target: Target) -> float:
        """One of the two."""
        return self.em if target == "em" else self.truth


@dataclass(frozen=True)
class Levels:
    """Of the construction, of a network that returns its start, and of exact EM."""

    construction: Level
    start: Annotated[Level, Key("the start itself")]
    exact_em: Annotated[Level, Key("exact EM")]

    @property
    def named(self) -> dict[str, Level]:
        """As tables call them."""
        return {"construction": self.construction, "the start itself": self.start, "exact EM": self.exact_em}


@dataclass(frozen=True)
class RunResult:
    """One run: its plan, and what was measured on the way."""

    plan: Annotated[RunPlan, Beside()]
    name: str
    curve: list[Measurement]
    watched: list[tuple[int, float]]

    __repr__ = short_repr


@dataclass(frozen=True)
class CurvatureRow:
    """Of the loss `target` at a network."""

    at: str
    target: Target
    stable_rate: float
    curvature: Annotated[Curvature, Beside()]


@dataclass(frozen=True)
class LineRow:
    """From the construction to a network."""

    to: str
    line: Annotated[Line, Beside()]


@dataclass(frozen=True)
class OriginsResult:
    """All runs, and what was measured at their ends; counts: blocks of the theorem by network."""

    problem: ProblemResult
    settings: OriginSettings
    levels: Levels
    unrelated_distance: float
    runs: list[RunResult]
    curvature: list[CurvatureRow]
    lines: list[LineRow]
    blocks: BlocksResult
    counts: dict[str, Counts]

    __repr__ = short_repr


def compute(subject: Subject, start: Start) -> OriginsResult:
    """The networks are its own, the same for every checkpoint."""
    return measure_origins(EMProblem(), settings_of(subject), start)


def run_plans(settings: OriginSettings) -> list[RunPlan]:
    """Every run, the longest first so that two processes end together."""

    def plans(count: int, plan: RunPlan) -> Iterator[RunPlan]:
        for place in range(count):
            seed = SEEDS_APART * settings.seed + place
            yield replace(plan, seed=seed, measured=measured_steps(plan.steps))

    s = settings
    found: list[RunPlan] = []
    for target in TARGETS:
        found += plans(s.random_seeds, RunPlan("random", target, s.random_rate, s.random_steps, 0))
    for rate in s.rates:
        found += plans(s.seeds, RunPlan("constructed", "em", rate, s.steps, 0))
    for size in s.noises:
        found += plans(s.seeds, RunPlan("noise", "em", s.noise_rate, s.steps, 0, size))
    found += plans(s.truth_seeds, RunPlan("constructed", "truth", s.truth_rate, s.steps, 0))
    for size in s.truth_noises:
        found += plans(s.truth_seeds, RunPlan("noise", "truth", s.truth_rate, s.steps, 0, size))
    return found


def train_all(
    problem: EMProblem, plans: Iterable[RunPlan], held_out: Examples, workers: int
) -> Iterator[TrainedRun]:
    """The trained networks as they are ready, on `workers` processes of one thread each."""
    if workers == 1:
        yield from (train(problem, plan, held_out) for plan in plans)
        return
    with joblib.parallel_config("loky", inner_max_num_threads=1):
        jobs = (joblib.delayed(train)(problem, plan, held_out) for plan in plans)
        trained: Any = joblib.Parallel(n_jobs=workers, return_as="generator_unordered")(jobs)
        yield from trained


def pieces(settings: OriginSettings) -> int:
    """How often :func:`measure_origins` calls `start`."""
    return len(run_plans(settings)) + 3


def measure_origins(problem: EMProblem, settings: OriginSettings, start: Start) -> OriginsResult:
    """Train everything."""
    held_out = problem.examples(settings.tasks, OriginPurpose.HELD_OUT, settings.seed)
    plans = run_plans(settings)
    start(f"training {len(plans)} networks of the construction's shape")
    runs: list[TrainedRun] = []
    for run in train_all(problem, plans, held_out, settings.workers):
        runs.append(run)
        start(f"{run.plan.name}, loss {run.plan.target}, seed {run.plan.seed}")
    order = {plan: place for place, plan in enumerate(plans)}
    runs.sort(key=lambda run: order[run.plan])
    chosen = _chosen(runs, SEEDS_APART * settings.seed)
    start("curvature")
    exact = replace(problem, dtype=torch.float64)
    few = exact.examples(settings.curvature_tasks, OriginPurpose.CURVATURE, settings.seed)
    ends = _Ends(exact, settings, chosen, few)
    bends = ends.curvatures()
    start("straight lines and blocks")
    sizes = {name: value for name, value in asdict(problem).items() if name != "dtype"}
    return OriginsResult(
        problem=ProblemResult(**sizes, dtype=str(problem.dtype).removeprefix("torch.")),
        settings=settings,
        levels=reference_levels(problem, held_out),
        unrelated_distance=_unrelated_distance(problem, settings.seeds),
        runs=[RunResult(run.plan, run.plan.name, run.curve, run.watched) for run in runs],
        curvature=bends,
        lines=ends.lines(),
        blocks=ends.blocks(),
        counts=ends.counts(),
    )


def reference_levels(problem: EMProblem, held_out: Examples) -> Levels:
    """On held-out tasks."""
    with torch.no_grad():
        constructed = problem.constructed()
        still = problem.constructed()
        for weight in still.parameters():
            weight.zero_()  # every layer adds nothing: the read-out sees the start
        found = [
            Level(*(float(problem.losses(network, held_out, target).mean()) for target in TARGETS))
            for network in (constructed, still)
        ]
    return Levels(*found, exact_em=Level(0.0, problem.exact_truth_loss(held_out)))


def _unrelated_distance(problem: EMProblem, count: int) -> float:
    """The mean aligned distance of weights of equal norms that have nothing to do with the construction."""
    constructed, slots = problem.constructed(), slot_blocks(problem)
    distances = [
        align_transformers(constructed, _unrelated(problem, seed), slots).distance for seed in range(count)
    ]
    return sum(distances) / count


def _chosen(runs: list[TrainedRun], seed: int) -> dict[str, Transformer]:
    """One network of each kind that the em loss trained, of this seed, by what it started from."""
    found: dict[str, Transformer] = {}
    for run in runs:
        plan = run.plan
        finite = all(bool(p.isfinite().all()) for p in run.network.parameters())
        if plan.target != "em" or plan.seed != seed or not finite:
            continue
        found[f"trained from {plan.label}"] = run.network.double()
    return found


@dataclass(frozen=True, eq=False)
class _Ends:
    """The networks where runs ended, by what they started from, on tasks of a problem in float64."""

    problem: EMProblem
    settings: OriginSettings
    chosen: dict[str, Transformer]
    examples: Examples

    @cached_property
    def constructed(self) -> Transformer:
        """The hand-built weights."""
        return self.problem.constructed()

    @cached_property
    def slots(self) -> tuple[Block, ...]:
        """Blocks with an entry a component."""
        return slot_blocks(self.problem)

    def loss(self, target: Target, network: Transformer) -> Tensor:
        """The mean over the tasks."""
        return self.problem.losses(network, self.examples, target).mean()

    def curvatures(self) -> list[CurvatureRow]:
        """At the construction for both losses, at a random start (the control), and where runs ended."""
        fresh = RunPlan("random", "em", self.settings.random_rate, 1, SEEDS_APART * self.settings.seed)
        places: list[tuple[str, Target, Transformer]] = [
            ("construction", "em", balanced(self.constructed)),
            ("construction", "truth", balanced(self.constructed)),
            ("random weights, untrained", "em", starting_network(self.problem, fresh)),
        ]
        ends = [name for name in self.chosen if "noise" not in name]
        for name in dict.fromkeys((*ends[:1], *ends[-1:])):
            places.append((name, "em", balanced(self.chosen[name])))
        found = []
        for name, target, network in places:
            loss = partial(self.loss, target)
            bend = curvature(network, loss, self.settings.eigenvalues, self.settings.seed)
            found.append(CurvatureRow(name, target, bend.stable_rate, bend))
        return found

    def lines(self) -> list[LineRow]:
        """From the construction to a random copy of itself (the control), and to the trained networks."""
        copied = random_copy(self.constructed, beside_construction(self.settings.seed))
        loss, points = partial(self.loss, "em"), self.settings.line_points
        others = {COPY: copied.transformer} | self.chosen
        return [
            LineRow(name, compare_lines(self.constructed, other, self.slots, loss, points))
            for name, other in others.items()
        ]

    def _compared(self, network: Transformer, control: Transformer | None = None) -> BlocksResult:
        states = layer_inputs(self.constructed, self.examples.tokens)
        stream = self.problem.construction.stream
        return compare_blocks(self.constructed, network, stream, states, self.slots, control)

    def blocks(self) -> BlocksResult:
        """The theorem's blocks in the network trained from random weights; control: nothing learned."""
        return self._compared(self.chosen["trained from random"], _unrelated(self.problem, 0))

    def counts(self) -> dict[str, Counts]:
        """How many of the theorem's blocks each network has; a copy of the construction must have all."""
        copied = random_copy(self.constructed, beside_construction(self.settings.seed), self.slots)
        networks = {COPY: copied.transformer} | self.chosen
        networks["unrelated weights of the same norms"] = _unrelated(self.problem, self.settings.seed)
        return {name: self._compared(network).counts["learned"] for name, network in networks.items()}


def _unrelated(problem: EMProblem, seed: int) -> Transformer:
    return random_like(problem.constructed(), beside_construction(seed))
