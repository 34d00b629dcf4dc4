"""The section "One architecture, two origins": findings, tables and pictures from the computed figures."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

from console.output import significant
from console.sections import Section, Table, table_of
from training.comparison.origins.em_problem import Target
from training.comparison.origins.figures import BLOCKS, TARGET_TITLES, grouped, pictures
from training.comparison.origins.measure import Levels, OriginsResult, RunResult
from training.comparison.origins.training_runs import WATCHES, Measurement, radius_of_return
from training.comparison.symmetry.alignment import KINDS
from training.comparison.weights.blocks_report import render_blocks

RETURNED = 2.0
"""A loss has stayed, or come back, when it is at most so many times the construction's."""

FLAT = 1.01
"""A line is flat when its highest loss is at most so many times that of its higher end."""


def last_losses(runs: Sequence[RunResult]) -> list[float]:
    """The loss of each run after its last step; NaN for a run that broke off."""
    return [run.curve[-1].loss if run.curve[-1].step == run.plan.steps else math.nan for run in runs]


def highest_loss(runs: Sequence[RunResult]) -> float:
    """Of all losses that were taken on the way, about every hundredth of a run."""
    return max(_known([loss for run in runs for _, loss in run.watched]))


def has_returned(runs: Sequence[RunResult], constructed: float) -> bool:
    """Whether every run ended at most RETURNED times the constructed loss."""
    return all(loss <= RETURNED * constructed for loss in last_losses(runs))


def verdict(runs: Sequence[RunResult], constructed: float) -> str:
    """Of runs on the distance to EM: stays, returns, or not; one that was above on the way says so."""
    start = runs[0].plan.start
    if not has_returned(runs, constructed):
        return {"constructed": "leaves", "noise": "does not return", "random": "does not arrive"}[start]
    if start != "constructed":
        return {"noise": "returns", "random": "arrives"}[start]
    return "stays" if highest_loss(runs) <= RETURNED * constructed else "leaves and returns"


def truth_verdict(runs: Sequence[RunResult], levels: Levels) -> str:
    """Of runs on the distance to the truth: whether EM is still computed, and whether what is is better."""
    ends = last_losses(runs)
    ems = [run.curve[-1].em for run in runs]
    if not all(map(math.isfinite, [*ends, *ems])):
        return "broke off"
    if max(ems) <= RETURNED * levels.construction.em:
        return "stays EM"
    better = max(ends) < levels.exact_em.truth
    return "no EM, nearer to the truth than EM" if better else "no EM, and no better than EM"


def render(data: OriginsResult) -> Section:
    """The section."""
    block_tables, block_pictures = render_blocks(data.blocks, BLOCKS, _about_blocks(data))
    tables = [*(_runs_table(data, target) for target in TARGET_TITLES), _curvature_table(data)]
    tables += [_lines_table(data), _counts_table(data), *block_tables]
    return Section(paragraphs(data), tables, pictures(data) + block_pictures)


def paragraphs(data: OriginsResult) -> list[str]:
    """What was found, from the figures alone."""
    return [
        _about_staying(data),
        _about_noise(data),
        _about_random(data),
        _about_truth(data),
        _about_method(data),
    ]


def _about_staying(data: OriginsResult) -> str:
    constructed = data.levels.construction.em
    parts = []
    for runs in grouped(data.runs, "em").values():
        if runs[0].plan.start != "constructed":
            continue
        ends = _known(last_losses(runs))
        parts.append(
            f"at rate {runs[0].plan.learning_rate:g} it {verdict(runs, constructed)} (at the end "
            f"{_over(ends, constructed)} times the constructed loss over {len(runs)} seeds, at the highest "
            f"on the way {significant(highest_loss(runs) / constructed)})"
        )
    return (
        f"Started at the construction with the distance to EM as the loss, {data.settings.steps:,} "
        f"steps of Adam: {'; '.join(parts)}. The constructed loss is {significant(constructed)}, that of a "
        f"network that returns its start {significant(data.levels.start.em)}."
    )


