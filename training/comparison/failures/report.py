"""The section of `failures`: who fails, together with whom, where and how, from its numbers alone."""

from __future__ import annotations

import math
from collections.abc import Callable

from console.output import significant
from console.phrases import Interval, interval, listed, number, percent
from console.sections import Section, Table, table_of
from training.comparison.failures.areas import Area
from training.comparison.failures.figures import METHOD_NAMES, SCORE_NAMES, pictures
from training.comparison.failures.kinds import KIND_NAMES, KINDS
from training.comparison.failures.measure import FailuresResult, Kinds, StratumResult

LEVEL = 0.05
FEW = 10
"""Below so many failures nothing is said about where they are."""


def render(values: FailuresResult) -> Section:
    """Finding first, then what it rests on."""
    total = sum(_count(s) for s in values.strata)
    paragraphs = [_rates(values, total)]
    if total >= FEW:
        paragraphs += [_together(values), _where(values.areas), _kinds(values)]
    else:
        paragraphs.append(
            f"The network fails {total} of these tasks, less than {FEW}: where and with whom it fails "
            "cannot be said."
        )
    paragraphs.append(_reading(values))
    tables = [_share_table(values), _pair_table(values), _fourfold_table(values)]
    tables += [_area_table(values), _kind_table(values.kinds)]
    return Section(paragraphs, [table for table in tables if table.rows], pictures(values))


def _count(stratum: StratumResult) -> int:
    return round(stratum.shares["network"].value * stratum.tasks)


def _rates(values: FailuresResult, total: int) -> str:
    parts = [f"K = {s.K}: {percent(s.shares['network'])}" for s in values.strata]
    control = [s.shares["untrained"].value for s in values.strata]
    n = sum(s.tasks for s in values.strata)
    return (
        f"The network fails {total} of {n} tasks ({'; '.join(parts)}), failing meaning a total error "
        f"above {values.bad:g} times that of EM from the truth. The untrained network fails "
        f"at least {100 * min(control):.0f} % at every K."
    )


def _together(values: FailuresResult) -> str:
    """With whom: intervals of the common odds ratio without 1 whose p bears the number of comparisons."""
    more, less, weak, open_, unknown = [], [], [], [], []
    strict = LEVEL / (len(values.pairs) - 1)
    for name, pair in values.pairs.items():
        if name == "reference":
            continue
        _, low, high = pair.odds
        text = f"{METHOD_NAMES[name]} (odds ratio {interval(pair.odds)}, p = {number(pair.p, 2)})"
        if not all(map(math.isfinite, pair.odds)):
            unknown.append(METHOD_NAMES[name])
        elif (low > 1 or high < 1) and pair.p > strict:
            weak.append(text)
        elif low > 1:
            more.append(text)
        elif high < 1:
            less.append(text)
        else:
            open_.append(text)
    alone = (
        f"apart from none taken alone, but not with {len(values.pairs) - 1} methods compared "
        f"(which asks for p below {strict:.2g}):"
    )
    sides = (
        ("it fails more often where these fail:", more),
        ("less often where these fail:", less),
        (alone, weak),
        ("no association can be told from none with", open_),
        ("there are too few failures to say with", unknown),
    )
    parts = [f"{text} {listed(names)}" for text, names in sides if names]
    reference = values.pairs["reference"].odds
    return (
        f"With K fixed, {'; '.join(parts)}. For scale: two runs of EM from random starts that share "
        f"nothing but the tasks have an odds ratio of {interval(reference)}."
    )


