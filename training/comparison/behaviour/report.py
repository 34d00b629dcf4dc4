"""The section of `behaviour`: what is nearest in words, tables and pictures, from its numbers alone."""

from __future__ import annotations

import math

from console.output import significant
from console.phrases import interval, listed, number
from console.sections import Section
from training.comparison.behaviour.directions import PRIOR, Direction, highest, leaning, shown
from training.comparison.behaviour.directions_figure import directions_figure
from training.comparison.behaviour.figures import pictures
from training.comparison.behaviour.measure import BehaviourResult, RegimeResult
from training.comparison.behaviour.names import CONTROL_NAMES, DIRECTION_NAMES, NAMES, general
from training.comparison.behaviour.tables import directions, distances, nearest, posterior
from training.comparison.common.regimes import SHUFFLED


def render(values: BehaviourResult) -> Section:
    """Finding first, then how to read it, tables, pictures."""
    regimes = values.regimes
    paragraphs = [_finding(regimes), _prior(regimes), _apart(regimes)]
    paragraphs += [_direction({r.title: r.directions for r in regimes}), _reading(values)]
    tables = [nearest(regimes), directions(regimes), posterior(regimes), distances(regimes)]
    return Section(
        [text for text in paragraphs if text],
        [table for table in tables if table.rows],
        [*pictures(values), *directions_figure(values)],
    )


def _finding(regimes: list[RegimeResult]) -> str:
    """In how many regimes each reference is nearest, alone or not, K <= d and K > d apart."""
    parts = []
    for beyond, name in ((False, "K <= d"), (True, "K > d")):
        group = [regime.kinds["learned"] for regime in regimes if regime.beyond is beyond]
        if not group:
            continue
        counts: dict[str, list[int]] = {}
        for learned in group:
            for reference in (learned.order[0], *learned.ties):
                tally = counts.setdefault(reference, [0, 0])
                tally[0] += 1
                tally[1] += not learned.ties
        order = sorted(counts, key=lambda reference: -counts[reference][0])
        texts = [f"{general(r)} in {counts[r][0]} ({counts[r][1]} alone)" for r in order]
        parts.append(f"of {len(group)} regimes with {name}: {listed(texts)}")
    return (
        "The references nearest on average to the network's output, alone or not to be told from the "
        "nearest (the 95 % interval of the paired difference reaches below 1 % of the distance): "
        f"{'; '.join(parts)}. The table says which regimes these are."
    )


def _prior(regimes: list[RegimeResult]) -> str:
    """How the methods that are measured on fewer tasks do against all others there."""
    slow = list(dict.fromkeys(name for regime in regimes for name in regime.slow))
    if not slow:
        return ""
    first, apart, asked, tasks = 0, 0, 0, set()
    for regime in regimes:
        ranking = regime.kinds["learned"].with_slow
        if not ranking:
            continue
        asked += 1
        tasks.add(str(ranking.tasks))
        rivals = [name for name in ranking.order if name not in slow]
        if ranking.order[0] in slow:
            first += 1
            apart += not any(name in ranking.ties for name in rivals)
    names = listed([NAMES[name] for name in slow])
    return (
        f"With {names} among the references, on the first {listed(sorted(tasks, key=int))} tasks of a "
        f"regime, it is the nearest on average in {first} of {asked} regimes, and in {apart} of these "
        "apart from every other reference."
    )


def _apart(regimes: list[RegimeResult]) -> str:
    """How far the nearest is, measured against the statistical error and against the control."""
    ratios, shuffled, same = [], [], []
    for regime in regimes:
        learned, control = regime.kinds["learned"], regime.kinds[SHUFFLED]
        first = learned.order[0]
        distance = learned.distances[first]
        ratios.append(distance.median.value / regime.floor.value)
        far = control.distances[first].median.value
        shuffled.append(far / distance.median.value if distance.median.value else math.inf)
        same.append(control.order[0] == first)
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
        f"{size} The same distance for another task's output is {_times(min(shuffled))} to "
        f"{_times(max(shuffled))} times as large; the reference nearest to another task's output "
        f"is the same in {sum(same)} of {len(regimes)} regimes, where being nearest says less."
    )