def _about_noise(data: OriginsResult) -> str:
    constructed = data.levels.construction.em
    groups = [runs for runs in grouped(data.runs, "em").values() if runs[0].plan.start == "noise"]
    noises = [runs[0].plan.noise for runs in groups]
    back = [has_returned(runs, constructed) for runs in groups]
    radius = radius_of_return(noises, back)
    seeds = data.settings.seeds
    if radius is None:
        said = f"not even noise of size {min(noises):g} is trained away"
    else:
        first = next(runs for runs in groups if runs[0].plan.noise == radius)
        before = [run.curve[0].loss / constructed for run in first]
        said = (
            f"training comes back within {RETURNED:g} times the constructed loss from every size up to "
            f"{radius:g} (where it starts at {_range(before)} times it)"
        )
        missed = [noise for noise in noises if noise > radius]
        said += f", and no longer from {min(missed):g}" if missed else ", the largest tried"
    return (
        f"With noise of relative size e on every tensor, {seeds} seeds a size, rate "
        f"{data.settings.noise_rate:g}: {said}. Coming back in loss is not coming back in weights: the "
        "table has both distances."
    )


def _about_random(data: OriginsResult) -> str:
    levels = data.levels
    runs = next(r for r in grouped(data.runs, "em").values() if r[0].plan.start == "random")
    ends = _known(last_losses(runs))
    weights = [run.curve[-1].weights for run in runs]
    return (
        f"From random weights, {runs[0].plan.steps:,} steps at rate {runs[0].plan.learning_rate:g} end at "
        f"{_over(ends, levels.construction.em)} times the constructed loss ({_over(ends, levels.start.em)} "
        f"times that of returning the start), {len(runs)} seeds: the run "
        f"{verdict(runs, levels.construction.em)}. Modulo the symmetries its weights end {_range(weights)} "
        "away from the construction's; no weights at all are 1 away, unrelated weights of the construction's "
        f"norms {significant(data.unrelated_distance, 3)}. That this training does not find the construction "
        "says nothing of longer training or of another optimiser."
    )


def _about_truth(data: OriginsResult) -> str:
    levels = data.levels
    runs = next(r for r in grouped(data.runs, "truth").values() if r[0].plan.start == "constructed")
    ends = _known(last_losses(runs))
    ems = [run.curve[-1].em for run in runs]
    exact = levels.exact_em.truth
    return (
        f"With the distance to the truth as the loss, a network that starts as the construction ends at "
        f"{_range(ends)}, where exactly L = {data.problem.steps} EM steps have {significant(exact)}: "
        f"{truth_verdict(runs, levels)}. Its distance to EM (the other loss) grows to "
        f"{_over(ems, levels.construction.em)} times the construction's."
    )


def _about_blocks(data: OriginsResult) -> str:
    s = data.settings
    return (
        f"Learned: trained from random weights, {s.random_steps:,} steps at rate {s.random_rate:g}, "
        "distance to L-step EM, seed 0. Control: unrelated weights of the construction's norms."
    )


def _about_method(data: OriginsResult) -> str:
    p, s = data.problem, data.settings
    return (
        f"Networks: the shape of the EM construction for d = {p.n_features}, K = {p.n_components}, "
        f"L = {p.steps} looped steps, {p.pieces} pieces, floor {p.floor:g}; tasks of N = "
        f"{p.n_samples} points, means uniform in [-{p.box:g}, {p.box:g}]^d, starts K points of the "
        f"data. Fresh tasks at every step; {s.tasks} held-out tasks; {p.dtype}, CPU. The construction "
        "is balanced first (each hidden unit's two sides of one norm), which leaves the function as it is."
    )


