"""The rule of the family that is nearest to given answers, or to the truth, by least squares.

    residuals of a task   (mu_hat_k - mu_k) / sqrt(K d),  (pi_hat_k - pi_k) / sqrt(K)

Their squares add up to the paper's error, so a fit to the truth minimises that error itself. For the truth,
components are put in the best order first, at each evaluation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial

import numpy as np
import torch
from scipy.optimize import least_squares
from torch import Tensor

from baselines.align import align
from baselines.mixture import Mixture
from constructions.language.shown import short_repr
from training.comparison.rule.update_rule import EM, UpdateRule

NUMBERS = tuple(one.name for one in fields(UpdateRule))
FIRST_FLOORS = (1e-3, 0.2)
"""Fits start at EM with the construction's floor and with a high one, and the lower end is kept: the sum of
squares has more than one valley. The fit moves the logarithm of the floor."""
LOG_FLOORS = (-12.0, -1e-3)
MOST_EVALUATIONS = 60
TOLERANCE = 1e-4
"""Relative change of the numbers, and of the sum of squares, at which a fit stops."""
SCALE = 0.3
"""By how much a number typically moves."""


@dataclass(frozen=True, eq=False)
class Cases:
    """T tasks: points (T, N, d), starts, and the steps that a rule takes."""

    X: Tensor
    start: Mixture
    steps: int

    __repr__ = short_repr

    def answers(self, rule: UpdateRule) -> Mixture:
        """After the last step."""
        return rule.path(self.X, self.start, self.steps)[-1]


def differences(one: Mixture, other: Mixture) -> Tensor:
    """(T, K (d + 1)) residuals of mixtures in the same order."""
    K, d = one.means.shape[-2:]
    means = (one.means - other.means) / (K * d) ** 0.5
    return torch.cat([means.flatten(1), (one.weights - other.weights) / K**0.5], dim=1)


def fit_to_answers(cases: Cases, answers: Mixture, free: Sequence[str] = NUMBERS) -> UpdateRule:
    """The rule nearest to `answers`, in the order of the starts; numbers that are not `free` are EM's.

    Raises ValueError for a name that is no number of a rule.
    """
    return _fit(cases, partial(differences, answers), free)


def fit_to_truth(cases: Cases, truth: Mixture, free: Sequence[str] = NUMBERS) -> UpdateRule:
    """The rule of the least mean error to `truth`.

    Raises ValueError for a name that is no number of a rule.
    """

    def residuals(found: Mixture) -> Tensor:
        return differences(align(found, truth)[0], truth)

    return _fit(cases, residuals, free)


def _fit(cases: Cases, residuals: Callable[[Mixture], Tensor], free: Sequence[str]) -> UpdateRule:
    if unknown := set(free) - set(NUMBERS):
        raise ValueError(f"free has {min(unknown)!r}, needs names among {', '.join(NUMBERS)}")

    def rule_at(values: np.ndarray) -> UpdateRule:
        given = dict(zip(free, map(float, values), strict=True))
        if "floor" in given:
            given["floor"] = math.exp(given["floor"])
        return replace(EM, **given)

    def flat(values: np.ndarray) -> np.ndarray:
        return residuals(cases.answers(rule_at(values))).flatten().numpy()

    bounds = [LOG_FLOORS if name == "floor" else (-np.inf, np.inf) for name in free]
    ends = []
    for floor in FIRST_FLOORS if "floor" in free else FIRST_FLOORS[:1]:
        start = [math.log(floor) if name == "floor" else getattr(EM, name) for name in free]
        ends.append(
            least_squares(
                flat,
                start,
                bounds=tuple(zip(*bounds, strict=True)),
                x_scale=SCALE,
                xtol=TOLERANCE,
                ftol=TOLERANCE,
                max_nfev=MOST_EVALUATIONS,
            )
        )
    return rule_at(min(ends, key=lambda end: end.cost).x)