def _times(ratio: float) -> str:
    return "infinitely many" if math.isinf(ratio) else significant(ratio)


def _direction(regimes: dict[str, dict[str, Direction]]) -> str:
    """Towards which references the network deviates from converged EM, beyond all controls; by regime."""
    sides: dict[str, list[str]] = {}
    for regime in regimes.values():
        for name, found in shown(regime).items():
            sides.setdefault(name, []).append(leaning(found))
    if not sides:
        return ""
    known = [
        f"towards {DIRECTION_NAMES[name]} beyond what estimators without the prior do in "
        f"{sides[name].count('towards')} of {len(sides[name])} regimes"
        for name in PRIOR
        if name in sides
    ]
    others = [
        f"{DIRECTION_NAMES[name]} in {found.count('towards')} of {len(found)} regimes"
        for name, found in sides.items()
        if name not in PRIOR
    ]
    away = [f"{DIRECTION_NAMES[n]} in {f.count('away')}" for n, f in sides.items() if "away" in f]
    parts = [
        "Where the algorithms agree the distances cannot decide between them; the direction of the "
        "network's deviation from converged EM may."
    ]
    if known:
        parts.append(f"The network leans {listed(known)}.{_reached(regimes)}")
    if others:
        parts.append(f"Towards the other references, beyond all controls: {'; '.join(others)}.")
    if away:
        parts.append(f"Away from a reference, further than all controls: {'; '.join(away)}.")
    parts.append(
        "Counted are regimes in which the interval of the network's cosine lies above 0 and above the "
        "intervals of all controls: another task's direction, the untrained network, and in the "
        "network's place k-means, EM stopped early, EM's estimate and the truth plus noise. Network "
        "and reference both have EM subtracted, so that a positive cosine or a coefficient near 1 "
        "alone says nothing of a prior; and to lean beyond these estimators does not show that the "
        "network uses the prior, since another estimator without it might lean as far. A cosine well "
        "below 1 means that most of the deviation is in none of these directions."
    )
    return " ".join(parts)


def _reached(regimes: dict[str, dict[str, Direction]]) -> str:
    """The furthest that an estimator without the prior gets towards the posterior mode, and where."""
    best = None
    for title, regime in regimes.items():
        found = shown(regime).get("map-em")
        top = highest(found, "cosine") if found else None
        if found and top and (best is None or top[1] > best[1]):
            best = (top[0], top[1], title, found.learned.cosine)
    if best is None:
        return ""
    name, value, title, own = best
    return (
        f" Estimators that know no prior have a cosine with the direction of the posterior mode of up to "
        f"{number(value)} ({CONTROL_NAMES[name]}, {title}; the network there {interval(own)})."
    )


def _reading(values: BehaviourResult) -> str:
    notes = [
        "Distance is the paper's metric after exact alignment. References on the same tasks: the "
        f"truth; EM after 0 to {values.steps} steps from several starts and converged; spectral (K "
        "<= d only; a task without an estimate is in no mean, and never nearest); k-means; the "
        "posterior mode (MAP-EM) and, on fewer tasks, the posterior mean, which know the prior of the "
        "paper's tasks. 'EM stopped early' has its number of steps chosen on the other half of the tasks.",
        *values.absent,
    ]
    if values.scales:
        notes.append("The network's covariances are left out: the tasks have unit covariances.")
    if any(regime.separation is not None for regime in values.regimes):
        notes.append(
            "Tasks of a fixed separation are not those that the prior, or a network trained on it, expects."
        )
    if not any(regime.beyond for regime in values.regimes):
        notes.append("No regime has K > d: nothing is said about it.")
    return " ".join(text if text.endswith(".") else f"{text[0].upper()}{text[1:]}." for text in notes)