def _runs_table(data: OriginsResult, target: Target) -> Table:
    levels = data.levels
    constructed = levels.construction.of(target)

    def losses(runs: list[RunResult]) -> str:
        ends = _known(last_losses(runs))
        broken = len(runs) - len(ends)
        return _range(ends) + (f", {broken} broke off" if broken else "")

    def measured(of: Callable[[Measurement], float], place: int) -> Callable[[list[RunResult]], str]:
        return lambda runs: _range([of(run.curve[place]) for run in runs])

    def by_kind(runs: list[RunResult]) -> str:
        return " / ".join(_mean([run.curve[-1].by_kind[kind] for run in runs]) for kind in KINDS)

    def said(runs: list[RunResult]) -> str:
        return verdict(runs, constructed) if target == "em" else truth_verdict(runs, levels)

    unrelated = significant(data.unrelated_distance, 3)
    table = table_of(
        f"Training, {TARGET_TITLES[target]}",
        grouped(data.runs, target).values(),
        [
            ("start", lambda runs: runs[0].name),
            ("steps", lambda runs: f"{runs[0].plan.steps:,}"),
            ("rate", lambda runs: f"{runs[0].plan.learning_rate:g}"),
            ("seeds", lambda runs: str(len(runs))),
            ("loss, start", measured(lambda point: point.loss, 0)),
            ("highest", lambda runs: significant(highest_loss(runs))),
            ("end", losses),
            ("end / constructed", lambda runs: _over(_known(last_losses(runs)), constructed)),
            ("weights, start", measured(lambda point: point.weights, 0)),
            ("weights, end", measured(lambda point: point.weights, -1)),
            ("A / V / MLP, end", by_kind),
            ("function, start", measured(lambda point: point.function, 0)),
            ("function, end", measured(lambda point: point.function, -1)),
            ("gradient, start", measured(lambda point: point.gradient, 0)),
            ("", said),
        ],
        "Smallest to largest over the seeds. Losses and distances on the held-out tasks; highest: of all "
        f"seeds, taken {WATCHES} times a run. weights: distance to the construction modulo the symmetries, "
        "relative to its norm, and in the mean over seeds that of scores, values and MLP each relative to "
        "its own (the MLP has nearly all of the norm); control, unrelated weights of the same norms: "
        f"{unrelated}. function: root mean square difference of the outputs. gradient: its norm on a batch "
        f"before the first step. Verdict: the distance to EM is within {RETURNED:g} times the "
        "construction's, every seed, or not.",
    )
    fixed = [
        [f"level: {name}", *[""] * 5, significant(loss), significant(loss / constructed), *[""] * 7]
        for name, loss in ((name, level.of(target)) for name, level in levels.named.items())
    ]
    return replace(table, rows=[*table.rows, *fixed])


def _curvature_table(data: OriginsResult) -> Table:
    def ends(values: Sequence[float]) -> str:
        return ", ".join(significant(v, 3) for v in values)

    return table_of(
        "Gradient and curvature",
        data.curvature,
        [
            ("at", lambda row: row.at),
            ("loss", lambda row: row.target),
            ("value", lambda row: significant(row.curvature.loss, 3)),
            ("gradient norm", lambda row: significant(row.curvature.gradient_norm, 3)),
            ("largest eigenvalues", lambda row: ends(row.curvature.largest)),
            ("smallest", lambda row: ends(row.curvature.smallest)),
            ("2 / largest", lambda row: significant(row.stable_rate, 3)),
        ],
        "Gradient and leading eigenvalues of the Hessian from both ends, by Lanczos on Hessian-vector "
        f"products, on {data.settings.curvature_tasks} tasks, balanced weights. 2 / largest: the rate "
        "beyond which plain gradient descent on the quadratic model diverges. Control: random weights.",
    )


def _lines_table(data: OriginsResult) -> Table:
    return table_of(
        "Straight lines from the construction",
        data.lines,
        [
            ("to", lambda row: row.to),
            ("distance of weights", lambda row: significant(row.line.distance, 3)),
            ("barrier before alignment", lambda row: significant(row.line.barrier_before, 3)),
            ("after", lambda row: significant(row.line.barrier_after, 3)),
            ("", lambda row: "flat" if row.line.barrier_after <= FLAT else "climbs"),
        ],
        "Barrier: highest loss on the line from the construction over that of its higher end; 1 is no "
        "barrier. The first row is the control: a copy of the construction under random symmetries, at "
        "distance 0 and flat after alignment, as it must be.",
    )


def _counts_table(data: OriginsResult) -> Table:
    return table_of(
        "The theorem's blocks in every network",
        data.counts.items(),
        [
            ("network", lambda row: row[0]),
            ("has", lambda row: f"{row[1].has} of {row[1].theorem}"),
            ("in addition", lambda row: f"{row[1].in_addition} of {row[1].beyond}"),
        ],
        "Blocks by name, after alignment, verdicts as below. The first row is the positive control, which "
        "must have every block and none in addition; the last the negative one.",
    )


def _known(values: Sequence[float]) -> list[float]:
    return [value for value in values if math.isfinite(value)]


def _range(values: Sequence[float]) -> str:
    known = _known(values)
    if not known:
        return "-"
    low, high = significant(min(known)), significant(max(known))
    return low if low == high else f"{low} to {high}"


def _mean(values: Sequence[float]) -> str:
    known = _known(values)
    return significant(sum(known) / len(known)) if known else "-"


def _over(values: Sequence[float], unit: float) -> str:
    return _range([value / unit for value in values])
