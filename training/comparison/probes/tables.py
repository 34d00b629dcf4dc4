"""The tables of the part "probes", and the verdict on one map."""

from __future__ import annotations

import math

from console.output import significant
from console.sections import Table
from training.comparison.probes.figures import answer_of, lens_of, map_of
from training.comparison.probes.maps import Summary
from training.comparison.probes.measure import MapRow, ProbesResult
from training.comparison.probes.targets import LINE, OWN_START
from training.comparison.probes.trend import FEWEST, LEAST, Statistic


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


def _interval(found: Statistic) -> str:
    if math.isnan(found.value):
        return "-"
    return f"{significant(found.value)} [{significant(found.low)}, {significant(found.high)}]"


def trend_table(results: ProbesResult) -> Table:
    """Best and newest iterate by layer, and their growth, for every map and its controls."""
    rows = []
    for learned, control in pairs(results):
        mine, other = learned.trend, control.trend
        verdict = {True: "yes", False: "no", None: "too few"}[grows(mine.spearman, other.spearman)]
        rows.append(
            (
                _label(learned),
                _list(mine.best),
                _list(mine.newest),
                _interval(mine.spearman),
                _interval(other.spearman),
                _interval(mine.newest_spearman),
                _interval(other.newest_spearman),
                _interval(mine.delay),
                _interval(other.delay),
                verdict,
            )
        )
    for row in results.handbuilt.maps:
        own = row.trend
        statistics = [_interval(one) for one in (own.spearman, own.newest_spearman, own.delay)]
        rows.append(
            (
                f"hand-built EM, {row.target}, {row.path}",
                _list(own.best),
                _list(own.newest),
                statistics[0],
                "-",
                statistics[1],
                "-",
                statistics[2],
                "-",
                "yes" if own.spearman.low > 0 else "no",
            )
        )
    return Table(
        "Does the best-matching EM iterate grow with the layer?",
        (
            "map",
            "best iterate after layer 1, 2, ...",
            "most added by layer 2, 3, ...",
            "rank correlation, best",
            "untrained",
            "rank correlation, added",
            "untrained",
            "layers an iterate",
            "untrained",
            "grows",
        ),
        rows,
        f"Iterates 0 to {results.settings.iterations}; a dash: no iterate explained by {LEAST:.0%}, or fewer "
        f"than {FEWEST} layers that do. In brackets 95 % intervals over tasks. The hand-built EM takes two "
        "layers a step and serves as positive control, probed for EM from another start as its negative one. "
        "The correlation is 0 where the best iterate is the same throughout.",
    )


def r2_table(results: ProbesResult) -> Table:
    """R^2 at the best layer, what it gains over the input, the shuffled and the untrained control."""
    rows = []
    last = results.settings.iterations
    for learned in results.maps:
        if learned.network != "learned" or learned.start == LINE:
            continue
        control = map_of(results, learned.K, "untrained", learned.target, learned.start)
        if control is not None:
            label = _label(learned)
            if learned.start == OWN_START:
                rows += [_r2_row(f"{label}, iterate 1", learned, control, 1)]
            rows += [_r2_row(f"{label}, end", learned, control, last + 1)]
    for learned in results.answers:
        if learned.network == "learned":
            control = answer_of(results, learned.K, "untrained", learned.target)
            if control is not None:
                label = f"K = {learned.K}, {learned.target}, truth"
                rows.append(_r2_row(label, learned, control, 0))
    return Table(
        "Held-out R², what it gains over the input, and its controls",
        (
            "target",
            "input (layer 0)",
            "best layer",
            "R² there",
            "gain over the input",
            "shuffled",
            "selectivity",
            "untrained, best",
            "its gain",
        ),
        rows,
        "R² of the linear probe at the layer where it is largest, 95 % interval over tasks in brackets. "
        "Selectivity: R² minus that on shuffled targets at the same layer (Hewitt and Liang 2019). R² that "
        "the input alone explains is no evidence of a computation; only the gain is.",
    )


def _r2_row(label: str, learned: Summary, control: Summary, column: int) -> tuple[str, ...]:
    values = [line[column] for line in learned.r2]
    layer = max(range(len(values)), key=lambda i: -math.inf if math.isnan(values[i]) else values[i])
    parts = (learned.low, learned.high, learned.shuffled)
    low, high, shuffled = (part[layer][column] for part in parts)
    theirs = [line[column] for line in control.r2]
    most = max((v for v in theirs if not math.isnan(v)), default=math.nan)
    interval = f"{_two(values[layer])} [{_two(low)}, {_two(high)}]"
    return (
        label,
        _two(values[0]),
        "-" if math.isnan(values[layer]) else str(layer),
        "-" if math.isnan(values[layer]) else interval,
        _two(values[layer] - values[0]),
        "-" if math.isnan(shuffled) else f"{shuffled:.3f}",
        _two(values[layer] - shuffled),
        _two(most),
        _two(most - theirs[0]),
    )


def _two(value: float) -> str:
    """Two digits; a dash for NaN."""
    return "-" if math.isnan(value) else f"{value:.2f}"


def lens_table(results: ProbesResult) -> Table:
    """Errors of both lenses by layer, and how many EM steps each layer is worth."""
    rows = []
    for learned in results.lenses:
        control = lens_of(results, learned.K, "untrained")
        if learned.network != "learned" or control is None:
            continue
        steps = learned.steps
        for layer, error in enumerate(learned.logit_error):
            worth = ["-"] * 5
            if layer:
                nearest = steps.nearest[layer - 1]
                low, high = steps.nearest_low[layer - 1], steps.nearest_high[layer - 1]
                own, other = steps.distance[layer - 1], steps.control[layer - 1]
                worth = [f"{nearest} [{low:.0f}, {high:.0f}]"]
                worth += [significant(v) for v in (own[0], own[nearest], own[1], other[1])]
            rows.append(
                (
                    f"K = {learned.K}, layer {layer}",
                    significant(error),
                    significant(control.logit_error[layer]),
                    significant(learned.tuned_error[layer]),
                    significant(control.tuned_error[layer]),
                    f"{learned.tuned_r2[layer]:.2f}",
                    *worth,
                )
            )
    return Table(
        "The estimate after each layer, and how many EM steps the layer is worth",
        (
            "layer",
            "logit lens error",
            "untrained",
            "tuned lens error",
            "untrained",
            "R² of the output's means",
            "EM steps",
            "distance, no step",
            "so many",
            "one step",
            "one step on another task's points",
        ),
        rows,
        "Errors: mean total error against the truth. The tuned lens is fitted on other tasks. EM "
        "steps: the number of steps from the estimate before the layer that comes nearest to the "
        "estimate after it, 95 % interval over tasks in brackets; distances are those to the "
        "estimate after the layer, in the last column by way of the points of another task.",
    )
