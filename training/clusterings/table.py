"""The figures as cells of tables, and what they say of the mixture: wins, loses, even."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from console.output import significant
from training.clusterings.contenders import Contender
from training.clusterings.data_sets import DataSet, Source
from training.clusterings.measure import Row, mean, standard_error

HEADER = ("contender", "ARI", "s.e.", "NMI", "groups", "left out", "log-lik", "unseen", "CPU s", "remark")
VERDICT_HEADER = ("data", "EM, full", "best other", "ARI", "difference", "s.e.", "the mixture")
LEGEND = (
    "ARI: adjusted Rand index with the groups that points were drawn from, or with the classes, mean over "
    "draws (of real data over seeds), with its standard error (of real data: the spread of the seeds "
    "alone). NMI: normalised mutual information. groups: how many were found, mean. left out: share of "
    "points without a group; together they count as one. log-lik: per point of the points fitted, unseen: "
    "of as many others of the same law; natural log; a lower bound where it says >=, so that a lower number "
    "proves nothing. With many columns the likelihood of the points fitted says more of the number of "
    "parameters than of the fit. CPU s: processor time a fit, median. The table of wins: EM of full "
    "covariances less the best of those that are no mixtures, draw by draw; wins or loses where that is "
    "further from 0 than two standard errors. The best of many is picked after the fact, which favours it. "
    "Of real data there is one set each, so no standard error of the data: ahead or behind. Untuned "
    "defaults are unfair to some: HDBSCAN and mean shift are not told K; at least 5 points a group splits "
    "large data into many groups, at least 5 % joins or drops small ones; BIRCH's threshold depends on "
    "units; networks train on hundreds of points, their papers on tens of thousands."
)
EM = "em"


def title(source: Source, data: Sequence[DataSet]) -> str:
    """As in "moons: N = 500, d = 2, K = 2, 5 draws"."""
    counts = [_range([len(one.X) for one in data]), str(data[0].X.shape[1])]
    counts.append(_range([one.n_groups for one in data]))
    sizes = ", ".join(f"{name} = {value}" for name, value in zip("NdK", counts, strict=True))
    many = counted(len(data), "draw" if source.random else "seed")
    return f"{source.name}: {sizes}, {many}"


def counted(number: int, thing: str) -> str:
    """As in "1 draw" and "5 draws"."""
    return f"{number} {thing}{'s' if number > 1 else ''}"


def _range(values: Sequence[int]) -> str:
    low, high = min(values), max(values)
    return str(low) if low == high else f"{low} to {high}"


def cells_of(row: Row, contender: Contender) -> list[str]:
    """Of HEADER."""
    if row.problem:
        return [contender.title, *"-" * 8, row.problem]
    levels = [_level(value, contender.bound) for value in (row.log_likelihood, row.unseen)]
    left = "-" if not row.left_out else f"{row.left_out:.3f}"
    groups = f"{np.mean(row.n_groups):.1f}".removesuffix(".0")
    remark = "chooses K" if contender.chooses else ""
    ari = [_decimal(mean(row.ari)), _decimal(standard_error(row.ari)), _decimal(mean(row.nmi))]
    return [contender.title, *ari, groups, left, *levels, significant(row.cpu_seconds), remark]


def _decimal(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}".replace("-0.000", "0.000")


def _level(value: float | None, bound: bool) -> str:
    return "-" if value is None else f"{'>= ' if bound else ''}{value:.3f}"


def verdicts(
    rows: Sequence[Row], laws: Mapping[str, Source], everyone: Mapping[str, Contender]
) -> list[list[str]]:
    """Of VERDICT_HEADER, a row for each data set on which EM and something else was measured."""
    found = []
    for name, law in laws.items():
        here = {row.contender: row for row in rows if row.source == name and row.ari}
        others = {key: np.mean(row.ari) for key, row in here.items() if not everyone[key].mixture}
        if EM not in here or not others:
            continue
        best = max(others, key=lambda key: others[key])
        mine, its = here[EM].ari, here[best].ari
        difference, error = float(np.mean(mine) - np.mean(its)), None
        if law.random:
            error = standard_error([a - b for a, b in zip(mine, its, strict=True)])
        figures = [_decimal(mean(its)), f"{difference:+.3f}", _decimal(error)]
        verdict = said(difference, error, law.random)
        found.append([name, _decimal(mean(mine)), everyone[best].title, *figures, verdict])
    return found


def said(difference: float, error: float | None, random: bool) -> str:
    """What a difference shows."""
    if not random:
        return "ahead" if difference > 0 else "behind" if difference < 0 else "even"
    if error is None:
        return "one draw"
    if abs(difference) <= 2 * error:
        return "not told apart"
    return "wins" if difference > 0 else "loses"
