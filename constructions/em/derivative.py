"""The derivative of EM around a state, norm to norm, and what it carries on to each component (lemma 7).

Arrays over components are (B, K). The norm is that of constructions.em.path_bounds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from constructions.em.averages import best_scaled_distance, responsibility_range
from constructions.em.bounds import reach_of_points
from constructions.em.step_bound import StepBound
from constructions.em.step_rounding import StepData
from constructions.language.rounding import or_infinity
from constructions.language.shown import short_repr


@dataclass(frozen=True, eq=False)
class Derivative:
    """``D EM`` on a convex set around the state, in the scaled coordinates ``sqrt(p_k) (a_k, mu_k)``.

    Attributes:
        centre: (B, K, 1 + d, K, 1 + d) the scaled J at the state. moved: (B, K, K) bounds on how far the
            norm of each of its blocks is from there anywhere in the set. finite: (B,) whether both are.
    """

    centre: Tensor
    moved: Tensor
    finite: Tensor

    __repr__ = short_repr

    @property
    def factor(self) -> Tensor:
        """(B,) bound on the spectral norm in the set; inf where nothing is known."""
        centre = torch.linalg.matrix_norm(self.centre.flatten(3).flatten(1, 2), ord=2)
        movement = torch.linalg.matrix_norm(self.moved, ord=2)
        return torch.where(self.finite, centre + movement, math.inf)

    def carried(self, radius: Tensor, apart: Tensor) -> tuple[Tensor, Tensor]:
        """(B, K) twice, in scaled coordinates: how far each log weight and each mean of EM's result moves.

        Of states that are ``radius`` (B,) apart, and ``apart`` (B, K) component by component, the part of
        component k moves by at most (lemma 7, (7))

            min(|A_k| r, sum_j |A_kj| e_j) + min(|m_k| r, sum_j m_kj e_j)

        A_k the rows of J at the centre that give the part, A_kj their blocks, m the movement.
        """
        r, e = radius[:, None], apart[:, None, :]
        movement = torch.minimum(torch.linalg.vector_norm(self.moved, dim=-1) * r, (self.moved * e).sum(-1))
        log_weight, mean = self.centre[:, :, 0], self.centre[:, :, 1:]
        found = []
        for whole, blocks in (
            (
                torch.linalg.vector_norm(log_weight.flatten(2), dim=-1),
                torch.linalg.vector_norm(log_weight, dim=-1),
            ),
            (
                torch.linalg.matrix_norm(mean.flatten(3), ord=2),
                torch.linalg.matrix_norm(mean.transpose(2, 3), ord=2),
            ),
        ):
            part = torch.minimum(whole * r, (blocks * e).sum(-1)) + movement
            found.append(torch.where(r > 0, torch.where(self.finite[:, None], part, math.inf), 0.0))
        return found[0], found[1]


def derivative(data: StepData, bound: StepBound, then: Tensor, reach: Tensor) -> Derivative:
    """``D EM = J``, blocks ``J_kj = (1/W_k) sum_i w_ik (delta_kj - w_ij) psi_ik phi_ij^T``.

    ``phi_ij = (1, x_i - mu_j)``, ``psi_ik = (1, x_i - mu_k^+)``.

    Args:
        data: tasks and the state. bound: one step from there. then: (B, K) the weights that it leads to.
        reach: (B, K) how far component k can be from the state, ``|(da_k, dmu_k)|``, anywhere in the set.
    """
    state = State.at(data, bound)
    scale_out, scale_in = then.sqrt(), torch.where(data.component_mask, data.weights.rsqrt(), 0.0)
    jacobian = scaled_jacobian(state, scale_out, scale_in)
    known = jacobian.isfinite().flatten(1).all(-1)
    within = reach.isfinite().all(-1)
    moved = (
        scale_out[:, :, None]
        * block_movement(state, torch.where(reach.isfinite(), reach, 0.0))
        * scale_in[:, None, :]
    )
    finite = moved.isfinite().flatten(1).all(-1) & known & within
    K = then.shape[1]
    centre = torch.where(known[:, None, None], jacobian, 0.0)
    centre = centre.unflatten(2, (K, -1)).unflatten(1, (K, -1))
    return Derivative(centre, torch.where(finite[:, None, None], moved, 0.0), finite)


def lipschitz_factor(data: StepData, bound: StepBound, then: Tensor, radius: Tensor) -> Tensor:
    """(B,) bound on the derivative of EM on the ball of ``radius`` around the state, norm to norm."""
    scale = torch.where(data.component_mask, data.weights.rsqrt(), 0.0)
    return derivative(data, bound, then, scale * radius[:, None]).factor


@dataclass(frozen=True, eq=False)
class State:
    """Exact responsibilities (B, K, N) at the state, and the offsets of each point from old and new means."""

    data: StepData
    bound: StepBound
    log_resp: Tensor
    resp: Tensor
    mass: Tensor
    from_old: Tensor
    from_new: Tensor

    __repr__ = short_repr

    @classmethod
    def at(cls, data: StepData, bound: StepBound) -> State:
        inner = data.means @ data.X.mT + (data.weights.log() - data.means.square().sum(-1) / 2)[:, :, None]
        log_resp = torch.log_softmax(inner.masked_fill(~data.component_mask[:, :, None], -math.inf), dim=1)
        resp = torch.where(data.token_mask[:, None, :], log_resp.exp(), 0.0)
        from_old, from_new = (data.X[:, None] - m[:, :, None] for m in (data.means, bound.exact_means))
        return cls(data, bound, log_resp, resp, resp.sum(-1), from_old, from_new)


def scaled_jacobian(state: State, scale_out: Tensor, scale_in: Tensor) -> Tensor:
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


def block_movement(state: State, reach: Tensor) -> Tensor:
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
    return torch.where(absent, 0.0, or_infinity(moved))