def _where(areas: dict[str, dict[str, Area]]) -> str:
    """Which hardnesses: intervals of the area without 0.5 whose p bears the number of hardnesses."""
    known = {
        score: methods["network"]
        for score, methods in areas.items()
        if math.isfinite(methods["network"].area.low)
    }
    if not known:
        return "Where it fails cannot be said: there is no area under the curve for any hardness."
    told, weak, silent = [], [], []
    strict = LEVEL / len(known)
    for score, found in known.items():
        area, p = found.area, found.network_p
        text = f"{SCORE_NAMES[score]} ({interval(area)}, p = {number(p, 2)})"
        alone = area.low > 0.5 or area.high < 0.5
        (told if alone and p <= strict else weak if alone else silent).append(text)
    sentence = (
        "Hardness of the task with K fixed, as area under the curve for the network's failures, with "
        f"{len(known)} hardnesses compared (which asks for p of at most {strict:.2g}): "
    )
    sentence += f"apart from 0.5 for {listed(told)}" if told else "none is apart from 0.5"
    if weak:
        sentence += f"; apart from 0.5 taken alone, but not among so many, for {listed(weak)}"
    if silent:
        sentence += f"; not told from 0.5 for {listed(silent)}"
    if areas["floor"]["network"].area.high < 0.5:
        sentence += (
            ". An area below 0.5 for the error of EM from the truth is partly arithmetic: failing is "
            "counted in multiples of it, so where it happens to be small a smaller error is a failure"
        )
    if all(abs(found.area.value - 0.5) < 0.1 for found in known.values()):
        sentence += ". None is 0.1 or more from 0.5: these properties explain little of where it fails"
    return sentence + "."


def _kinds(values: FailuresResult) -> str:
    counts = values.kinds.counts["network"]
    total = sum(counts.values())
    order = sorted(KINDS, key=lambda kind: -counts[kind])
    parts = [f"{KIND_NAMES[kind]} {counts[kind]}" for kind in order if counts[kind]]
    repaired = values.kinds.repaired
    own, control = repaired["network"], repaired["untrained"]
    if math.isnan(own.value):
        return f"Of {total} failures: {'; '.join(parts)}."
    stuck = (
        "Most of its failures are therefore not optima of EM, whatever they look like"
        if own.low > 0.5
        else "Most of its failures are therefore in the basin of a bad optimum of EM"
        if own.high < 0.5
        else "Whether most of its failures are in the basin of a bad optimum of EM cannot be said"
    )
    return (
        f"Of {total} failures: {'; '.join(parts)}. EM run from the failed estimate ends in a solved task in "
        f"{percent(own)} of {own.tasks}; from the untrained network's in {percent(control)} of "
        f"{control.tasks}; from a failed fit of EM in {percent(repaired['em normal'])}. {stuck}."
    )


def _reading(values: FailuresResult) -> str:
    notes = (
        f"All on the same tasks of the paper, {values.strata[-1].tasks} tasks of each K (seed "
        f"{values.seed}); EM is one start each, run until it stops. A single start fails by bad luck as well "
        f"as by a hard task, so the share of {values.restarts} starts from random points that fail is used "
        "as the hardness for EM. Odds ratios and areas compare tasks of the same K only."
    )
    refused = [f"K = {s.K}" for s in values.strata if s.spectral_refusal]
    if refused:
        notes += (
            f" The spectral method is impossible at {listed(refused)} (K > d). A larger share of "
            "failures there need not come from that: they grow with K in any case, and one network "
            "cannot tell the two."
        )
    else:
        notes += (
            " No K is above d here: nothing is said about failing where the spectral method is impossible."
        )
    return notes


def _share_table(values: FailuresResult) -> Table:
    def share(name: str) -> Callable[[StratumResult], str]:
        return lambda s: percent(s.shares[name]) if name in s.shares else "impossible"

    names = dict.fromkeys(name for s in values.strata for name in s.shares)
    return table_of(
        "Share of failed tasks",
        values.strata,
        [
            ("tasks of", lambda s: s.title),
            ("number", lambda s: str(s.tasks)),
            *((METHOD_NAMES[name], share(name)) for name in names),
        ],
        "95 % intervals (Wilson). The control, an untrained network, has the first "
        f"{values.control_tasks} tasks at most.",
    )


