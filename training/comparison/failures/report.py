"""The section of `failures`: who fails, together with whom, where and how, from its numbers alone."""

from __future__ import annotations

import math

from console.output import significant
from training.comparison.common.parts import Section, Table
from training.comparison.common.phrases import interval, listed, number, percent
from training.comparison.common.task_statistics import Interval
from training.comparison.failures.areas import Area
from training.comparison.failures.figures import METHOD_NAMES, SCORE_NAMES, pictures
from training.comparison.failures.kinds import KIND_NAMES, KINDS
from training.comparison.failures.measure import FailuresResult, StratumResult

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
    tables += [_area_table(values), _kind_table(values)]
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
    parts = []
    if more:
        parts.append(f"it fails more often where these fail: {listed(more)}")
    if less:
        parts.append(f"less often where these fail: {listed(less)}")
    if weak:
        parts.append(
            f"apart from none taken alone, but not with {len(values.pairs) - 1} methods compared "
            f"(which asks for p below {strict:.2g}): {listed(weak)}"
        )
    if open_:
        parts.append(f"no association can be told from none with {listed(open_)}")
    if unknown:
        parts.append(f"there are too few failures to say with {listed(unknown)}")
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
    names = list(dict.fromkeys(name for s in values.strata for name in s.shares))
    rows = [
        [
            s.title,
            str(s.tasks),
            *(percent(s.shares[n]) if n in s.shares else "impossible" for n in names),
        ]
        for s in values.strata
    ]
    return Table(
        "Share of failed tasks",
        ["tasks of", "number", *(METHOD_NAMES[name] for name in names)],
        rows,
        "95 % intervals (Wilson). The control, an untrained network, has the first "
        f"{values.control_tasks} tasks at most.",
    )


def _pair_table(values: FailuresResult) -> Table:
    rows = []
    for name, pair in values.pairs.items():
        control = pair.shuffled
        rows.append(
            [
                METHOD_NAMES[name],
                interval(pair.odds),
                number(pair.p, 2),
                interval(control.odds),
                number(control.p, 2),
            ]
        )
    return Table(
        "Does the network fail where others fail? All K together, K fixed",
        [
            "other method",
            "odds ratio (Mantel-Haenszel)",
            "permutation p",
            "control: another task's failure",
            "its p",
        ],
        rows,
        "Odds ratio 1: unrelated. The last line is not about the network: two runs of EM from different "
        "random starts, for scale. Intervals and p are of each line alone; the finding asks for p below "
        f"{LEVEL} / {len(rows) - 1}. About one control in twenty has an interval without 1.",
    )


def _fourfold_table(values: FailuresResult) -> Table:
    rows = []
    for name, pair in values.pairs.items():
        if name == "reference":
            continue
        for table in pair.tables:
            rows.append(
                [
                    METHOD_NAMES[name],
                    str(table.K),
                    *(str(count) for count in table.counts),
                    number(table.phi, 2),
                    _odds(table.odds),
                    number(table.p, 2),
                    number(table.shuffled.phi, 2),
                    _odds(table.shuffled.odds),
                ]
            )
    return Table(
        "The 2x2 tables",
        [
            "other method",
            "K",
            "both fail",
            "network only",
            "other only",
            "neither",
            "phi",
            "odds ratio",
            "Fisher p",
            "control: phi",
            "control: odds ratio",
        ],
        rows,
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
    methods = list(dict.fromkeys(m for found in values.areas.values() for m in found))
    rows = [
        [
            SCORE_NAMES[score],
            number(found["network"].network_p, 2),
            *(interval(found[m].area) if m in found else "-" for m in methods),
            interval(found["network"].shuffled),
            significant(found["network"].p_of_control, 2),
        ]
        for score, found in values.areas.items()
    ]
    return Table(
        "Which tasks are failed: area under the curve, K fixed",
        [
            "hardness of a task",
            "p of the network's",
            *(METHOD_NAMES[m] for m in methods),
            "control: network, another task's hardness",
            "its p",
        ],
        rows,
        "The chance that a failed task is the harder of a failed and a solved one; 0.5: the property "
        "says nothing. Where a method fails everything (the untrained network) or nothing, there is "
        "no area. Intervals are 95 % for each cell alone, not corrected for the number of cells; p is "
        "two-sided, by permuting failures within K, and "
        f"among {len(rows)} lines one counts that is at most {LEVEL} / {len(rows)}.",
    )


def _kind_table(values: FailuresResult) -> Table:
    rows = []
    for name, counts in values.kinds.counts.items():
        total = sum(counts.values())
        repaired = values.kinds.repaired.get(name)
        rows.append(
            [
                METHOD_NAMES[name],
                str(total),
                *(f"{counts[k]} ({100 * counts[k] / total:.0f} %)" if total else "-" for k in KINDS),
                percent(repaired) if repaired else "-",
            ]
        )
    return Table(
        "Of what kind the failures are",
        ["of", "failures", *(KIND_NAMES[k] for k in KINDS), "solved by EM run from there"],
        rows,
        "The first kind that applies, left to right. Two means on one cluster is what a bad optimum "
        "of EM looks like: the fits of EM that fail show it, and the untrained network shows what no "
        "estimate at all looks like.",
    )
