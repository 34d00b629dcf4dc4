"""The tables of `behaviour`, from its numbers alone."""

from __future__ import annotations

import math
from collections.abc import Callable

from console.phrases import interval, listed, number, percent
from console.sections import Table, table_of
from training.comparison.behaviour.directions import CONTROLS, LEAST_TASKS, Direction, highest, leaning, shown
from training.comparison.behaviour.measure import Distance, RegimeResult
from training.comparison.behaviour.names import CONTROL_NAMES, DIRECTION_NAMES, label
from training.comparison.common.regimes import SHUFFLED


def nearest(regimes: list[RegimeResult]) -> Table:
    def first(row: RegimeResult) -> str:
        learned = row.kinds["learned"]
        return (
            f"{label(learned.order[0], row, 'learned')}: {interval(learned.distances[learned.order[0]].mean)}"
        )

    def second(row: RegimeResult) -> str:
        name = row.kinds["learned"].order[1]
        gap = row.kinds["learned"].differences[name]
        return (
            f"{label(name, row, 'learned')}: {interval(gap.mean)} farther; the first is nearer in "
            f"{percent(gap.nearer)}"
        )

    def most(row: RegimeResult) -> str:
        wins = row.kinds["learned"].wins
        name = max(wins, key=lambda name: wins[name].value)
        return f"{label(name, row, 'learned')}: {percent(wins[name])}"

    def of_control(kind: str) -> Callable[[RegimeResult], str]:
        def cell(row: RegimeResult) -> str:
            place = row.kinds[kind].order[0]
            return f"{label(place, row, kind)} ({number(row.kinds[kind].distances[place].mean.value)})"

        return cell

    return table_of(
        "Which reference the output is nearest to",
        regimes,
        [
            ("regime", lambda row: row.title),
            ("", lambda row: "K > d" if row.beyond else "K <= d"),
            ("tasks", lambda row: str(row.kinds["learned"].tasks)),
            ("nearest: mean distance", first),
            ("second: paired mean difference", second),
            (
                "cannot be told from the nearest",
                lambda row: (
                    listed([label(name, row, "learned") for name in row.kinds["learned"].ties]) or "none"
                ),
            ),
            ("nearest by the median", lambda row: label(row.kinds["learned"].median_first, row, "learned")),
            ("nearest in most tasks", most),
            ("control: another task's output is nearest to (mean distance)", of_control(SHUFFLED)),
            ("control: an untrained network is nearest to (mean distance)", of_control("untrained")),
        ],
        "Intervals 95 %, over tasks. In a task a win is shared by references within 1 % of each other, "
        "so that algorithms that agree there each have a part of it.",
    )


def directions(regimes: list[RegimeResult]) -> Table:
    def largest(found: Direction) -> str:
        top = highest(found, "coefficient")
        return "-" if top is None else f"{number(top[1])} ({CONTROL_NAMES[top[0]]})"

    return table_of(
        "Does the network deviate from converged EM towards another reference?",
        [(r.title, name, found) for r in regimes for name, found in shown(r.directions).items()],
        [
            ("regime", lambda row: row[0]),
            ("direction: reference less EM", lambda row: DIRECTION_NAMES.get(row[1], row[1])),
            ("tasks", lambda row: str(row[2].n)),
            ("cosine with network less EM", lambda row: interval(row[2].learned.cosine)),
            ("beyond all controls", lambda row: leaning(row[2]) or "no"),
            *((f"control: {CONTROL_NAMES[k]}", lambda row, k=k: _control(row[2], k)) for k in CONTROLS),
            ("coefficient", lambda row: interval(row[2].learned.coefficient)),
            ("control: largest coefficient without the prior", lambda row: largest(row[2])),
        ],
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
        own, other, control = (regime.kinds[kind].with_slow for kind in ("learned", SHUFFLED, "untrained"))
        if own and other and control:
            rows += [(regime, name, own, other, control, own.differences.get(name)) for name in own.order]
    return table_of(
        "With the posterior mean, on fewer tasks",
        rows,
        [
            ("regime", lambda row: row[0].title),
            ("reference, nearest first", lambda row: label(row[1], row[0], "learned")),
            ("tasks", lambda row: str(row[2].tasks)),
            (
                "farther than the nearest by, mean",
                lambda row: "the nearest" if row[5] is None else interval(row[5].mean),
            ),
            (
                "share of tasks in which it is farther",
                lambda row: "" if row[5] is None else percent(row[5].nearer),
            ),
            ("nearest in", lambda row: percent(row[2].wins[row[1]])),
            ("control: another task's output", lambda row: percent(row[3].wins[row[1]])),
            ("control: untrained network", lambda row: percent(row[4].wins[row[1]])),
        ],
    )


def distances(regimes: list[RegimeResult]) -> Table:
    def control(kind: str) -> Callable[[tuple[RegimeResult, str, Distance]], str]:
        return lambda row: number(row[0].kinds[kind].distances[row[1]].median.value)

    return table_of(
        "Distance of the network's output to every reference",
        [(r, name, found) for r in regimes for name, found in r.kinds["learned"].distances.items()],
        [
            ("regime", lambda row: row[0].title),
            ("reference", lambda row: label(row[1], row[0], "learned")),
            ("tasks", lambda row: str(row[2].n)),
            ("mean", lambda row: interval(row[2].mean)),
            ("median", lambda row: interval(row[2].median)),
            ("nearest in", lambda row: percent(row[0].kinds["learned"].wins.get(row[1], math.nan))),
            ("control: another task's output, median", control(SHUFFLED)),
            ("control: untrained network, median", control("untrained")),
        ],
        "Squared units of the data a coordinate, components averaged. The share of wins is among one "
        "representative each of the algorithms that would be nearly the same; a dash is not among them.",
    )
