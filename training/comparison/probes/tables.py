"""The tables of the part "probes", and the verdict on one map."""

from __future__ import annotations

import math
from collections.abc import Callable

from console.output import significant
from console.phrases import bracket, fixed
from console.sections import Table, table_of
from training.comparison.probes.figures import answer_of, lens_of, map_of
from training.comparison.probes.maps import Summary
from training.comparison.probes.measure import LensRow, MapRow, ProbesResult
from training.comparison.probes.steps import StepTest
from training.comparison.probes.targets import LINE, OWN_START
from training.comparison.probes.trend import FEWEST, LEAST, Statistic, Trend


def grows(learned: Statistic, untrained: Statistic) -> bool | None:
    """Whether the best-matching iterate grows with the layer, by a rank correlation.

    True where the 95 % interval of the learned network's lies above 0 and above the value of the untrained
    control (where that has one); None where too few layers hold an iterate.
    """
    if math.isnan(learned.value) or math.isnan(learned.low):
        return None
    return learned.low > max(0.0, -1.0 if math.isnan(untrained.value) else untrained.value)


def pairs(results: ProbesResult) -> list[tuple[MapRow, MapRow]]:
    """Each map of the learned network with that of the control, but those of log weights."""
    found = []
    for row in results.maps:
        if row.network == "learned" and row.target != "log weights":
            control = map_of(results, row.K, "untrained", row.target, row.start)
            if control is not None:
                found.append((row, control))
    return found


def _label(row: MapRow) -> str:
    path = row.start if row.start == LINE else f"EM from {row.start}"
    return f"K = {row.K}, {row.target}, {path}"


def _list(values: list[float]) -> str:
    return " ".join("-" if math.isnan(v) else f"{v:.0f}" for v in values) or "-"


def _interval(found: Statistic | None) -> str:
    return "-" if found is None else bracket(found.value, found.low, found.high, significant)


def trend_table(results: ProbesResult) -> Table:
    """Best and newest iterate by layer, and their growth, for every map and its controls."""
    rows: list[tuple[str, Trend, Trend | None, str]] = []
    for learned, control in pairs(results):
        verdict = grows(learned.trend.spearman, control.trend.spearman)
        said = {True: "yes", False: "no", None: "too few"}[verdict]
        rows.append((_label(learned), learned.trend, control.trend, said))
    for row in results.handbuilt.maps:
        said = "yes" if row.trend.spearman.low > 0 else "no"
        rows.append((f"hand-built EM, {row.target}, {row.path}", row.trend, None, said))
    return table_of(
        "Does the best-matching EM iterate grow with the layer?",
        rows,
        [
            ("map", lambda row: row[0]),
            ("best iterate after layer 1, 2, ...", lambda row: _list(row[1].best)),
            ("most added by layer 2, 3, ...", lambda row: _list(row[1].newest)),
            ("rank correlation, best", lambda row: _interval(row[1].spearman)),
            ("untrained", lambda row: _interval(row[2] and row[2].spearman)),
            ("rank correlation, added", lambda row: _interval(row[1].newest_spearman)),
            ("untrained", lambda row: _interval(row[2] and row[2].newest_spearman)),
            ("layers an iterate", lambda row: _interval(row[1].delay)),
            ("untrained", lambda row: _interval(row[2] and row[2].delay)),
            ("grows", lambda row: row[3]),
        ],
        f"Iterates 0 to {results.settings.iterations}; a dash: no iterate explained by {LEAST:.0%}, or fewer "
        f"than {FEWEST} layers that do. In brackets 95 % intervals over tasks. The hand-built EM takes two "
        "layers a step and serves as positive control, probed for EM from another start as its negative one. "
        "The correlation is 0 where the best iterate is the same throughout.",
    )


