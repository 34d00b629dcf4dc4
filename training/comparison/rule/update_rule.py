"""A family of update rules that has EM in it, in closed form, nine numbers a rule.

    r_ik ~ exp(fit <x_i, mu_k> - norm |mu_k|^2 / 2 + weight log pi_k),   sum_k r_ik = 1
    w_ik = max(r_ik, floor)^sharpness
    mu_k <- average sum_i w_ik x_i / sum_i w_ik + old mu_k + centre mean_i x_i
    pi_k <- mean_i r_ik
    answer: mu, and weights ~ pi^answer

EM of unit covariances is fit = norm = weight = sharpness = average = answer = 1, floor = old = centre = 0.
fit < 1 softens responsibilities; weight < 0 takes points from components that had many; floor and sharpness
decide how much a component is moved by points that are not its own; average + old = 1 with old < 0 is
over-relaxation; average + old + centre < 1 shrinks towards the origin, which is the prior's mean here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from baselines.mixture import Mixture


@dataclass(frozen=True)
class UpdateRule:
    """One rule of the family.

    Raises ValueError for a number that is not finite, or a floor outside [0, 1).
    """

    fit: float = 1.0
    norm: float = 1.0
    weight: float = 1.0
    floor: float = 0.0
    sharpness: float = 1.0
    average: float = 1.0
    old: float = 0.0
    centre: float = 0.0
    answer: float = 1.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not math.isfinite(value):
                raise ValueError(f"{name} is {value}, needs a finite number")
        if not 0 <= self.floor < 1:
            raise ValueError(f"floor is {self.floor}, needs 0 <= floor < 1")

    def log_responsibilities(self, X: Tensor, log_weights: Tensor, means: Tensor) -> Tensor:
        """log r (..., N, K) of points (..., N, d), log pi (..., K) and means (..., K, d)."""
        of_component = self.weight * log_weights - self.norm * means.square().sum(-1) / 2
        return (self.fit * X @ means.mT + of_component[..., None, :]).log_softmax(-1)

    def step(self, X: Tensor, log_weights: Tensor, means: Tensor) -> tuple[Tensor, Tensor]:
        """log pi (..., K) and means (..., K, d) after one step."""
        log_r = self.log_responsibilities(X, log_weights, means)
        lowest = math.log(self.floor) if self.floor > 0 else -math.inf
        shares = (self.sharpness * log_r.clamp(min=lowest)).softmax(-2)
        moved = self.average * (shares.mT @ X) + self.old * means
        return log_r.logsumexp(-2) - math.log(X.shape[-2]), moved + self.centre * X.mean(-2, keepdim=True)

    def path(self, X: Tensor, start: Mixture, steps: int) -> list[Mixture]:
        """The answers after 1, 2, ... steps from a start (...) of positive weights, for X (..., N, d)."""
        log_weights, means = start.weights.log(), start.means
        found = []
        for _ in range(steps):
            log_weights, means = self.step(X, log_weights, means)
            found.append(Mixture((self.answer * log_weights).softmax(-1), means))
        return found


EM = UpdateRule()
"""Exactly EM."""
