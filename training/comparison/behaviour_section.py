"""The section of `behaviour`: what is nearest in words, tables and pictures, from its numbers alone."""

from __future__ import annotations

from typing import Any

from console.output import significant
from training.comparison.behaviour_figures import pictures
from training.comparison.behaviour_names import DIRECTION_NAMES, NAMES, label
from training.comparison.parts import Section, Table
from training.comparison.regimes import SHUFFLED
from training.comparison.wording import interval, listed, number, percent

LEAST_TASKS = 5
"""A direction on fewer tasks is not shown."""


def render(values: dict[str, Any]) -> Section:
    """Finding first, then how to read it, tables, pictures."""
    regimes = values["regimes"]
    paragraphs = [_finding(regimes), _prior(regimes), _apart(regimes), _direction(regimes), _reading(values)]
    tables = [_nearest(regimes), _directions(regimes), _posterior(regimes), _distances(regimes)]
    return Section(
        [text for text in paragraphs if text],
        [table for table in tables if table.rows],
        pictures(values),
    )


def _finding(regimes: list[dict[str, Any]]) -> str:
    groups: dict[str, list[str]] = {}
    for regime in regimes:
        learned = regime["kinds"]["learned"]
        first = learned["order"][0]
        same = [first, *learned["ties"]]
        text = listed([label(name, regime, "learned") for name in sorted(same)])
        groups.setdefault(text, []).append(regime["title"])
    parts = [f"{text} ({'; '.join(titles)})" for text, titles in groups.items()]
    return (
        "Nearest on average to the network's output, together with every reference that cannot be told "
        "from the nearest (95 % interval of the paired difference reaches below 1 % of the distance): "
        + "; ".join(parts)
        + "."
    )


def _prior(regimes: list[dict[str, Any]]) -> str:
    """How the methods that are measured on fewer tasks do against all others there."""
    slow = list(dict.fromkeys(name for regime in regimes for name in regime["slow"]))
    if not slow:
        return ""
    nearest, apart, asked, tasks = 0, 0, 0, set()
    for regime in regimes:
        ranking = regime["kinds"]["learned"]["with_slow"]
        if not ranking:
            continue
        asked += 1
        tasks.add(str(ranking["tasks"]))
        rivals = [name for name in ranking["order"] if name not in slow]
        if ranking["order"][0] in slow:
            nearest += 1
            apart += not any(name in ranking["ties"] for name in rivals)
    names = listed([NAMES[name] for name in slow])
    return (
        f"With {names} among the references, on the first {listed(sorted(tasks, key=int))} tasks of a "
        f"regime, it is the nearest on average in {nearest} of {asked} regimes, and in {apart} of these "
        "apart from every other reference."
    )


def _apart(regimes: list[dict[str, Any]]) -> str:
    """How far the nearest is, measured against the statistical error and against the control."""
    ratios, shuffled, same = [], [], []
    for regime in regimes:
        learned, control = regime["kinds"]["learned"], regime["kinds"][SHUFFLED]
        first = learned["order"][0]
        distance = learned["distances"][first]
        ratios.append(distance["median"][0] / regime["floor"][0])
        shuffled.append(control["distances"][first]["median"][0] / distance["median"][0])
        same.append(control["order"][0] == first)
    exact = sum(ratio < 1e-6 for ratio in ratios)
    if exact == len(regimes):
        size = "The distance to the nearest is 0 within rounding in every regime: the network computes it."
    else:
        size = (
            "The network computes none of them exactly: the median distance to the nearest is "
            f"{significant(min(ratios))} to {significant(max(ratios))} times the mean squared error of "
            "EM from the truth, depending on the regime."
        )
    return (
        f"{size} The same distance for another task's output is {significant(min(shuffled))} to "
        f"{significant(max(shuffled))} times as large; the reference nearest to another task's output "
        f"is the same in {sum(same)} of {len(regimes)} regimes, where being nearest says less."
    )


def _direction(regimes: list[dict[str, Any]]) -> str:
    """Towards which references the network deviates from converged EM, against the control."""
    counts: dict[str, list[int]] = {}
    for regime in regimes:
        for name, found in regime["directions"].items():
            if found["n"] < LEAST_TASKS:
                continue
            low, high = found["learned"]["cosine"][1:]
            worst = max(abs(limit) for limit in found[SHUFFLED]["cosine"][1:])
            tally = counts.setdefault(name, [0, 0, 0])
            tally[0] += low > worst
            tally[1] += high < -worst
            tally[2] += 1
    parts = [
        f"{DIRECTION_NAMES.get(name, name)}: towards it in {up}, away from it in {down} of {n} regimes"
        for name, (up, down, n) in counts.items()
    ]
    if not parts:
        return ""
    return (
        "Where the algorithms agree the distances cannot decide between them; the direction of the "
        "network's deviation from converged EM can. Counting only intervals of the cosine that lie "
        f"beyond those of the control: {'; '.join(parts)}. A cosine well below 1 means that most of the "
        "deviation is in none of these directions."
    )


