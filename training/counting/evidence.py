"""What the fits of K = 1..M components to N points tell of K.

L_K is the log-likelihood of the fit, p_K its free parameters, D_K = -sum_n log max_k w_kn, w the
responsibilities: 0 where every point is sure of its component. Of one data set, one after another:

    gain_K   sign(g) log(1 + |g|),  g = (L_K - L_{K-1}) / (p_K - p_{K-1}),     K = 2..M
    doubt_K  log(1 + D_K), and D_K / N                                         K = 1..M each
    BIC_K    above the least of them, and ICL_K likewise, both over 30 and at most 200/30
    ended_K  1 where EM converged, else 0
    size     log(N / 250)

Differences of L do not depend on the units of the points, but for what EM adds to covariances (reg_covar).
30 and 250 are of the size of what is met, so that all numbers are of size 1. A fit with an empty or a
singular component has the L, D and end of the fit before it: it says nothing new.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from baselines.choosing.selection import Selection

UNIT, MOST, SIZE = 30.0, 200.0, 250.0


def n_numbers(n_counts: int) -> int:
    """Of a data set with fits of so many K."""
    return 6 * n_counts


def evidence(selections: Sequence[Selection], covariance_type: str) -> Tensor:
    """(B, n_numbers) in float64, of the fits of one covariance type.

    Raises ValueError where K does not run from 1 on, or the fit of one component failed.
    """
    return torch.stack([_of(selection, covariance_type) for selection in selections])


def _of(selection: Selection, covariance_type: str) -> Tensor:
    fits = sorted(
        (one for one in selection.candidates if one.covariance_type == covariance_type),
        key=lambda one: one.n_components,
    )
    counts = [one.n_components for one in fits]
    if counts != list(range(1, len(counts) + 1)) or not counts:
        raise ValueError(f"the fits are of K = {counts}, needs 1 to M without gaps")
    if fits[0].problem:
        raise ValueError(f"the fit of one component failed: {fits[0].problem}")
    rows: list[tuple[float, float, float]] = []
    for one in fits:
        doubt = (one.icl - one.bic) / 2
        rows.append(rows[-1] if one.problem else (one.log_likelihood, doubt, float(one.converged)))
    level, doubt, ended = torch.tensor(rows, dtype=torch.float64).T
    parameters = torch.tensor([one.n_parameters for one in fits], dtype=torch.float64)
    N = selection.shape[0]
    gain = level.diff() / parameters.diff()
    bic = -2 * level + parameters * math.log(N)
    icl = bic + 2 * doubt
    return torch.cat(
        [
            gain.sign() * gain.abs().log1p(),
            doubt.log1p(),
            doubt / N,
            *((value - value.min()).clamp(max=MOST) / UNIT for value in (bic, icl)),
            ended,
            torch.tensor([math.log(N / SIZE)], dtype=torch.float64),
        ]
    )
