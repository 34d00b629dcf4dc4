"""Is each variable of the constructed EM decodable from a network's stream, and does the network use it?

decodable  R^2 of a ridge probe (training.comparison.probes.ridge) from each token of the stream at a place to
           the exact variable there, on tasks that took no part in the fit; beside it shuffled targets
used       an interchange: the part of the stream in a learned subspace (rotation.py) is taken from a source
           task, and the network's answer is compared with the algorithm's counterfactual
           (counterfactuals.py), on tasks that took no part in the learning

Each base has two sources. Let a be the algorithm's answer for the base, c and c' its counterfactuals with the
one and the other source, o and o' the network's answers, in the metric of the loss.

    accuracy   share of bases with |o - c| < m / 2 and |o' - c'| < m' / 2,
               m = min(|c - a|, |c - c'|),  m' = min(|c' - a|, |c - c'|)
    r2         1 - sum |o - c|^2 / sum |a - c|^2                  0: as good as EM with nothing replaced
    source_r2  1 - sum |(o - o') - (c - c')|^2 / sum |c - c'|^2   0: no difference between sources arrives

So chance is 0. EM with nothing replaced cannot count, and no answer that is the same for both sources can: it
is not within half of |c - c'| of both. The accuracy is over the bases where m and m' are at least DISTINCT
times the root mean square of |c - c'|; elsewhere the algorithm itself says hardly anything else. It is
strict: a network that runs EM with an error of half of m has 0. r2 tells how near it is, and source_r2 the
same without the error that the network makes with any source.

The control for learning: the same with c and c' in each other's place, in the learning and in the test. What
the network is given then says nothing of what is wanted.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from constructions.language.shown import short_repr
from constructions.language.transformer import Transformer
from training.comparison.common.random_paths import OriginPurpose, generator_of
from training.comparison.finding.counterfactuals import Place, Variable, answer, places
from training.comparison.finding.rotation import (
    coordinates,
    decoder_directions,
    encoder_directions,
    learned,
    put_in,
)
from training.comparison.finding.triples import Triples, triples
from training.comparison.origins.em_problem import EMProblem
from training.comparison.probes.ridge import Split, probe, shuffled, split_tasks

DISTINCT = 0.5
"""Of the root mean square distance between the counterfactuals of two sources."""


@dataclass(frozen=True)
class Effort:
    """Groups of three tasks to learn on and to judge on, and Adam steps."""

    learning: int
    judged: int
    steps: int


FULL = Effort(learning=48, judged=64, steps=40)
QUICK = Effort(learning=16, judged=24, steps=10)


@dataclass(frozen=True)
class VariableUse:
    """Of one variable after one loop.

    dimension          k of the subspace, the width of the blocks that hold it in the construction.
    bases              that the accuracy is over, of the held-out ones.
    decodable_r2       and with shuffled targets.
    accuracy           and that of the control for learning; NaN over no bases.
    r2, source_r2      over all held-out pairs.
    All are NaN for a network whose stream or answer is not finite.
    """

    variable: Variable
    loop: int
    dimension: int
    bases: int
    decodable_r2: float
    shuffled_r2: float
    accuracy: float
    shuffled_accuracy: float
    r2: float
    source_r2: float


def measure_interchange(
    problem: EMProblem, network: Transformer, seed: int, quick: bool
) -> tuple[VariableUse, ...]:
    """Every variable at every place where it is still used, in the order of the run.

    Args:
        problem: sizes, floor, dtype, tokens and read-out.
        network: of the width of its stream and 2 L layers in all; heads, units and activation are free.
        seed: of tasks and learning; networks measured with one seed see the same tasks.
        quick: fewer tasks and steps, too few to conclude.

    Raises:
        ValueError: a network of another width or another number of layers.
    """
    return bench_uses(Bench(problem, network), seed, QUICK if quick else FULL)


def bench_uses(bench: Bench, seed: int, effort: Effort) -> tuple[VariableUse, ...]:
    """The same of a network that is already cut into layers."""
    generator = generator_of(OriginPurpose.INTERCHANGE_TASKS, seed)
    learning, judged = (
        bench.stage(triples(bench.problem, groups, generator)) for groups in (effort.learning, effort.judged)
    )
    split = split_tasks(effort.learning + effort.judged, generator)
    found = []
    for number, place in enumerate(places(bench.problem.steps)):
        at_place = generator_of(OriginPurpose.INTERCHANGE_LEARNING, seed, number)
        found.append(_use(bench, place, learning, judged, split, effort.steps, at_place))
    return tuple(found)


@dataclass(frozen=True, eq=False)
class Stage:
    """Tasks with the stream of the network: (3 G, N, D) before the first layer and after each."""

    tasks: Triples
    stream: tuple[Tensor, ...]

    __repr__ = short_repr


class Bench:
    """One network, cut into its layers, with the read-out; nothing of it is trained."""

    def __init__(self, problem: EMProblem, network: Transformer) -> None:
        width, count = problem.construction.stream.width, 2 * problem.steps
        shape = network.shape
        order = [number for _ in range(shape.loops) for number in shape.sequence]
        if (shape.width, len(order)) != (width, count):
            raise ValueError(
                f"the network has width {shape.width} and {len(order)} layers in all, "
                f"needs width {width} and {count}"
            )
        frozen = copy.deepcopy(network).to(problem.dtype).requires_grad_(False)
        self.layers: list[nn.Module] = [frozen.layers[number] for number in order]
        self.problem = problem

    @torch.no_grad()
    def stage(self, tasks: Triples) -> Stage:
        """Run on the tasks."""
        stream = [tasks.tokens]
        for layer in self.layers:
            stream.append(layer(stream[-1]))
        return Stage(tasks, tuple(stream))

    def rest(self, place: Place, h: Tensor) -> Tensor:
        """The answer (B, K + K d) from the stream (B, N, D) at the place on."""
        for layer in self.layers[place.layers_before :]:
            h = layer(h)
        present = torch.ones(len(h), self.problem.n_components, dtype=torch.bool)
        return answer(*self.problem.readout(h, present))

    def exchanged(self, place: Place, stage: Stage, V: Tensor, pairs: Tensor) -> Tensor:
        """The answers with the source's part of the stream in V put into the base's."""
        h = stage.stream[place.layers_before]
        tasks = stage.tasks
        return self.rest(place, put_in(h[tasks.base[pairs]], h[tasks.source[pairs]], V))


def _use(
    bench: Bench,
    place: Place,
    learning: Stage,
    judged: Stage,
    split: Split,
    steps: int,
    generator: torch.Generator,
) -> VariableUse:
    problem = bench.problem
    columns = [c for block in place.blocks(problem.construction.stream) for c in block.columns]
    at, last = place.layers_before, len(bench.layers)
    streams = [stage.stream[number] for stage in (learning, judged) for number in (at, last)]
    if not all(bool(part.isfinite().all()) for part in streams):
        return VariableUse(place.variable, place.loop, len(columns), 0, *[math.nan] * 6)
    decodable = decodability(place, (learning, judged), split, generator)
    starts = _starts(bench, place, learning, columns)
    everything = torch.arange(6 * judged.tasks.groups)
    wanted, judge = (stage.tasks.counterfactuals(place) for stage in (learning, judged))
    scores: list[Score] = []
    for other in (False, True):
        target, tested = (
            stage.tasks.with_other(values) if other else values
            for stage, values in ((learning, wanted), (judged, judge))
        )
        aim = target.to(problem.dtype)

        def distances(V: Tensor, pairs: Tensor, aim: Tensor = aim) -> Tensor:
            return (bench.exchanged(place, learning, V, pairs) - aim[pairs]).square().sum(1)

        V = learned(starts, distances, len(aim), steps, generator)
        with torch.no_grad():
            said = bench.exchanged(place, judged, V, everything).double()
        scores.append(score(judged.tasks, said, tested))
    true, control = scores
    return VariableUse(
        variable=place.variable,
        loop=place.loop,
        dimension=len(columns),
        bases=true.bases,
        decodable_r2=decodable[0],
        shuffled_r2=decodable[1],
        accuracy=true.accuracy,
        shuffled_accuracy=control.accuracy,
        r2=true.r2,
        source_r2=true.source_r2,
    )


def _starts(bench: Bench, place: Place, learning: Stage, columns: Sequence[int]) -> list[Tensor]:
    """Own coordinates, decoder and encoder directions."""
    dtype, at = bench.problem.dtype, place.layers_before
    H = learning.stream[at].double().flatten(0, 1)
    Y = place.content(learning.tasks.states[at - 1], bench.problem.floor).flatten(0, 1)
    found = (decoder_directions(H, Y), encoder_directions(H, Y))
    return [coordinates(H.shape[1], columns, dtype), *(V.to(dtype) for V in found)]


def decodability(
    place: Place, stages: Sequence[Stage], split: Split, generator: torch.Generator
) -> tuple[float, float]:
    """R^2 on the test groups, and the same of shuffled targets; groups, not tasks, are split."""
    at = place.layers_before
    H = torch.cat([stage.tasks.by_group(stage.stream[at]) for stage in stages]).double()
    Y = torch.cat([stage.tasks.by_group(place.at_tokens(stage.tasks.states[at - 1])) for stage in stages])
    found = []
    for targets in (Y[:, :, None], shuffled(Y[:, :, None], generator)):
        sums = probe(H, targets, split)
        found.append(1 - float(sums.error.sum() / sums.total.sum()))
    return found[0], found[1]


@dataclass(frozen=True)
class Score:
    """As the head of this file says; accuracy NaN over no bases."""

    bases: int
    accuracy: float
    r2: float
    source_r2: float


def score(tasks: Triples, said: Tensor, wanted: Tensor) -> Score:
    """Of answers (6 G, K + K d) against the counterfactuals that are wanted."""
    nothing, spread = tasks.answers(), wanted - tasks.with_other(wanted)
    change = (wanted - nothing).norm(dim=1)
    margin = torch.minimum(change, spread.norm(dim=1))
    error = (said - wanted).norm(dim=1)
    clear = margin >= DISTINCT * spread.square().sum(1).mean().sqrt()
    told, hit = (part & tasks.with_other(part) for part in (clear, error < margin / 2))
    arrived = said - tasks.with_other(said) - spread
    return Score(
        bases=int(told.sum()) // 2,
        accuracy=float(hit[told].double().mean()),
        r2=1 - float(error.square().sum() / change.square().sum()),
        source_r2=1 - float(arrived.square().sum() / spread.square().sum()),
    )
