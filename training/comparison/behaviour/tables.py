"""The tables of `behaviour`, from its numbers alone."""

from __future__ import annotations

from training.comparison.behaviour.directions import CONTROLS, LEAST_TASKS, Direction, highest, leaning, shown
from training.comparison.behaviour.measure import RegimeResult
from training.comparison.behaviour.names import CONTROL_NAMES, DIRECTION_NAMES, label
from training.comparison.common.parts import Table
from training.comparison.common.phrases import interval, listed, number, percent
from training.comparison.common.regimes import SHUFFLED


def nearest(regimes: list[RegimeResult]) -> Table:
    rows = []
    for regime in regimes:
        learned = regime.kinds["learned"]
        first, second = learned.order[0], learned.order[1]
        gap = learned.differences[second]
        most = max(learned.wins, key=lambda name: learned.wins[name].value)
        controls = []
        for kind in (SHUFFLED, "untrained"):
            control = regime.kinds[kind]
            place = control.order[0]
            distance = number(control.distances[place].mean.value)
            controls.append(f"{label(place, regime, kind)} ({distance})")
        others = [label(name, regime, "learned") for name in learned.ties]
        rows.append(
            [
                regime.title,
                "K > d" if regime.beyond else "K <= d",
                str(learned.tasks),
                f"{label(first, regime, 'learned')}: {interval(learned.distances[first].mean)}",
                f"{label(second, regime, 'learned')}: {interval(gap.mean)} farther; the first is "
                f"nearer in {percent(gap.nearer)}",
                listed(others) if others else "none",
                label(learned.median_first, regime, "learned"),
                f"{label(most, regime, 'learned')}: {percent(learned.wins[most])}",
                *controls,
            ]
        )
    return Table(
        "Which reference the output is nearest to",
        [
            "regime",
            "",
            "tasks",
            "nearest: mean distance",
            "second: paired mean difference",
            "cannot be told from the nearest",
            "nearest by the median",
            "nearest in most tasks",
            "control: another task's output is nearest to (mean distance)",
            "control: an untrained network is nearest to (mean distance)",
        ],
        rows,
        "Intervals 95 %, over tasks. In a task a win is shared by references within 1 % of each other, "
        "so that algorithms that agree there each have a part of it.",
    )


def directions(regimes: list[RegimeResult]) -> Table:
    rows = []
    for regime in regimes:
        for name, found in shown(regime.directions).items():
            top = highest(found, "coefficient")
            rows.append(
                [
                    regime.title,
                    DIRECTION_NAMES.get(name, name),
                    str(found.n),
                    interval(found.learned.cosine),
                    leaning(found) or "no",
                    *(_control(found, key) for key in CONTROLS),
                    interval(found.learned.coefficient),
                    "-" if top is None else f"{number(top[1])} ({CONTROL_NAMES[top[0]]})",
                ]
            )
    return Table(
        "Does the network deviate from converged EM towards another reference?",
        [
            "regime",
            "direction: reference less EM",
            "tasks",
            "cosine with network less EM",
            "beyond all controls",
            *(f"control: {CONTROL_NAMES[key]}" for key in CONTROLS),
            "coefficient",
            "control: largest coefficient without the prior",
        ],
        rows,
        "Over the tasks that the network does not fail, in which the reference is between 1 % of EM's own "
        "squared error and ten times of it away from EM; intervals 95 %, over tasks. The two differences "
        "share EM, so that a cosine above 0 and a coefficient near 1 (all of the reference's deviation, plus "
        "something at a right angle to it) are no evidence by themselves. The last four controls stand in "
        "the network's place, keep this link and know no prior; an estimator is measured on the tasks that "
        "it does not fail either (their number in brackets where they are fewer), and noise has in each task "
        "the size of the network's own distance from EM. A dash: the control is the reference (the truth "
        f"plus noise for the truth), or has fewer than {LEAST_TASKS} tasks, and then nothing counts as "
        "beyond it. 'Towards' asks for an interval above 0 and above those of all controls, 'away' for one "
        "below; it is not corrected for the number of lines.",
    )


def _control(found: Direction, key: str) -> str:
    control = found.controls.get(key)
    if control is None:
        return "-"
    fewer = f" [{control.n}]" if control.n < found.n else ""
    return interval(control.cosine) + fewer


def posterior(regimes: list[RegimeResult]) -> Table:
    """The contest with the methods that are measured on fewer tasks."""
    rows = []
    for regime in regimes:
        learned, other, control = (
            regime.kinds[kind].with_slow for kind in ("learned", SHUFFLED, "untrained")
        )
        if not learned or not other or not control:
            continue
        for name in learned.order:
            gap = learned.differences.get(name)
            rows.append(
                [
                    regime.title,
                    label(name, regime, "learned"),
                    str(learned.tasks),
                    "the nearest" if gap is None else interval(gap.mean),
                    "" if gap is None else percent(gap.nearer),
                    percent(learned.wins[name]),
                    percent(other.wins[name]),
                    percent(control.wins[name]),
                ]
            )
    return Table(
        "With the posterior mean, on fewer tasks",
        [
            "regime",
            "reference, nearest first",
            "tasks",
            "farther than the nearest by, mean",
            "share of tasks in which it is farther",
            "nearest in",
            "control: another task's output",
            "control: untrained network",
        ],
        rows,
    )


def distances(regimes: list[RegimeResult]) -> Table:
    rows = []
    for regime in regimes:
        kinds = regime.kinds
        for name, found in kinds["learned"].distances.items():
            wins = kinds["learned"].wins.get(name)
            rows.append(
                [
                    regime.title,
                    label(name, regime, "learned"),
                    str(found.n),
                    interval(found.mean),
                    interval(found.median),
                    percent(wins) if wins else "-",
                    number(kinds[SHUFFLED].distances[name].median.value),
                    number(kinds["untrained"].distances[name].median.value),
                ]
            )
    return Table(
        "Distance of the network's output to every reference",
        [
            "regime",
            "reference",
            "tasks",
            "mean",
            "median",
            "nearest in",
            "control: another task's output, median",
            "control: untrained network, median",
        ],
        rows,
        "Squared units of the data a coordinate, components averaged. The share of wins is among one "
        "representative each of the algorithms that would be nearly the same; a dash is not among them.",
    )