def _pair_table(values: FailuresResult) -> Table:
    return table_of(
        "Does the network fail where others fail? All K together, K fixed",
        values.pairs.items(),
        [
            ("other method", lambda row: METHOD_NAMES[row[0]]),
            ("odds ratio (Mantel-Haenszel)", lambda row: interval(row[1].odds)),
            ("permutation p", lambda row: number(row[1].p, 2)),
            ("control: another task's failure", lambda row: interval(row[1].shuffled.odds)),
            ("its p", lambda row: number(row[1].shuffled.p, 2)),
        ],
        "Odds ratio 1: unrelated. The last line is not about the network: two runs of EM from different "
        "random starts, for scale. Intervals and p are of each line alone; the finding asks for p below "
        f"{LEVEL} / {len(values.pairs) - 1}. About one control in twenty has an interval without 1.",
    )


def _fourfold_table(values: FailuresResult) -> Table:
    others = {name: pair for name, pair in values.pairs.items() if name != "reference"}
    rows = [(METHOD_NAMES[name], table) for name, pair in others.items() for table in pair.tables]
    cells = ("both fail", "network only", "other only", "neither")
    return table_of(
        "The 2x2 tables",
        rows,
        [
            ("other method", lambda row: row[0]),
            ("K", lambda row: str(row[1].K)),
            *((name, lambda row, i=i: str(row[1].counts[i])) for i, name in enumerate(cells)),
            ("phi", lambda row: number(row[1].phi, 2)),
            ("odds ratio", lambda row: _odds(row[1].odds)),
            ("Fisher p", lambda row: number(row[1].p, 2)),
            ("control: phi", lambda row: number(row[1].shuffled.phi, 2)),
            ("control: odds ratio", lambda row: _odds(row[1].shuffled.odds)),
        ],
        "Odds ratio: conditional estimate with its exact 95 % interval; an upper limit that is a dash "
        "has none. A dash for all: nobody, or everybody, fails. Controls: the network's failures on "
        f"the next task. p and intervals are of each line alone, not corrected for the {len(rows)} "
        "lines: no finding rests on one of them.",
    )


def _odds(found: Interval) -> str:
    value, low, high = found
    if not math.isfinite(value) and not math.isfinite(low):
        return "-"
    return f"{number(value)} ({number(low)} to {number(high)})"


def _area_table(values: FailuresResult) -> Table:
    def area(name: str) -> Callable[[tuple[str, dict[str, Area]]], str]:
        return lambda row: interval(row[1][name].area) if name in row[1] else "-"

    methods = dict.fromkeys(m for found in values.areas.values() for m in found)
    return table_of(
        "Which tasks are failed: area under the curve, K fixed",
        values.areas.items(),
        [
            ("hardness of a task", lambda row: SCORE_NAMES[row[0]]),
            ("p of the network's", lambda row: number(row[1]["network"].network_p, 2)),
            *((METHOD_NAMES[name], area(name)) for name in methods),
            ("control: network, another task's hardness", lambda row: interval(row[1]["network"].shuffled)),
            ("its p", lambda row: significant(row[1]["network"].p_of_control, 2)),
        ],
        "The chance that a failed task is the harder of a failed and a solved one; 0.5: the property "
        "says nothing. Where a method fails everything (the untrained network) or nothing, there is "
        "no area. Intervals are 95 % for each cell alone, not corrected for the number of cells; p is "
        "two-sided, by permuting failures within K, and "
        f"among {len(values.areas)} lines one counts that is at most {LEVEL} / {len(values.areas)}.",
    )


def _kind_table(kinds: Kinds) -> Table:
    def share(kind: str) -> Callable[[tuple[str, dict[str, int], int]], str]:
        return lambda row: f"{row[1][kind]} ({100 * row[1][kind] / row[2]:.0f} %)" if row[2] else "-"

    repaired = kinds.repaired
    return table_of(
        "Of what kind the failures are",
        [(name, counts, sum(counts.values())) for name, counts in kinds.counts.items()],
        [
            ("of", lambda row: METHOD_NAMES[row[0]]),
            ("failures", lambda row: str(row[2])),
            *((KIND_NAMES[kind], share(kind)) for kind in KINDS),
            ("solved by EM run from there", lambda row: percent(repaired.get(row[0], math.nan))),
        ],
        "The first kind that applies, left to right. Two means on one cluster is what a bad optimum "
        "of EM looks like: the fits of EM that fail show it, and the untrained network shows what no "
        "estimate at all looks like.",
    )
