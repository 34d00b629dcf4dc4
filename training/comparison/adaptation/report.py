"""The section of `adaptation`: worth in EM steps, in words, tables and pictures, from its numbers alone."""

from __future__ import annotations

import math

from console.phrases import CountedInterval, Interval, interval, listed, number, percent
from console.sections import Section, Table, table_of
from training.comparison.adaptation.figures import START_LABELS, pictures
from training.comparison.adaptation.measure import AdaptationResult, ComponentResult, NoPolish, Polish
from training.comparison.common.regimes import SHUFFLED


def render(values: AdaptationResult) -> Section:
    """Finding first, then what it rests on."""
    paragraphs = [_worth(values), _needed(values), _polish(values.polish), _reading(values)]
    tables = [_worth_table(values), _needed_table(values), _polish_table(values.polish)]
    return Section(paragraphs, [table for table in tables if table.rows], pictures(values))


def steps_text(value: float) -> str:
    """A number of EM steps; infinity is never, and so is what is not known."""
    return f"{value:.0f}" if math.isfinite(value) else "never"


def steps_interval(found: Interval | CountedInterval) -> str:
    """As in "3 (2 to never)"."""
    value, low, high = (steps_text(v) for v in found[:3])
    return value if value == low == high else f"{value} ({low} to {high})"


def _worth(values: AdaptationResult) -> str:
    parts = []
    for start in values.regimes[0].worth["learned"]:
        means, medians = [], []
        for regime in values.regimes:
            found = regime.worth["learned"][start]
            means.append(steps_text(found.mean.value))
            medians.append(steps_text(found.median.value))
        parts.append(
            f"from {START_LABELS[start]}, {listed(means)} by the mean, {listed(medians)} by the median"
        )
    names = listed([str(r.K) for r in values.regimes])
    zero = [
        found.mean.value == 0
        for r in values.regimes
        for kind in ("untrained", SHUFFLED)
        for found in r.worth[kind].values()
    ]
    return (
        f"EM steps until EM alone is no worse than the network alone, at K = {names}: {'; '.join(parts)}. "
        f"'Never' means not within {values.steps} steps: {_levels(values)}. The controls, an untrained "
        f"network and another task's output, are worth 0 steps in {sum(zero)} of {len(zero)} cases. The "
        f"network's {values.layers} layers are as many as {values.layers // 2} constructed EM steps have."
    )


def _levels(values: AdaptationResult) -> str:
    """How often a start that never is as good leaves tasks failed."""
    shares = [
        regime.curves[start].failed
        for regime in values.regimes
        for start, found in regime.worth["learned"].items()
        if steps_text(found.mean.value) == "never"
    ]
    if not shares:
        return "that is nowhere the case by the mean"
    return (
        f"by the mean, those starts leave {percent(min(shares))} to "
        f"{percent(max(shares))} of the tasks failed"
    )


def _needed(values: AdaptationResult) -> str:
    parts = []
    for regime in values.regimes:
        found, curve = regime.needed["learned"], regime.curves["learned"]
        text = f"K = {regime.K}: {steps_interval(found.mean)}"
        if curve.failed > 0:
            text += (
                f" over all tasks, {steps_interval(found.solved)} without the "
                f"{percent(curve.failed)} that stay failed"
            )
        parts.append(text)
    below = [str(r.K) for r in values.regimes if r.curves["learned"].mean[-1].high < r.floor.value]
    text = (
        f"EM steps behind the network until its mean error is within {100 * (values.near - 1):.0f} % "
        f"of EM from the truth: {'; '.join(parts)}."
    )
    if below:
        text += f" At K = {listed(below)} it ends below EM from the truth, which is itself only an optimum."
    return text


