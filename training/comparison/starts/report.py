"""The section "The theorem as a start": what wins, from which step on, and what changes; from the figures."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal

from console.output import significant
from console.phrases import number
from console.sections import Section, Table, table_of
from training.comparison.starts.figures import ARM_NAMES, CHANGE_NAMES, pictures
from training.comparison.starts.learning.arms import ARMS, Arm, Change
from training.comparison.starts.learning.design import CHANGED_ARMS, CHANGED_FEATURES
from training.comparison.starts.learning.levels import EM_STEPS, Level, bad, overall
from training.comparison.starts.learning.runs import IMAGES, MUON_SHARE, WARMUP, RunResult
from training.comparison.starts.measure import StartsResult
from training.comparison.starts.references import CONVERGED, SHIPPED, UNTRAINED, VIEWS, shipped_name

RANDOM_ARMS: tuple[Arm, ...] = ("random", "normed")
Verdict = Literal["better", "worse", "not told apart"]


def ends(runs: Sequence[RunResult], with_em: bool = False) -> list[float]:
    """The mean error over all K at the end of each run; NaN for one that broke off."""
    return [overall(run.levels, with_em) if run.levels else math.nan for run in runs]


def compared(ours: Sequence[float], theirs: Sequence[float]) -> Verdict:
    """Of errors, a seed each: better where every one of ours is below every one of theirs; NaN is never."""
    if not (ours and theirs and all(map(math.isfinite, [*ours, *theirs]))):
        return "not told apart"
    if max(ours) < min(theirs):
        return "better"
    return "worse" if min(ours) > max(theirs) else "not told apart"


def best_random(data: StartsResult, n_features: int, with_em: bool) -> list[RunResult]:
    """The random arm with the least mean error at the end."""
    groups = [runs for arm in RANDOM_ARMS if (runs := data.chosen(n_features, arm))]
    return min(groups, key=lambda runs: _mean(ends(runs, with_em)))


def first_below(runs: Sequence[RunResult], bound: float, with_em: bool = False) -> int | None:
    """The first watched step from which on every run stays below the bound; None where there is none."""
    if not runs:
        return None
    found = None
    for at in reversed(list(zip(*(run.curve for run in runs), strict=False))):
        if not all((point.with_em if with_em else point.alone) < bound for point in at):
            break
        found = at[0].step
    return found


def render(data: StartsResult) -> Section:
    """The section."""
    every = sorted(data.settings.n_features)
    tables = [_levels_table(data, d) for d in every]
    tables += [_changes_table(data)] * any(run.plan.change != "none" for run in data.runs)
    return Section(paragraphs(data), [*tables, _rates_table(data)], pictures(data))


def paragraphs(data: StartsResult) -> list[str]:
    """What was found, from the figures alone."""
    every = sorted(data.settings.n_features)
    found = [_about_random(data, d) for d in every] + [_about_shipped(data, d) for d in every]
    if any(run.plan.change != "none" for run in data.runs):
        found.append(_about_changes(data))
    return [*found, _about_method(data)]


def _about_random(data: StartsResult, d: int) -> str:
    parts = []
    for with_em in (False, True):
        ours, other = data.chosen(d, "constructed"), best_random(data, d, with_em)
        mine, theirs = ends(ours, with_em), ends(other, with_em)
        verdict = compared(mine, theirs)
        name = f"with {EM_STEPS} EM steps behind it" if with_em else "alone"
        text = (
            f"{name} it ends at {_range(mine)}, the better random start ({ARM_NAMES[other[0].plan.arm]}) at "
            f"{_range(theirs)}: {verdict}"
        )
        if verdict == "better":
            reached = [point.with_em if with_em else point.alone for run in other for point in run.curve[-1:]]
            step = first_below(ours, min(reached), with_em)
            text += "" if step is None else f" (below where that ends from step {step} on)"
        parts.append(text)
    return f"d = {d}, the construction as the start, {data.settings.steps:,} steps: {'; '.join(parts)}."


def _about_shipped(data: StartsResult, d: int) -> str:
    parts = []
    for network in SHIPPED.get(d, ()):
        for views in (1, VIEWS):
            shipped = data.reference(d, shipped_name(network, views)).levels
            said = [
                f"{significant(overall(shipped, with_em), 3)} "
                f"({compared(ends(data.chosen(d, 'constructed'), with_em), [overall(shipped, with_em)])})"
                for with_em in (False, True)
            ]
            parts.append(f"{shipped_name(network, views)} has {said[0]} alone and {said[1]} with EM")
    converged = overall(data.reference(d, CONVERGED).levels)
    untrained = overall(data.reference(d, UNTRAINED).levels)
    return (
        f"d = {d}, beside what is not trained here: {'; '.join(parts)}; in brackets what the trained "
        f"construction is beside it. EM from the same start has {significant(converged, 3)}, the "
        f"construction before training {significant(untrained, 3)}."
    )


def _about_changes(data: StartsResult) -> str:
    parts = []
    for arm in CHANGED_ARMS:
        base = data.chosen(CHANGED_FEATURES, arm)
        said = []
        for change in data.settings.changes:
            runs = data.chosen(CHANGED_FEATURES, arm, change)
            if runs and base:
                verdict = compared(ends(runs), ends(base))
                said.append(f"{CHANGE_NAMES[change]} {_range(ends(runs))} ({verdict})")
        parts.append(f"{ARM_NAMES[arm]} ({_range(ends(base))} unchanged): {', '.join(said)}")
    return f"What changes it, d = {CHANGED_FEATURES}, errors of the network alone. {'. '.join(parts)}."


def _about_method(data: StartsResult) -> str:
    s, z = data.settings, data.sizes
    return (
        f"All arms: six layers, width {z.width}, {z.heads} heads of {z.head_dim}, {z.hidden} ReLU units; "
        "tokens and read-out of the EM construction (K0 = 5, L = 3; the read-out is not trained); starts by "
        f"greedy k-means++; the paper's tasks, {s.tasks_per_step} a step, one K and one N a step, the same "
        "for all arms of a seed; loss: the matched squared error of weights and means. AdamW, "
        f"{WARMUP} steps of warm-up, half a cosine; the rate of each arm is the best of three after "
        f"{s.sweep_steps} steps on another seed (with Muon the matrices have {MUON_SHARE:g} times it). Held "
        f'out: {s.tasks} tasks of each K, N = 128. Float32, CPU. "Better" and "worse": every seed '
        "against every other."
    )


_Row = tuple[str, str, list[list[Level]], float]
"""Name, rate, levels of every seed, seconds."""


def _levels_table(data: StartsResult, d: int) -> Table:
    rows: list[_Row] = []
    for arm in ARMS:
        runs = [run for run in data.chosen(d, arm) if run.levels]
        if runs:
            seconds = _mean([run.seconds for run in runs])
            rows.append((ARM_NAMES[arm], f"{runs[0].plan.rate:g}", [run.levels for run in runs], seconds))
    rows += [(one.name, "", [one.levels], math.nan) for one in data.references if one.n_features == d]

    def over(
        of: Callable[[list[Level]], float],
    ) -> Callable[[tuple[str, str, list[list[Level]], float]], str]:
        return lambda row: _range([of(levels) for levels in row[2]])

    return table_of(
        f"Errors at the end, d = {d}",
        rows,
        [
            ("", lambda row: row[0]),
            ("rate", lambda row: row[1]),
            ("alone", over(overall)),
            ("K = 2", over(lambda levels: levels[0].alone.mean)),
            ("K = 5", over(lambda levels: levels[-1].alone.mean)),
            ("median, K = 5", over(lambda levels: levels[-1].alone.median)),
            ("bad, %", over(bad)),
            (f"+ {EM_STEPS} EM", over(lambda levels: overall(levels, with_em=True))),
            ("K = 2, + EM", over(lambda levels: levels[0].with_em.mean)),
            ("K = 5, + EM", over(lambda levels: levels[-1].with_em.mean)),
            ("bad, + EM, %", over(lambda levels: bad(levels, with_em=True))),
            ("seconds", lambda row: significant(row[3])),
        ],
        "Total error after the exact alignment, mean over K = 2 to 5 unless said, "
        f"{data.settings.tasks} tasks of each; smallest to largest over seeds. Bad: above ten times "
        f"the error of EM from the truth. Seconds: of training, one core. {VIEWS} views: the likeliest of so "
        "many signed permutations, after EM where EM is behind.",
    )


def _changes_table(data: StartsResult) -> Table:
    rows: list[tuple[Arm, Change, list[RunResult]]] = [
        (arm, change, [run for run in runs if run.levels])
        for arm in CHANGED_ARMS
        for change in ("none", *data.settings.changes)
        if (runs := data.chosen(CHANGED_FEATURES, arm, change))
    ]

    def beside(row: tuple[Arm, Change, list[RunResult]]) -> str:
        if row[1] == "none":
            return ""
        base = data.chosen(CHANGED_FEATURES, row[0])
        verdicts = [compared(ends(row[2], with_em), ends(base, with_em)) for with_em in (False, True)]
        return " / ".join(verdicts)

    return table_of(
        f"What changes it, d = {CHANGED_FEATURES}",
        rows,
        [
            ("start", lambda row: ARM_NAMES[row[0]]),
            ("change", lambda row: CHANGE_NAMES[row[1]]),
            ("seeds", lambda row: str(len(row[2]))),
            ("rate", lambda row: f"{row[2][0].plan.rate:g}" if row[2] else ""),
            ("weights", lambda row: f"{row[2][0].parameters:,}" if row[2] else ""),
            ("alone", lambda row: _range(ends(row[2]))),
            ("bad, %", lambda row: _range([bad(run.levels) for run in row[2]])),
            (f"+ {EM_STEPS} EM", lambda row: _range(ends(row[2], with_em=True))),
            ("bad, + EM, %", lambda row: _range([bad(run.levels, with_em=True) for run in row[2]])),
            ("alone / with EM", beside),
        ],
        "Mean over K = 2 to 5; smallest to largest over seeds. Last column: against the same start with "
        f"nothing changed. Images: {IMAGES} signed permutations of a {IMAGES}th of the tasks.",
    )


def _rates_table(data: StartsResult) -> Table:
    chosen = {(one.n_features, one.arm, one.change, one.rate) for one in data.rates}

    def mark(run: RunResult) -> str:
        p = run.plan
        return "taken" if (p.n_features, p.arm, p.change, p.rate) in chosen else ""

    return table_of(
        "Learning rates that were tried",
        data.sweep,
        [
            ("d", lambda run: str(run.plan.n_features)),
            ("start", lambda run: ARM_NAMES[run.plan.arm]),
            ("change", lambda run: CHANGE_NAMES[run.plan.change]),
            ("rate", lambda run: f"{run.plan.rate:g}"),
            ("error, alone", lambda run: number(ends([run])[0])),
            ("", mark),
        ],
        f"{data.settings.sweep_steps} steps on a seed of its own, {data.settings.watched_tasks} other "
        "held-out tasks of each K. A rate that is best in a short run may not be best in a longer one.",
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else math.nan


def _range(values: Sequence[float]) -> str:
    known = [value for value in values if math.isfinite(value)]
    if not known:
        return "-"
    low, high = significant(min(known), 3), significant(max(known), 3)
    return low if low == high else f"{low} to {high}"
