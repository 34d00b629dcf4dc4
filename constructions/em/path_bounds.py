"""How far L constructed EM steps can be from L steps of EM: one-step errors carried by Lipschitz factors.

The constructed path is an EM path disturbed by at most b_t at each step, so with r_0 = 0

    r_{t+1} = b_t + Lip_t r_t

bounds its distance from the EM path, where Lip_t bounds the derivative of the EM map on the ball of radius
r_t around the constructed state (lemma 7). Distances are measured, state by state, in

    |(da, dmu)|_t^2 = sum_k p_k (da_k^2 + |dmu_k|^2),     a = log pi,  p = the constructed weights at t,

the complete-data information of the mixture: at a fixed point the EM map is a contraction in this norm
wherever the likelihood has a maximum, while in a plain norm its factor can exceed 1 there.

The recursion is linear once the Lip_t are known, so r_t is the sum of what each part of the b_t leads to:

    r^A_{t+1} = b^A_t + Lip_t r^A_t,    r^A_0 = 0,    r^R_t = r_t - r^A_t

with b^A_t the one-step bound without rounding: r^A is the share of approximation, r^R that of rounding.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from constructions.em.averages import best_scaled_distance, responsibility_range
from constructions.em.bounds import one_step_bound, reach_of_points
from constructions.em.constructed import ConstructedEM
from constructions.em.covariance_path import CovariancePath, Off, covariance_path
from constructions.em.covariance_step import CovarianceEM
from constructions.em.step_bound import StepBound
from constructions.em.step_rounding import StepData
from constructions.language.rounding import above


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
        mean_approximation, weight_approximation: (B, L, K) the same of ``r^A_t`` alone: the rest of each
            bound is rounding.
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
    radius, exact = [nothing if start is None else start], [nothing]
    steps, factors, mean, weight, holds = [], [], [], [], []
    exact_mean, exact_weight = [], []
    alive = torch.ones(len(X), dtype=torch.bool, device=X.device)
    for t in range(path_weights.shape[1] - 1):
        now, then = path_weights[:, t], path_weights[:, t + 1]
        data = StepData(X, token_mask, now, path_means[:, t], component_mask, n_features, refreshed or t > 0)
        bound = one_step_bound(em, data, dtype)
        carrying = t > 0 or start is not None
        factor = lipschitz_factor(data, bound, then, radius[-1]) if carrying else nothing
        above_floor = torch.where(component_mask, then > em.floor, True).all(-1)
        alive = alive & above_floor & ~bound.undefined.any(-1)
        whole = _disturbance(bound, then, component_mask) + _carried(factor, radius[-1])
        approximate = _disturbance(bound.without_rounding(), then, component_mask)
        approximate = approximate + _carried(factor, exact[-1])
        alive = alive & whole.isfinite()
        for radii, found, means, weights in (
            (radius, whole, mean, weight),
            (exact, approximate, exact_mean, exact_weight),
        ):
            radii.append(torch.where(alive, above(found), math.inf))
            component_radius = torch.where(component_mask, radii[-1][:, None] / then.sqrt(), 0.0)
            means.append(component_radius)
            finite = component_radius.isfinite()
            weights.append(torch.where(finite, then * torch.expm1(component_radius), math.inf))
        steps.append(bound)
        factors.append(factor)
        holds.append(alive)
    parts = (radius, exact, factors, mean, weight, exact_mean, exact_weight, holds)
    return PathBound(steps, *(torch.stack(part, 1) for part in parts))


def _carried(factor: Tensor, radius: Tensor) -> Tensor:
    return torch.where(radius > 0, factor * radius, 0.0)


def _disturbance(bound: StepBound, then: Tensor, present: Tensor) -> Tensor:
    """(B,) the one-step bound in the norm of the state it leads to."""
    relative = bound.weight_instance / bound.exact_weights
    log_weight = torch.where(relative < 1, -torch.log1p(-relative), math.inf)
    squared = then * (bound.mean_instance.square() + log_weight.square())
    return torch.where(present, squared, 0.0).sum(-1).sqrt()


def lipschitz_factor(data: StepData, bound: StepBound, then: Tensor, radius: Tensor) -> Tensor:
    """(B,) bound on the derivative of EM on the ball of ``radius`` around the state, norm to norm.

    ``D EM = J``, blocks ``J_kj = (1/W_k) sum_i w_ik (delta_kj - w_ij) psi_ik phi_ij^T`` with
    ``phi_ij = (1, x_i - mu_j)``, ``psi_ik = (1, x_i - mu_k^+)``; the factor is the spectral norm of the
    scaled J at the centre plus that of a matrix of bounds on how far each block moves within the ball.
    """
    state = _State.at(data, bound)
    scale_out, scale_in = then.sqrt(), torch.where(data.component_mask, data.weights.rsqrt(), 0.0)
    jacobian = _scaled_jacobian(state, scale_out, scale_in)
    known = jacobian.isfinite().flatten(1).all(-1)
    centre = torch.linalg.matrix_norm(torch.where(known[:, None, None], jacobian, 0.0), ord=2)
    moved = (
        scale_out[:, :, None]
        * _block_movement(state, scale_in * torch.where(radius.isfinite(), radius, 0.0)[:, None])
        * scale_in[:, None, :]
    )
    finite = moved.isfinite().flatten(1).all(-1) & known & radius.isfinite()
    movement = torch.linalg.matrix_norm(torch.where(finite[:, None, None], moved, 0.0), ord=2)
    return torch.where(finite, centre + movement, math.inf)


@dataclass(frozen=True, eq=False)
class _State:
    """Exact responsibilities (B, K, N) at the state, and the offsets of each point from old and new means."""

    data: StepData
    bound: StepBound
    log_resp: Tensor
    resp: Tensor
    mass: Tensor
    from_old: Tensor
    from_new: Tensor

    @classmethod
    def at(cls, data: StepData, bound: StepBound) -> _State:
        inner = data.means @ data.X.mT + (data.weights.log() - data.means.square().sum(-1) / 2)[:, :, None]
        log_resp = torch.log_softmax(inner.masked_fill(~data.component_mask[:, :, None], -math.inf), dim=1)
        resp = torch.where(data.token_mask[:, None, :], log_resp.exp(), 0.0)
        from_old, from_new = (data.X[:, None] - m[:, :, None] for m in (data.means, bound.exact_means))
        return cls(data, bound, log_resp, resp, resp.sum(-1), from_old, from_new)


def _scaled_jacobian(state: _State, scale_out: Tensor, scale_in: Tensor) -> Tensor:
    """(B, K (1 + d), K (1 + d)) the derivative of EM in (log pi, mu), in the scaled coordinates."""
    resp = state.resp
    K = resp.shape[1]
    one = torch.ones_like(state.from_old[..., :1])
    phi, psi = torch.cat([one, state.from_old], -1), torch.cat([one, state.from_new], -1)
    rows = []
    for k in range(K):
        left = resp[:, k, :, None] * psi[:, k]
        selects = torch.zeros(K, dtype=resp.dtype, device=resp.device)
        selects[k] = 1.0
        right = (selects[:, None] - resp)[..., None] * phi * scale_in[:, :, None, None]
        blocks = left.mT[:, None] @ right
        inverse = torch.where(state.mass[:, k] > 0, scale_out[:, k] / state.mass[:, k], 0.0)
        rows.append(blocks.transpose(1, 2).flatten(2) * inverse[:, None, None])
    return torch.cat(rows, 1)


def _block_movement(state: _State, reach: Tensor) -> Tensor:
    """(B, K, K) bound on the operator norm of ``J'_kj - J_kj`` over the ball.

    ``reach`` (B, K) is how far component k can move. The logit of (i, k) then moves by at most
    ``reach_k sqrt(1 + |x_i - mu_k|^2) + reach_k^2 / 2``.
    """
    data = state.data
    real, present = data.token_mask[:, None, :], data.component_mask[:, :, None]
    old, new = state.from_old.square().sum(-1), state.from_new.square().sum(-1)
    phi, psi = (1 + old).sqrt(), (1 + new).sqrt()
    eta = reach[:, :, None] * phi + reach[:, :, None].square() / 2
    low, high = responsibility_range(state.log_resp, torch.where(present, eta, 0.0))
    low, high = torch.where(real & present, low, 0.0), torch.where(real & present, high, 0.0)
    mass_low, mass_high = low.sum(-1), high.sum(-1)
    away = reach_of_points(new.sqrt(), state.bound.centre_error, data)
    shift = best_scaled_distance(low, high, state.resp, away, state.bound.share_error[..., None]) / mass_low
    rows = []
    for k in range(low.shape[1]):
        w, lo, hi = state.resp[:, k, None], low[:, k, None], high[:, k, None]
        at = (w * state.resp / state.mass[:, k, None, None]).clone()
        least = lo * low / mass_high[:, k, None, None]
        most = hi * high / mass_low[:, k, None, None]
        at[:, k] = (w * (1 - w))[:, 0] / state.mass[:, k, None]
        least[:, k] = (lo * (1 - hi))[:, 0] / mass_high[:, k, None]
        most[:, k] = (hi * (1 - lo))[:, 0] / mass_low[:, k, None]
        change = torch.maximum(most - at, at - least)
        psi_k, shift_k = psi[:, k, None], shift[:, k, None, None]
        rows.append(
            (change * psi_k * phi + most * (shift_k * phi + (psi_k + shift_k) * reach[:, :, None])).sum(-1)
        )
    moved = torch.stack(rows, 1)
    absent = ~(data.component_mask[:, :, None] & data.component_mask[:, None, :])
    return torch.where(absent, 0.0, torch.where(moved.isnan(), math.inf, moved))


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