def _reading(values: dict[str, Any]) -> str:
    notes = [
        "Distance is the paper's metric after exact alignment. References on the same tasks: the "
        f"truth; EM after 0 to {values['steps']} steps from several starts and converged; spectral (K "
        "<= d only; a task without an estimate is in no mean, and never nearest); k-means; the "
        "posterior mode (MAP-EM) and, on fewer tasks, the posterior mean, which know the prior of the "
        "paper's tasks. 'EM stopped early' has its number of steps chosen on the other half of the tasks.",
        *values["absent"],
    ]
    if values["scales"]:
        notes.append("The network's variances are left out: the tasks have unit covariances.")
    if any(regime["separation"] is not None for regime in values["regimes"]):
        notes.append(
            "Tasks of a fixed separation are not those that the prior, or a network trained on it, expects."
        )
    if not any(regime["beyond"] for regime in values["regimes"]):
        notes.append("No regime has K > d: nothing is said about it.")
    return " ".join(text if text.endswith(".") else f"{text[0].upper()}{text[1:]}." for text in notes)


def _nearest(regimes: list[dict[str, Any]]) -> Table:
    rows = []
    for regime in regimes:
        learned = regime["kinds"]["learned"]
        first, second = learned["order"][0], learned["order"][1]
        gap = learned["differences"][second]
        most = max(learned["wins"], key=lambda name: learned["wins"][name][0])
        controls = []
        for kind in (SHUFFLED, "untrained"):
            control = regime["kinds"][kind]
            place = control["order"][0]
            distance = number(control["distances"][place]["mean"][0])
            controls.append(f"{label(place, regime, kind)} ({distance})")
        others = [label(name, regime, "learned") for name in learned["ties"]]
        rows.append(
            [
                regime["title"],
                "K > d" if regime["beyond"] else "K <= d",
                str(learned["tasks"]),
                f"{label(first, regime, 'learned')}: {interval(learned['distances'][first]['mean'])}",
                f"{label(second, regime, 'learned')}: {interval(gap['mean'])} farther; the first is "
                f"nearer in {percent(gap['nearer'])}",
                listed(others) if others else "none",
                label(learned["median_first"], regime, "learned"),
                f"{label(most, regime, 'learned')}: {percent(learned['wins'][most])}",
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


def _directions(regimes: list[dict[str, Any]]) -> Table:
    rows = []
    for regime in regimes:
        for name, found in regime["directions"].items():
            if found["n"] < LEAST_TASKS:
                continue
            rows.append(
                [
                    regime["title"],
                    DIRECTION_NAMES.get(name, name),
                    str(found["n"]),
                    interval(found["learned"]["cosine"]),
                    interval(found[SHUFFLED]["cosine"]),
                    interval(found["untrained"]["cosine"]),
                    interval(found["learned"]["coefficient"]),
                    interval(found[SHUFFLED]["coefficient"]),
                ]
            )
    return Table(
        "Does the network deviate from converged EM towards another reference?",
        [
            "regime",
            "direction: reference less EM",
            "tasks",
            "cosine with network less EM",
            "control: another task's direction",
            "control: untrained network",
            "coefficient",
            "control: another task's direction",
        ],
        rows,
        "Over the tasks that the network does not fail, in which the reference is between 1 % of EM's "
        "own squared error and ten times of it away from EM. Coefficient 1: the network has all of "
        "the reference's deviation, plus something at a right angle to it; 0: none of it. With K (d + "
        "1) - 1 free numbers a random direction has a cosine of about 0 with a spread of their "
        "number's inverse root.",
    )


def _posterior(regimes: list[dict[str, Any]]) -> Table:
    """The contest with the methods that are measured on fewer tasks."""
    rows = []
    for regime in regimes:
        learned = regime["kinds"]["learned"]["with_slow"]
        if not learned:
            continue
        for name in learned["order"]:
            gap = learned["differences"].get(name)
            rows.append(
                [
                    regime["title"],
                    label(name, regime, "learned"),
                    str(learned["tasks"]),
                    "the nearest" if gap is None else interval(gap["mean"]),
                    "" if gap is None else percent(gap["nearer"]),
                    percent(learned["wins"][name]),
                    percent(regime["kinds"][SHUFFLED]["with_slow"]["wins"][name]),
                    percent(regime["kinds"]["untrained"]["with_slow"]["wins"][name]),
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


def _distances(regimes: list[dict[str, Any]]) -> Table:
    rows = []
    for regime in regimes:
        kinds = regime["kinds"]
        for name, found in kinds["learned"]["distances"].items():
            wins = kinds["learned"]["wins"].get(name)
            rows.append(
                [
                    regime["title"],
                    label(name, regime, "learned"),
                    str(found["n"]),
                    interval(found["mean"]),
                    interval(found["median"]),
                    percent(wins) if wins else "-",
                    number(kinds[SHUFFLED]["distances"][name]["median"][0]),
                    number(kinds["untrained"]["distances"][name]["median"][0]),
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