def _polish(polish: Polish | NoPolish) -> str:
    if isinstance(polish, NoPolish):
        return f"The constructed layers were not compared with exact steps: {polish.refusal}."
    worst = max(row.most for row in polish.rows)
    return (
        "The curves are made with exact EM steps. The constructed layers give the same on "
        f"{polish.tasks} tasks ({polish.title}) up to {number(worst)} in the paper's metric at "
        f"most, {number(worst / polish.floor)} times the error of EM from the truth there."
    )


def _reading(values: AdaptationResult) -> str:
    failed = [f"K = {r.K}: {percent(1 - r.own_solved)}" for r in values.regimes]
    return (
        f"The paper's tasks, {values.regimes[0].tasks} of each K, seed {values.seed}; random starts are one "
        "draw a task with equal weights, k-means is the best of ten. Means are ruled by the tasks that a "
        "start fails (more than ten times the error of EM from the truth), medians are not; both are given, "
        "and means without the tasks that the start itself fails. The network alone fails "
        f"{'; '.join(failed)}. Worth by the mean compares a network that fails few tasks with a start that "
        "fails many: it is no measure of how precise the network is where both solve the task."
    )


def _worth_table(values: AdaptationResult) -> Table:
    return table_of(
        "How many EM steps the network alone is worth",
        [(r, start, found) for r in values.regimes for start, found in r.worth["learned"].items()],
        [
            ("tasks", lambda row: f"{row[0].title}, {row[0].tasks} tasks"),
            ("EM from", lambda row: START_LABELS[row[1]]),
            ("by the mean error", lambda row: steps_interval(row[2].mean)),
            ("by the median error", lambda row: steps_interval(row[2].median)),
            ("by the mean, tasks that the start solves", lambda row: _counted(row[2].solved)),
            ("task by task: quartiles", lambda row: " / ".join(map(steps_text, row[2].task.quartiles))),
            ("tasks where EM never is as good", lambda row: percent(row[2].task.never)),
            *(
                (f"control, by the mean: {name}", lambda row, kind=kind: _control(row[0], kind, row[1]))
                for kind, name in (("untrained", "untrained network"), (SHUFFLED, "another task's output"))
            ),
        ],
        "The smallest number of EM steps (two constructed layers each) after which EM from that start "
        "is no worse than the network without EM layers, with 95 % intervals over tasks.",
    )


def _counted(found: CountedInterval) -> str:
    return f"{steps_interval(found)}, {found.tasks} tasks"


def _control(regime: ComponentResult, kind: str, start: str) -> str:
    return steps_interval(regime.worth[kind][start].mean)


def _needed_table(values: AdaptationResult) -> Table:
    return table_of(
        "EM steps until the floor",
        [(r, name, r.curves[name], found) for r in values.regimes for name, found in r.needed.items()],
        [
            ("tasks", lambda row: row[0].title),
            ("start", lambda row: START_LABELS[row[1]]),
            ("mean error before", lambda row: interval(row[2].mean[0])),
            (f"after {values.steps} steps", lambda row: interval(row[2].mean[-1])),
            ("floor: EM from the truth", lambda row: interval(row[0].floor)),
            ("failed after these", lambda row: percent(row[2].failed)),
            (
                f"steps until within {100 * (values.near - 1):.0f} % of the floor",
                lambda row: steps_interval(row[3].mean),
            ),
            ("the same, tasks that the start solves", lambda row: _counted(row[3].solved)),
        ],
        "The untrained network and another task's output, as starts of EM, are the controls.",
    )


def _polish_table(polish: Polish | NoPolish) -> Table:
    tasks, rows = ("", []) if isinstance(polish, NoPolish) else (str(polish.tasks), polish.rows)
    return table_of(
        "Constructed EM layers against exact EM steps behind the network",
        rows,
        [
            ("steps", lambda row: str(row.steps)),
            ("tasks", lambda row: tasks),
            ("mean distance", lambda row: number(row.mean)),
            ("largest distance", lambda row: number(row.most)),
            ("control: distance to no step at all, mean", lambda row: number(row.control)),
        ],
    )
