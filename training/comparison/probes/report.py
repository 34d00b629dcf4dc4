"""The section of the part "probes", from its JSON values alone."""

from __future__ import annotations

import math
from collections.abc import Callable

from console.sections import Section
from training.comparison.probes.figures import BUILT_PATHS, NETWORKS, about, map_of, pictures, starts_of
from training.comparison.probes.measure import ProbesResult
from training.comparison.probes.tables import grows, lens_table, pairs, r2_table, trend_table
from training.comparison.probes.targets import LINE
from training.comparison.probes.trend import FEWEST, LEAST, Statistic, Trend

STATISTICS: tuple[Callable[[Trend], Statistic], ...] = (lambda t: t.spearman, lambda t: t.newest_spearman)
"""Growth of the iterate that is held best, and of the one that is added most."""


def render(results: ProbesResult) -> Section:
    """Findings computed from the numbers, three tables, the pictures."""
    paragraphs = [
        growth_finding(results),
        _arrival(results),
        _worth(results),
        _control(results),
        _limits(results),
    ]
    tables = [trend_table(results), r2_table(results)]
    if results.lenses:
        tables.append(lens_table(results))
    return Section([p for p in paragraphs if p], tables, pictures(results))


def _count(
    results: ProbesResult, statistic: Callable[[Trend], Statistic], line: bool = False
) -> tuple[int, int]:
    """In how many maps it grows, and of how many that can be said; of the straight line, or of EM."""
    chosen = [pair for pair in pairs(results) if (pair[0].start == LINE) == line]
    verdicts = [grows(*(statistic(row.trend) for row in pair)) for pair in chosen]
    return sum(v is True for v in verdicts), sum(v is not None for v in verdicts)


def growth_finding(results: ProbesResult) -> str:
    """Whether the network looks like an unrolled EM, with the counts that say so."""
    (best, told), (newest, told_newest) = (_count(results, s) for s in STATISTICS)
    total = sum(row.start != LINE for row, _ in pairs(results))
    built = [row for row in results.handbuilt.maps if row.path == BUILT_PATHS[0]]
    sure = sum(row.trend.spearman.low > 0 for row in built)
    return (
        f"Is the network an unrolled EM? {_verdict(results)} The EM iterate that the stream explains best "
        f"grows with the layer in {best} of the {told} maps (one K, target and start) where at least "
        f"{FEWEST} layers explain {LEAST:.0%} of some iterate ({total - told} more maps have fewer such "
        f"layers); the iterate of which a layer adds most grows in {newest} of {told_newest}. Growth is "
        "counted only where the 95 % interval of the rank correlation is above 0 and above the untrained "
        "network's value; about one map in forty may pass by chance. Positive control: the same probe finds "
        f"growth in {sure} of {len(built)} maps of the hand-built EM.{_line(results)}"
    )


def _verdict(results: ProbesResult) -> str:
    (best, told), (newest, told_newest) = (_count(results, s) for s in STATISTICS)
    if told == 0:
        return "Too few layers hold any iterate of EM linearly to say."
    if 2 * best > told:
        return "In most maps the layers pass through EM's iterates in order, as an unrolled EM would."
    if best > _by_chance(told):
        return "Most maps show no unrolled EM; in some, later layers hold later iterates."
    if newest > _by_chance(told_newest):
        return (
            "Linear probes find no unrolled EM: the iterate that a layer holds best does not move on. What "
            "layers add does, to later iterates, in some maps, as in any stepwise refinement."
        )
    return "Linear probes find no unrolled EM in this network."


def _by_chance(maps: int) -> int:
    """Maps whose 95 % interval may lie above 0 for nothing: one in forty, rounded up."""
    return math.ceil(maps / 40)


def _line(results: ProbesResult) -> str:
    """How the same statistics come out on a path that is no EM."""
    (best, told), (newest, told_newest) = (_count(results, s, line=True) for s in STATISTICS)
    if told == 0:
        return ""
    found = (
        " On the straight line from the network's own estimate to where EM leads from there, which "
        f"is no EM, they grow in {best} of {told} and {newest} of {told_newest} maps"
    )
    return found + (": growth alone is no sign of EM." if best + newest else ".")


