"""How far L constructed EM steps can be from L steps of EM: one-step errors carried by Lipschitz factors.

The constructed path is an EM path disturbed by at most b_t at each step, so with r_0 = 0

    r_{t+1} = b_t + Lip_t r_t

bounds its distance from the EM path, where Lip_t bounds the derivative of the EM map on the ball of radius
r_t around the constructed state (lemma 7). Distances are measured, state by state, in

    |(da, dmu)|_t^2 = sum_k p_k (da_k^2 + |dmu_k|^2),     a = log pi,  p = the constructed weights at t,

the complete-data information of the mixture: at a fixed point the EM map is a contraction in this norm
wherever the likelihood has a maximum, while in a plain norm its factor can exceed 1 there.

What is claimed of a component is its own one-step bound and what the rows of the derivative that give it
carry on (:meth:`constructions.em.derivative.Derivative.carried`), p' the weights that the step leads to:

    |mu_hat_k - mu_k|  <=  beta_k + c_k / sqrt(p'_k),
    |pi_hat_k - pi_k|  <=  beta'_k + pi_k (exp(c'_k / sqrt(p'_k)) - 1),     pi_k of the exact step

so a small component's share of the whole radius is not what bounds it: after one step nothing is carried.

Everything grows with the one-step bounds; with those without rounding in their place, the same recursion
and the same derivatives give the share of approximation, and the rest is rounding.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from constructions.em.bounds import one_step_bound
from constructions.em.constructed import ConstructedEM
from constructions.em.covariance_path import CovariancePath, Off, covariance_path
from constructions.em.covariance_step import CovarianceEM
from constructions.em.derivative import Derivative, derivative
from constructions.em.step_bound import StepBound
from constructions.em.step_rounding import StepData
from constructions.language.rounding import above
from constructions.language.shown import short_repr


@dataclass(frozen=True, eq=False)
class PathBound:
    """Bounds along a path of L steps of B tasks.

    Attributes:
        steps: the one-step bounds, from the constructed state before each step.
        radius: (B, L + 1) ``r_t`` in the norm above. approximation: (B, L + 1) its share ``r^A_t``. These and
            the factors are NaN of kinds with covariances, where every parameter is bounded by itself.
        lipschitz: (B, L) the factors ``Lip_t`` used; 0 at the first step, where nothing is carried yet.
        mean, weight: (B, L, K) bounds after each step on ``|mu_hat_k - mu_k|_2`` and ``|pi_hat_k - pi_k|``
            against the EM path from the same start; inf where nothing is claimed.
        mean_approximation, weight_approximation: (B, L, K) the same of the one-step bounds without rounding:
            the rest of each bound is rounding.
        holds: (B, L) whether the hypothesis holds up to that step: every weight stays above the floor, no
            component is undefined, and the enclosure on the ball is finite; of kinds with covariances
            (constructions.em.covariance_path) also all eigenvalues are within the range.
        covariance, covariance_approximation: (B, L, K), or (B, L, 1) where they are tied, of the Frobenius
            norm of ``S_hat_k - S_k``; None of unit covariances.
    """

    steps: list[StepBound]
    radius: Tensor
    approximation: Tensor
    lipschitz: Tensor
    mean: Tensor
    weight: Tensor
    mean_approximation: Tensor
    weight_approximation: Tensor
    holds: Tensor
    covariance: Tensor | None = None
    covariance_approximation: Tensor | None = None

    __repr__ = short_repr


def path_bound(
    em: ConstructedEM,
    X: Tensor,
    token_mask: Tensor,
    path_weights: Tensor,
    path_means: Tensor,
    component_mask: Tensor,
    n_features: Tensor,
    dtype: torch.dtype = torch.float64,
    refreshed: bool = False,
    start: Tensor | None = None,
    path_covariances: Tensor | None = None,
) -> PathBound:
    """Bound a constructed path, step by step.

    Args:
        em: the construction.
        X: (B, N, d) points, padded. token_mask: (B, N).
        path_weights, path_means: (B, L + 1, K), (B, L + 1, K, d) the constructed path.
        component_mask: (B, K). n_features: (B,).
        dtype: in which the layers ran.
        refreshed: whether the run was started with ``refreshed=True``.
        start: (B,) ``r_0``, how far the two paths are apart at their start, all of it rounding; 0 unless
            given.
        path_covariances: (B, L + 1, ...) of kinds with covariances.
    """
    if isinstance(em, CovarianceEM):
        if path_covariances is None:
            raise ValueError(f"{em.construction.name}: the covariances of the path are needed, got none")
        path = path_weights, path_means, path_covariances
        found = covariance_path(em, X, token_mask, path, component_mask, n_features, dtype, refreshed)
        return _with_covariances(found, em.covariance_type.startswith("tied"))
    X, path_weights, path_means = (v.to(torch.float64) for v in (X, path_weights, path_means))
    nothing = X.new_zeros(len(X))
    whole = [_Apart.at_the_start(nothing if start is None else start, path_weights[:, 0], component_mask)]
    exact = [_Apart.at_the_start(nothing, path_weights[:, 0], component_mask)]
    steps, factors, holds = [], [], []
    alive = torch.ones(len(X), dtype=torch.bool, device=X.device)
    for t in range(path_weights.shape[1] - 1):
        now, then = path_weights[:, t], path_weights[:, t + 1]
        data = StepData(X, token_mask, now, path_means[:, t], component_mask, n_features, refreshed or t > 0)
        bound = one_step_bound(em, data, dtype)
        carrying = t > 0 or start is not None
        moves = derivative(data, bound, then, whole[-1].reach) if carrying else None
        above_floor = torch.where(component_mask, then > em.floor, True).all(-1)
        alive = alive & above_floor & ~bound.undefined.any(-1)
        after = whole[-1].after(bound, moves, now, then, component_mask)
        alive = alive & after.radius.isfinite()
        approximate = exact[-1].after(bound.without_rounding(), moves, now, then, component_mask)
        for states, found in ((whole, after), (exact, approximate)):
            states.append(found.where(alive, component_mask))
        steps.append(bound)
        factors.append(nothing if moves is None else moves.factor)
        holds.append(alive)
    return PathBound(
        steps=steps,
        radius=torch.stack([state.radius for state in whole], 1),
        approximation=torch.stack([state.radius for state in exact], 1),
        lipschitz=torch.stack(factors, 1),
        mean=torch.stack([state.mean for state in whole[1:]], 1),
        weight=torch.stack([state.weight for state in whole[1:]], 1),
        mean_approximation=torch.stack([state.mean for state in exact[1:]], 1),
        weight_approximation=torch.stack([state.weight for state in exact[1:]], 1),
        holds=torch.stack(holds, 1),
    )


@dataclass(frozen=True, eq=False)
class _Apart:
    """How far the two paths are apart at most: ``r_t``, and component by component.

    Attributes:
        radius: (B,) in the norm of the state. reach: (B, K) ``|(da_k, dmu_k)|``. mean, weight: (B, K) the
            bounds that are claimed.
    """

    radius: Tensor
    reach: Tensor
    mean: Tensor
    weight: Tensor

    @classmethod
    def at_the_start(cls, radius: Tensor, weights: Tensor, present: Tensor) -> _Apart:
        reach = _share(radius, weights, present)
        return cls(radius, reach, reach, reach)

    def after(
        self, bound: StepBound, moves: Derivative | None, now: Tensor, then: Tensor, present: Tensor
    ) -> _Apart:
        """One step later: its own bounds, and what ``moves`` carries on; None where nothing is apart."""
        radius = _disturbance(bound, then, present)
        scale = torch.where(present, then.rsqrt(), 0.0)
        log_moved = mean_moved = torch.zeros_like(then)
        if moves is not None:
            radius = radius + _carried(moves.factor, self.radius)
            carried = moves.carried(self.radius, now.sqrt() * self.reach)
            log_moved, mean_moved = (scale * part for part in carried)
        mean = bound.mean_instance + mean_moved
        weight = bound.weight_instance + bound.exact_weights * torch.expm1(log_moved)
        reach = (mean.square() + (_log_weight(bound) + log_moved).square()).sqrt()
        return _Apart(radius, torch.minimum(reach, _share(radius, then, present)), mean, weight)

    def where(self, alive: Tensor, present: Tensor) -> _Apart:
        """Infinite where nothing is claimed, 0 at absent components, and numbers of float64."""
        claimed = alive[:, None]
        parts = (
            torch.where(claimed, torch.where(present, above(part), 0.0), math.inf)
            for part in (self.reach, self.mean, self.weight)
        )
        return _Apart(torch.where(alive, above(self.radius), math.inf), *parts)


def _share(radius: Tensor, weights: Tensor, present: Tensor) -> Tensor:
    """(B, K) the most that one component takes of a radius: ``r / sqrt(p_k)``."""
    return torch.where(present, radius[:, None] / weights.sqrt(), 0.0)


def _carried(factor: Tensor, radius: Tensor) -> Tensor:
    return torch.where(radius > 0, factor * radius, 0.0)


def _log_weight(bound: StepBound) -> Tensor:
    """(B, K) ``l_k``: how far the log of a weight is off after one step."""
    relative = bound.weight_instance / bound.exact_weights
    return torch.where(relative < 1, -torch.log1p(-relative), math.inf)


def _disturbance(bound: StepBound, then: Tensor, present: Tensor) -> Tensor:
    """(B,) the one-step bound in the norm of the state it leads to."""
    squared = then * (bound.mean_instance.square() + _log_weight(bound).square())
    return torch.where(present, squared, 0.0).sum(-1).sqrt()


def _with_covariances(found: CovariancePath, tied: bool) -> PathBound:
    """The same fields; distances are bounded parameter by parameter, so there is no radius and no factor."""
    unknown = torch.full_like(found.total[0].weight[:, :1], math.nan).expand(-1, len(found.steps) + 1)

    def along(parts: list[Tensor]) -> Tensor:
        return torch.stack(parts, 1)

    def covariances(parts: list[Off]) -> Tensor:
        whole = along([part.covariance for part in parts])
        return whole[..., :1] if tied else whole

    return PathBound(
        found.steps,
        unknown,
        unknown,
        unknown[:, 1:],
        along([part.mean for part in found.total]),
        along([part.weight for part in found.total]),
        along([part.mean for part in found.plain]),
        along([part.weight for part in found.plain]),
        found.holds,
        covariances(found.total),
        covariances(found.plain),
    )
