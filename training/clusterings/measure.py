"""Figures of one contender on one source of data: agreement with the groups, likelihood, time."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from training.clusterings.contenders import Contender
from training.clusterings.data_sets import DataSet, Source


@dataclass(frozen=True)
class Row:
    """One contender on every draw of a source, or with every seed on the one data set that it is.

    Attributes:
        ari, nmi: of each fit, in order; adjusted Rand index, and mutual information over the mean of the
            two entropies. Points that are left out (-1) count as one more group.
        n_groups: found, of each fit, without those left out. left_out: mean share of them.
        log_likelihood, unseen: per point, mean over fits, of the points fitted and of as many unseen ones;
            None where the contender has no density, or there are no unseen points.
        cpu_seconds: a fit with its labels, of all threads, the median: a first one may load what it needs.
        problem: why there are no figures, empty where there are.
        labels: of the first fit.
    """

    source: str
    contender: str
    ari: Sequence[float] = ()
    nmi: Sequence[float] = ()
    n_groups: Sequence[int] = ()
    left_out: float | None = None
    log_likelihood: float | None = None
    unseen: float | None = None
    cpu_seconds: float | None = None
    problem: str = ""
    labels: Sequence[int] = ()


def draws(source: Source, repeats: int, starts: int, seed: int) -> list[DataSet]:
    """`repeats` draws where they differ, else the one data set `starts` times."""
    if source.random:
        return [source.draw(place, seed) for place in range(repeats)]
    return [source.draw(0, seed)] * starts


def measure(source: Source, contender: Contender, data: Sequence[DataSet], seed: int) -> Row:
    """Fit each; a data set that is the same every time once if the seed changes nothing.

    A contender that cannot be fitted to one of them has no figures: means over other sets could not be
    compared.
    """
    fits = data if source.random or contender.seeded else data[:1]
    groupings, seconds = [], []
    for place, one in enumerate(fits):
        began = time.process_time()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # what has not converged counts as it is
                groupings.append(contender.group(one, seed + place))
        except ValueError as problem:
            return Row(source.name, contender.name, problem=" ".join(str(problem).split()))
        seconds.append(time.process_time() - began)
    pairs = list(zip(fits, groupings, strict=True))
    return Row(
        source.name,
        contender.name,
        [float(adjusted_rand_score(one.groups, found.labels)) for one, found in pairs],
        [float(normalized_mutual_info_score(one.groups, found.labels)) for one, found in pairs],
        [len(set(found.labels.tolist()) - {-1}) for _, found in pairs],
        float(np.mean([np.mean(found.labels == -1) for _, found in pairs])),
        mean([None if found.level is None else found.level(one.X) for one, found in pairs]),
        mean(
            [
                None if found.level is None or one.unseen is None else found.level(one.unseen)
                for one, found in pairs
            ]
        ),
        float(np.median(seconds)),
        "",
        groupings[0].labels.tolist(),
    )


def mean(values: Sequence[float | None]) -> float | None:
    """None where one of them is None, or there are none."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known and len(known) == len(values) else None


def standard_error(values: Sequence[float]) -> float | None:
    """Of the mean; None of fewer than two."""
    return float(np.std(values, ddof=1) / math.sqrt(len(values))) if len(values) > 1 else None