def _arrival(results: ProbesResult) -> str:
    K, start = results.settings.components[-1], starts_of(results)[0]
    parts = []
    for target in ("means", "log-responsibilities", "centres"):
        rows = [map_of(results, K, n, target, start) for n in NETWORKS]
        if rows[0] is None or rows[1] is None:
            continue
        first, last = (rows[0].r2[place][-1] for place in (0, -1))
        share, layer = rows[0].jump.share, rows[0].jump.layer
        jump = "no rise in any layer" if math.isnan(share) else f"{share:.0%} of all rises in layer {layer}"
        control = max(line[-1] for line in rows[1].r2)
        parts.append(
            f"{target}: R² {first:.2f} from the input, {last:.2f} after the last layer, "
            f"{jump} (untrained network at best {control:.2f})"
        )
    return f"Where the knowledge of EM's end from {start} arises, K = {K}. " + "; ".join(parts) + "."


def _worth(results: ProbesResult) -> str:
    found = [row for row in results.lenses if row.network == "learned"]
    if not found:
        return (
            "This network has no component tokens: means and weights have no place to be probed at, "
            "and there is no layer-wise estimate."
        )
    parts = []
    for row in found:
        steps = row.steps
        worth = ", ".join(str(t) for t in steps.nearest)
        control = ", ".join(str(t) for t in steps.control_nearest)
        limit = 2 * row.own_error
        sensible = [layer for layer, e in enumerate(row.logit_error) if e <= limit]
        parts.append(
            f"K = {row.K}: layers 1 to {len(steps.nearest)} are nearest to {worth} EM steps (on "
            f"the points of another task {control}); the network's own head first reads an estimate "
            f"within twice the final error after layer {sensible[0]} of {len(row.logit_error) - 1}"
        )
    return (
        "How many EM steps a layer is worth, by the estimate read from the stream before and after "
        "it (tuned lens). "
        + "; ".join(parts)
        + ". Where the nearest number is 0, the estimate moved less than, or "
        "elsewhere than, one EM step would move it. A tuned lens is a regression and shrinks what it "
        "is not sure of; EM does not, which speaks for 0 in early layers."
    )


def _control(results: ProbesResult) -> str:
    rows = [row for row in results.maps if row.start != LINE]
    shuffled, found = _values([row.shuffled for row in rows]), _values([row.r2 for row in rows])
    deviation = max(
        row.seed_deviation
        for row in rows
        if row.target != "log weights" and not math.isnan(row.seed_deviation)
    )
    failed = sum(row.failed for row in rows if row.network == "learned")
    return (
        f"Controls. On shuffled targets the probes reach R² from {min(shuffled):.3f} to "
        f"{max(shuffled):.3f}, on the real ones up to {max(found):.3f}: selectivity is what lies "
        f"between. The largest standard deviation of an R² between seeds is {deviation:.3f}. "
        f"{_matching(results)} Tasks in which EM lost a component, summed over the maps: {failed}."
    )


def _values(maps: list[list[list[float]]]) -> list[float]:
    return [value for rows in maps for line in rows for value in line if not math.isnan(value)]


def _matching(results: ProbesResult) -> str:
    """R^2 of the hand-built stream where its construction puts the iterates, for both paths."""
    parts = []
    for path in BUILT_PATHS:
        cells = []
        for row in results.handbuilt.maps:
            for step in range(results.handbuilt.steps):
                later = row.target == "means"  # E layers come first, with the iterate before the step
                if row.path == path:
                    cells.append(row.r2[2 * step + 1 + later][step + later])
        parts.append(f"{min(cells):.4f} to {max(cells):.4f} for {path}")
    return (
        "In the hand-built stream, R² at the layers and iterates where the construction puts them is "
        + " and ".join(parts)
        + " (the control)."
    )


def _limits(results: ProbesResult) -> str:
    return (
        f"What cannot be concluded. {about(results)} A probe that finds nothing shows that nothing is there "
        "linearly and at these tokens; another code would escape it, and so would another iteration than EM "
        "from these starts. A high R² for a late iterate is no sign of EM by itself: late iterates agree "
        "with the truth, which any good estimator knows. Iterates from random starts cannot be known to a "
        "network that does not know the start. The component order is the network's own at its output, which "
        "favours late layers; the posterior mean of a point's centre does not depend on it. The iterates of "
        "the untrained network are put in the order of its own output, and its own estimate is another "
        "start. Intervals hold for the tasks at hand with the probes as fitted."
    )
