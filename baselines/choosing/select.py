"""Which K and which covariances: every candidate fitted, the one of the least criterion kept.

    BIC  -2 L + p log N     ICL  BIC - 2 sum_n log max_k w_kn     AIC  -2 L + 2 p
    CV   -2 sum of log p over points held out, each fold by the fit to the others

L is the log-likelihood, p the number of free parameters, w the responsibilities. Lower is better, as in
scikit-learn; mclust prints BIC and ICL with the other sign.
Source: Schwarz 1978; Fraley and Raftery 2002; Biernacki, Celeux and Govaert 2000; Smyth 2000 for CV.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state

from baselines.choosing.candidates import CandidateFits, Settings, fit_candidate
from baselines.choosing.held_out import held_out
from baselines.choosing.packing import pack
from baselines.choosing.selection import (
    Candidate,
    Selection,
    Selections,
    as_estimator,
    check_criterion,
    ranked,
)
from baselines.em import Status
from baselines.em_estimator import EMMixture
from baselines.estimator_sets import Array, as_amount, as_count, check_enough, check_sets, feature_names
from baselines.families.names import FAMILIES, Family, family_of, n_free_variances

ALL_FAMILIES = tuple(family.mclust for family in FAMILIES if family.mclust)

Fits = Mapping[tuple[str, int], CandidateFits]


def select(
    X: ArrayLike,
    n_components: Iterable[int] = range(1, 10),
    covariance_types: str | Iterable[str] = ALL_FAMILIES,
    criterion: str = "bic",
    **settings: Any,
) -> Selection:
    """The best number of components and covariances for X (N, d), with the table of all candidates.

    n_components      the K to try, each at most N.
    covariance_types  the families to try, by any of their names (baselines.families.names); all of mclust's
                      that are here unless given, which is all but EVE and VVE.
    criterion         "bic", "icl", "aic" or "cv".
    settings          as in `select_many`.

    ValueError for bad input. A ConvergenceWarning where the candidate chosen did not converge.
    """
    if not hasattr(X, "shape"):
        X = np.asarray(X, dtype=np.float64)
    return select_many([X], n_components, covariance_types, criterion, **settings)[0]


def select_many(
    X: ArrayLike | Sequence[ArrayLike],
    n_components: Iterable[int] = range(1, 10),
    covariance_types: str | Iterable[str] = ALL_FAMILIES,
    criterion: str = "bic",
    *,
    n_init: int = 1,
    max_iter: int = 100,
    tol: float = 1e-3,
    reg_covar: float = 1e-6,
    n_folds: int = 5,
    random_state: Any = None,
) -> Selections:
    """`select` for B data sets, X (B, N, d) or a sequence of arrays (N_b, d): each candidate for all at once.

    n_init            starts of each fit: the groups of Ward's tree, then those of k-means; the likeliest fit
                      is kept. With 1 nothing is drawn, and the result does not depend on random_state.
    max_iter, tol, reg_covar  of each fit, as in EMMixture. tol is the rise of the log-likelihood per point at
                      which EM ends; what it leaves of L can decide between candidates that are close, and
                      published digits need 1e-8.
    n_folds           for "cv": the points are shuffled and dealt into so many parts.
    random_state      None, an integer or a numpy RandomState.

    Data sets need at least max(n_components) points (with "cv": in each training part).
    """
    check_criterion(criterion)
    families = _families(covariance_types)
    counts = _counts(n_components)
    used = Settings(
        as_count("n_init", n_init),
        as_count("max_iter", max_iter),
        as_amount("tol", tol),
        as_amount("reg_covar", reg_covar),
    )
    sets = list(check_sets(X, 1))
    for place, points in enumerate(sets):
        check_enough(f"X[{place}]", len(points), max(counts))
    seed = check_random_state(random_state).randint(np.iinfo(np.int32).max)
    generator = torch.Generator().manual_seed(int(seed))
    blocks = pack(sets, counts)
    fits = {
        (family.name, K): fit_candidate(blocks, K, family, used, generator)
        for family in families
        for K in counts
    }
    outside = None
    if criterion == "cv":
        folds = as_count("n_folds", n_folds)
        outside = held_out(sets, counts, families, used, folds, generator)
    names = feature_names(X) or [None] * len(sets)
    model = {"n_init": n_init, "max_iter": max_iter, "tol": tol, "reg_covar": reg_covar}
    model["random_state"] = random_state
    found = [_selection(place, points, criterion, fits, outside, model) for place, points in enumerate(sets)]
    for selection, columns in zip(found, names, strict=True):
        if columns is not None:
            selection.estimator.feature_names_in_ = columns
    _warn(found)
    return Selections(found)


def _families(covariance_types: str | Iterable[str]) -> list[Family]:
    given = [covariance_types] if isinstance(covariance_types, str) else list(covariance_types)
    if not given:
        raise ValueError("covariance_types is empty, needs at least one name")
    return list({family.name: family for family in map(family_of, given)}.values())


def _counts(n_components: Iterable[int]) -> list[int]:
    given = list(n_components) if isinstance(n_components, Iterable) else [n_components]
    if not given:
        raise ValueError("n_components is empty, needs at least one integer")
    return sorted({as_count("n_components", K) for K in given})


def _selection(
    place: int,
    X: Array,
    criterion: str,
    fits: Fits,
    outside: Mapping[tuple[str, int], Any] | None,
    model: Any,
) -> Selection:
    candidates = tuple(
        _candidate(fit, place, X.shape, None if outside is None else float(outside[key][place]))
        for key, fit in fits.items()
    )
    best = ranked(candidates, criterion)[0]
    estimator = as_estimator(fits[best.covariance_type, best.n_components], place, model)
    return Selection(criterion, candidates, estimator, X.shape, dict(fits), place, model)


def _candidate(fits: CandidateFits, place: int, shape: tuple[int, ...], cv: float | None) -> Candidate:
    (N, d), K, family = shape, fits.mixture.n_components, fits.family
    level = N * float(fits.log_likelihood[place])
    p = K - 1 + K * d + n_free_variances(family.name, K, d)
    bic = -2 * level + p * math.log(N)
    status = Status(int(fits.status[place]))
    problem = ""
    if status > Status.MAX_ITER:
        problem = EMMixture()._problem(status, int(fits.component[place]))
    return Candidate(
        covariance_type=family.name,
        mclust=family.mclust,
        n_components=K,
        log_likelihood=level,
        n_parameters=p,
        bic=bic,
        icl=bic - 2 * N * float(fits.log_certainty[place]),
        aic=-2 * level + 2 * p,
        cv=cv,
        converged=status == Status.CONVERGED,
        problem=problem,
    )


def _warn(found: Sequence[Selection]) -> None:
    places = [place for place, selection in enumerate(found) if not selection.best.converged]
    if places:
        best = found[places[0]].best
        reason = best.problem or "it still rose after max_iter steps; raise max_iter or tol"
        warnings.warn(
            f"what was chosen did not converge on {len(places)} of {len(found)} data sets; X[{places[0]}], "
            f"{best.covariance_type}, K = {best.n_components}: {reason}",
            ConvergenceWarning,
            stacklevel=3,
        )