def r2_table(results: ProbesResult) -> Table:
    """R^2 at the best layer, what it gains over the input, the shuffled and the untrained control."""
    rows: list[_Column] = []
    for learned in results.maps:
        control = map_of(results, learned.K, "untrained", learned.target, learned.start)
        if learned.network == "learned" and learned.start != LINE and control is not None:
            label = _label(learned)
            if learned.start == OWN_START:
                rows.append(_Column(f"{label}, iterate 1", learned, control, 1))
            rows.append(_Column(f"{label}, end", learned, control, results.settings.iterations + 1))
    for learned in results.answers:
        control = answer_of(results, learned.K, "untrained", learned.target)
        if learned.network == "learned" and control is not None:
            rows.append(_Column(f"K = {learned.K}, {learned.target}, truth", learned, control, 0))
    return table_of(
        "Held-out R², what it gains over the input, and its controls",
        rows,
        [
            ("target", lambda row: row.label),
            ("input (layer 0)", lambda row: fixed(row.values[0])),
            ("best layer", lambda row: "-" if math.isnan(row.most) else str(row.layer)),
            ("R² there", lambda row: row.interval),
            ("gain over the input", lambda row: fixed(row.most - row.values[0])),
            ("shuffled", lambda row: "-" if math.isnan(row.shuffled) else f"{row.shuffled:.3f}"),
            ("selectivity", lambda row: fixed(row.most - row.shuffled)),
            ("untrained, best", lambda row: fixed(row.theirs)),
            ("its gain", lambda row: fixed(row.theirs - row.control.r2[0][row.column])),
        ],
        "R² of the linear probe at the layer where it is largest, 95 % interval over tasks in brackets. "
        "Selectivity: R² minus that on shuffled targets at the same layer (Hewitt and Liang 2019). R² that "
        "the input alone explains is no evidence of a computation; only the gain is.",
    )


class _Column:
    """One target of a map, layer by layer."""

    def __init__(self, label: str, learned: Summary, control: Summary, column: int) -> None:
        self.label, self.control, self.column = label, control, column
        self.values = [line[column] for line in learned.r2]
        known = [-math.inf if math.isnan(value) else value for value in self.values]
        self.layer = known.index(max(known))
        self.most, self.shuffled = self.values[self.layer], learned.shuffled[self.layer][column]
        low, high = learned.low[self.layer][column], learned.high[self.layer][column]
        self.interval = bracket(self.most, low, high)
        theirs = [line[column] for line in control.r2]
        self.theirs = max((v for v in theirs if not math.isnan(v)), default=math.nan)


def lens_table(results: ProbesResult) -> Table:
    """Errors of both lenses by layer, and how many EM steps each layer is worth."""
    found = [
        (row, lens_of(results, row.K, "untrained")) for row in results.lenses if row.network == "learned"
    ]
    rows = [
        (learned, control, layer)
        for learned, control in found
        if control is not None
        for layer in range(len(learned.logit_error))
    ]

    def worth(of: Callable[[StepTest, int], str]) -> Callable[[tuple[LensRow, LensRow, int]], str]:
        return lambda row: of(row[0].steps, row[2] - 1) if row[2] else "-"

    def steps(found: StepTest, i: int) -> str:
        return f"{found.nearest[i]} [{found.nearest_low[i]:.0f}, {found.nearest_high[i]:.0f}]"

    return table_of(
        "The estimate after each layer, and how many EM steps the layer is worth",
        rows,
        [
            ("layer", lambda row: f"K = {row[0].K}, layer {row[2]}"),
            ("logit lens error", lambda row: significant(row[0].logit_error[row[2]])),
            ("untrained", lambda row: significant(row[1].logit_error[row[2]])),
            ("tuned lens error", lambda row: significant(row[0].tuned_error[row[2]])),
            ("untrained", lambda row: significant(row[1].tuned_error[row[2]])),
            ("R² of the output's means", lambda row: f"{row[0].tuned_r2[row[2]]:.2f}"),
            ("EM steps", worth(steps)),
            ("distance, no step", worth(lambda found, i: significant(found.distance[i][0]))),
            ("so many", worth(lambda found, i: significant(found.distance[i][found.nearest[i]]))),
            ("one step", worth(lambda found, i: significant(found.distance[i][1]))),
            ("one step on another task's points", worth(lambda found, i: significant(found.control[i][1]))),
        ],
        "Errors: mean total error against the truth. The tuned lens is fitted on other tasks. EM "
        "steps: the number of steps from the estimate before the layer that comes nearest to the "
        "estimate after it, 95 % interval over tasks in brackets; distances are those to the "
        "estimate after the layer, in the last column by way of the points of another task.",
    )
