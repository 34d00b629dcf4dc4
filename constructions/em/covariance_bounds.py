"""How far one constructed EM step with covariances can be from EM: weights, means and covariances.

Lemmas 3 to 5 of Theorem 1 for two statistics of a point, ``x - mu'_k`` and

    o_i = (x_i - mu'_k)(x_i - mu'_k)^T - S'_k          or its diagonal, or its trace over d

both of average 0 under the exact responsibilities (mu', S' the exact next parameters). With D the error of
the layers' mean, u their weights, g the error of the squares (0 for matrices) and ``t = mu'_k - mu_k``,

    S_hat_k - S'_k = E_u[o + g(x - mu_k) - g(t)] - D D^T - (g(t + D) - g(t))

A tied covariance is the average of these weighted by pi. Proofs: paper_notes/theorem_1_covariances.md,
lemmas D and F.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from constructions.em.averages import (
    MOST_MOVED,
    best_scaled_distance,
    expanded_numerator,
    responsibility_range,
)
from constructions.em.covariance_logits import Logits, matrix_logits, variance_logits
from constructions.em.covariance_rounding import (
    average_rounding,
    covariance_rounding,
    gate_error,
    largest_norm,
    lost,
    most_terms,
    rounded_sum,
    square_error,
    underflow,
)
from constructions.em.covariance_step import (
    CovarianceEM,
    ExactStep,
    by_kind,
    exact_step,
    statistic,
    within_range,
)
from constructions.em.matrices import MatrixEM
from constructions.em.step_bound import DYING_FRACTION, StepBound
from constructions.em.step_rounding import StepData, box_diagonal
from constructions.em.variances import VarianceEM
from constructions.language.rounding import above, below, gamma, length, number, or_infinity, unit_roundoff

U64 = unit_roundoff(torch.float64)
TINY = torch.finfo(torch.float64).tiny


def covariance_step_bound(em: CovarianceEM, data: StepData, dtype: torch.dtype) -> StepBound:
    """Bounds on one constructed step against exact EM from the same state, for a kind with covariances.

    Covariances are bounded in the Frobenius norm, diagonals in the Euclidean one. Of a task whose state has
    an eigenvalue outside the range nothing is claimed: its bounds are infinite.
    """
    data, known = within_range(em, data)
    exact = exact_step(em, data, exact_logits(em, data))
    rounded, plain = (_Step(em, data, exact, kind) for kind in (dtype, None))
    found, without = rounded.instance(), plain.instance()
    apriori = rounded.apriori()
    present = data.component_mask

    def shown(values: Tensor) -> Tensor:
        return torch.where(present, torch.where(known[:, None], values, math.inf), 0.0)

    def shown_covariances(values: Tensor) -> Tensor:
        return torch.where(known[:, None], rounded.pooled(values), math.inf) if exact.tied else shown(values)

    cov, cov_plain = shown_covariances(found[2]), shown_covariances(without[2])
    return StepBound(
        exact_weights=torch.where(present, exact.weights, 0.0),
        exact_means=exact.means,
        mean_instance=shown(found[0]),
        weight_instance=shown(found[1]),
        mean_apriori=shown(apriori[0]),
        weight_apriori=shown(apriori[1]),
        mean_rounding=shown(_less(found[0], without[0])),
        weight_rounding=shown(_less(found[1], without[1])),
        undefined=(exact.weights < TINY) & present,
        dying=present & (data.samples * em.floor > DYING_FRACTION * exact.mass),
        share_error=rounded.share_error.amax((1, 2))[:, None],
        centre_error=rounded.centre.amax(1, keepdim=True),
        exact_covariances=exact.covariances,
        covariance_instance=cov,
        covariance_apriori=shown_covariances(apriori[2]),
        covariance_rounding=_less(cov, cov_plain),
        out_of_range=exact.out_of_range | (~known[:, None] & present),
    )


def _less(bound: Tensor, part: Tensor) -> Tensor:
    """``bound - part``, 0 where both are infinite."""
    return torch.where(part.isfinite(), bound - part, torch.where(bound.isfinite(), bound, 0.0))


def _logits(em: CovarianceEM, data: StepData, dtype: torch.dtype | None) -> Logits:
    return matrix_logits(em, data, dtype) if isinstance(em, MatrixEM) else variance_logits(em, data, dtype)


def exact_logits(em: CovarianceEM, data: StepData) -> Tensor:
    """(B, K, N) in float64, minus infinity at absent components."""
    return _logits(em, data, None).exact


class _Step:
    """One step in a dtype, or with None in exact arithmetic: intervals of the weights, and the bounds."""

    def __init__(self, em: CovarianceEM, data: StepData, exact: ExactStep, dtype: torch.dtype | None) -> None:
        self.em, self.data, self.exact, self.dtype = em, data, exact, dtype
        self.logits = logits = _logits(em, data, dtype)
        real = data.token_mask[:, None]
        most = most_terms(em, data)
        u = 0.0 if dtype is None else unit_roundoff(dtype)
        soft = number(0.0) if dtype is None else number(gamma(most, u)) + gamma(most, U64)
        self.underflow = underflow(em, data, dtype)
        self.pooling = average_rounding(em, data, dtype)
        self.function = number(0.0) if dtype is None else em.log_resp.rounding_error(dtype)
        # Relative error of the exact responsibilities as float64 has them, and of what follows from them.
        relative = logits.reference + torch.log1p(
            (self._w() * torch.expm1(logits.reference)).sum(1, keepdim=True)
        )
        share = torch.expm1(relative) + gamma(most, U64)
        self.share_error = share if dtype is not None else torch.zeros_like(share)
        self.soft = soft
        eta = logits.constant / 2 + logits.delta
        eta = torch.where(data.component_mask[:, :, None], eta, 0.0)
        log_aimed = torch.log_softmax(logits.aimed, dim=1)
        low, high = responsibility_range(log_aimed, eta)
        flushed = self.underflow[:, None]
        self.low = torch.where(real, (low * (-soft).exp() - flushed).clamp_min(0), 0.0)
        self.high = torch.where(real, high * soft.exp() + flushed, 0.0)
        log_high = em.log_resp(self.high)
        self.top = log_high.masked_fill(~real, -math.inf).amax(-1, keepdim=True)
        self.u_low = torch.where(real, (em.log_resp(self.low) - self.top - self.function).exp(), 0.0)
        self.u_high = torch.where(real, (log_high - self.top + self.function).exp(), 0.0)
        self.log_aimed = log_aimed
        delta = logits.delta
        # The mean of e^delta is over responsibilities that the constants have moved, each by e^S at most.
        lifted = log_aimed.exp() * logits.constant.clamp_max(MOST_MOVED).exp()
        moved = delta + torch.log1p((lifted * torch.expm1(delta.clamp_max(MOST_MOVED))).sum(1, keepdim=True))
        moved = torch.where((above(delta) <= MOST_MOVED).all(1, keepdim=True), moved, math.inf)
        log_underflow = torch.log1p(self.underflow / em.floor)[:, :, None]
        self.own_rounding = moved + soft + log_underflow
        self.centre = self._centre()

    def _w(self) -> Tensor:
        return torch.softmax(self.logits.exact, dim=1)

    def _centre(self) -> Tensor:
        """(B, K) how far the computed exact means may be from the exact ones."""
        if self.dtype is None:
            return torch.zeros_like(self.exact.mass)
        data = self.data
        pulled = self._pulled(self._distance(lambda k: data.X - self.exact.means[:, k, None]))
        lost = data.samples * TINY * box_diagonal(data)
        return pulled + lost + 2 * gamma(data.X.shape[1] + 10, U64) * largest_norm(data)

    def _pulled(self, distance: Tensor) -> Tensor:
        """(B, K) what the errors of the exact responsibilities do to an average of values of this length."""
        shares = self.exact.shares
        total = torch.where(shares.sum(-1) > 0, shares.sum(-1), 1.0)
        off, far = ((shares * self.share_error * v).sum(-1) / total for v in (1.0, distance))
        return torch.where(above(off) < 1, far / (1 - off), math.inf)

    def _distance(self, offsets: Callable[[int], Tensor]) -> Tensor:
        """(B, K, N) lengths of the offsets of every component, 0 at padding."""
        found = torch.stack([length(offsets(k)) for k in range(self.exact.mass.shape[1])], 1)
        return torch.where(self.data.token_mask[:, None], found, 0.0)

    def _average(self, offsets: Callable[[int], Tensor], off: Tensor, beside: Tensor | None) -> Tensor:
        """(B, K) bound on ``|E_u[o]|`` for offsets o as they are computed.

        Args:
            offsets: k -> (B, N, D).
            off: (B, K) at least ``|E_w[o]|`` of the part of o that should have the average 0.
            beside: (B, K, N) at least the length of the other part; None where there is none.
        """
        distance = self._distance(offsets) * (1 + 64 * U64)
        extra = torch.zeros_like(off) if beside is None else beside.amax(-1)
        pure = distance if beside is None else distance + beside
        pointwise = best_scaled_distance(self.u_low, self.u_high, self.exact.shares, pure, self.share_error)
        expanded = expanded_numerator(
            self.em,
            self.log_aimed,
            self.data.token_mask,
            self.logits.constant,
            self.own_rounding,
            self.function,
            self.low,
            self.top,
            distance,
            offsets,
            torch.zeros_like(off),
        )
        mass = self.u_low.sum(-1)
        pointwise = (pointwise + self.u_high.sum(-1) * off) / mass + extra
        found = torch.minimum(pointwise, expanded / mass)
        return torch.minimum(or_infinity(found), distance.amax(-1))

    def instance(self) -> tuple[Tensor, Tensor, Tensor]:
        """Means, weights, covariances of the components: (B, K) each."""
        data, exact = self.data, self.exact
        mean = self._average(lambda k: data.X - exact.means[:, k, None], self.centre, None) + self.centre
        # Another float64 evaluation of the exact mean may be off by as much again.
        mean = mean + 2 * self.pooling * largest_norm(data) + self.centre + self._lost(largest_norm(data))
        mean = mean + self._replaced()
        return mean, self.weight_bound(), self._covariances(mean)

    def _replaced(self) -> Tensor:
        """(B, K) rounding where dense weights clear an old mean and write the new one, in one sum of both."""
        if self.dtype is None or isinstance(self.em, MatrixEM):
            return torch.zeros_like(self.exact.mass)  # E has cleared it
        return 4 * unit_roundoff(self.dtype) * (length(self.data.means) + largest_norm(self.data))

    def weight_bound(self) -> Tensor:
        """(B, K) of ``|pi_hat_k - pi_k|``."""
        samples, exact = self.data.samples, self.exact
        over = self.high.sum(-1) / samples - exact.weights
        under = exact.weights - self.low.sum(-1) / samples
        own = (self._w() * self.share_error * self.data.token_mask[:, None]).sum(-1) / samples
        pooled = self.pooling * self.high.sum(-1) / samples
        return torch.maximum(over, under) + pooled + 2 * own + 2 * self.underflow

    def _lost(self, size: Tensor) -> Tensor:
        return lost(self.em, self.data, self.dtype, size)

    def _covariances(self, mean: Tensor) -> Tensor:
        data, exact, em = self.data, self.exact, self.em
        beside, shifted = None, torch.zeros_like(mean)
        if isinstance(em, VarianceEM):
            errors, own = self._square_errors()
            beside = torch.stack([length(error) for error in errors], 1)
            beside = torch.where(data.token_mask[:, None], beside, 0.0)
            shifted = own
        else:
            errors = [torch.zeros(1, dtype=torch.float64)] * exact.mass.shape[1]

        def offsets(k: int) -> Tensor:
            return statistic(em, data, exact.means[:, k, None]) - exact.own[:, k, None] + errors[k]

        off = self._statistic_error()
        found = self._average(offsets, off, beside) + 2 * off + (mean + self.centre).square()
        return (
            found + self._moved_square(mean) + shifted + covariance_rounding(self.em, self.data, self.dtype)
        )

    def _square_errors(self) -> tuple[list[Tensor], Tensor]:
        """k -> (B, N, D) ``g(x - mu_k) - g(t)``; and (B, K) what a float64 evaluation of it can be off by."""
        em, data = self.em, self.data
        if not isinstance(em, VarianceEM):
            raise ValueError(f"{em.construction.name} has no squares")
        square, found = em.functions.square, []
        features = data.feature_mask[:, None]

        def g(t: Tensor) -> Tensor:
            return by_kind(em, data, (square(t) - t.square()) * features)

        for k in range(self.exact.mass.shape[1]):
            old = data.means[:, k, None]
            found.append(g(data.X - old) - g(self.exact.means[:, k, None] - old))
        span = 2 * (largest_norm(data) + length(data.means))
        return found, 16 * U64 * span.square() if self.dtype is not None else torch.zeros_like(
            self.exact.mass
        )

    def _moved_square(self, mean: Tensor) -> Tensor:
        """(B, K) ``|g(t + Delta) - g(t)|`` for ``|Delta|`` up to the bound of the mean."""
        em = self.em
        if not isinstance(em, VarianceEM):
            return torch.zeros_like(mean)
        t = length(self.exact.means - self.data.means) + mean
        function, ratio = em.functions.square.function, em.functions.square.ratio
        least = float(function.knots[function.anchor + 1])
        lipschitz = 2 * (ratio - 1) * t + 2 * least
        width = 1.0 if em.covariance_type == "diagonal" else self.data.dims.rsqrt()
        return (
            torch.minimum(mean * lipschitz, 2 * square_error(em.functions.square, t) * self.data.dims) * width
        )

    def _statistic_error(self) -> Tensor:
        """(B, K) how far the computed exact covariances may be from the exact ones.

        The average about a mean that is off by c is larger by c c^T.
        """
        if self.dtype is None:
            return torch.zeros_like(self.exact.mass)
        em, data, exact = self.em, self.data, self.exact
        size = self._distance(lambda k: statistic(em, data, exact.means[:, k, None]))
        total = torch.where(exact.shares.sum(-1) > 0, exact.shares.sum(-1), 1.0)
        summed = gamma(data.X.shape[1] + 20, U64) * (exact.shares * size).sum(-1) / total
        own = self._distance(lambda k: statistic(em, data, exact.means[:, k, None]) - exact.own[:, k, None])
        return self._pulled(own) + summed + self.centre.square()

    def apriori(self) -> tuple[Tensor, Tensor, Tensor]:
        """The bounds from how far logits may be off, whatever the points (lemma 3)."""
        em, data, exact = self.em, self.data, self.exact
        real, w = data.token_mask[:, None], self._w()
        wrong = (self.logits.aimed - self.logits.exact).abs()
        wrong = torch.where(data.component_mask[:, :, None], wrong + self.logits.delta, 0.0)
        wrong = wrong + self.logits.constant / 2
        unknown = ~(above(wrong) <= MOST_MOVED).all(1, keepdim=True)
        at_points = torch.log((w * wrong.clamp_max(MOST_MOVED).exp()).sum(1, keepdim=True))
        at_points = torch.where(unknown, math.inf, at_points)
        counts = real & (below(w) >= em.floor)
        e = em.log_resp.error + 2 * (self.function + self.soft)
        each = torch.where(counts, wrong + at_points, 0.0).amax(-1)
        rho = 2 * (each + torch.where(real, at_points, 0.0).amax(-1)) + e
        rho = rho + 2 * torch.log1p(self.underflow / em.floor)
        lifted = torch.where(
            real & ~counts, (w * (wrong + at_points).clamp_max(MOST_MOVED).exp()).clamp_max(1.0), 0.0
        )
        lifted = torch.where(real & ~counts & unknown, 1.0, lifted)
        lifted = (
            torch.where(real & ~counts, lifted.clamp_min(em.floor), 0.0).sum(-1)
            + data.samples * self.underflow
        )
        misplaced = lifted * rho.clamp_max(MOST_MOVED).exp() / exact.mass
        share = torch.where(
            misplaced.isfinite() & (above(rho) <= MOST_MOVED), misplaced / (1 + misplaced), 1.0
        )
        moved = torch.tanh(rho / 4) + share
        X, D = largest_norm(data), box_diagonal(data)
        mean = D * moved + 2 * self.pooling * X + 2 * self.centre + self._lost(X) + self._replaced()
        entry = torch.expm1((wrong + at_points).clamp_max(MOST_MOVED)) * w
        entry = torch.where(real, torch.where(unknown, 1.0, entry), 0.0).sum(-1) / data.samples
        weight = entry * (1 + self.pooling) + self.pooling * exact.weights + 2 * self.underflow
        soft = (1 + self.soft) * (exact.weights + entry)
        weight = weight + self.soft * soft + 2 * self.share_error.amax((1, 2))[:, None] * exact.weights
        squares = 0.0
        if isinstance(em, VarianceEM):
            far = D + length(exact.means - data.means)
            squares = 2 * square_error(em.functions.square, far) * data.dims
        covariance = (
            D.square() * moved + mean.square() + squares + covariance_rounding(self.em, self.data, self.dtype)
        )
        return mean, weight, covariance + 2 * self._statistic_error()

    def pooled(self, of_components: Tensor) -> Tensor:
        """(B, 1) of a tied covariance: ``sum_k p_k |S_hat_k - S_k| + sum_k |p_k - pi_k| |S_k - S|``."""
        em, data, exact = self.em, self.data, self.exact
        weight = self.weight_bound()
        if isinstance(em, VarianceEM):
            weight = self._softmax_of_logs(em, weight)
        S = (exact.weights[..., None] * exact.own).sum(1, keepdim=True)
        spread = length(exact.own - S) * data.component_mask
        terms = (exact.weights + weight) * torch.where(data.component_mask, of_components, 0.0)
        rounding = 2 * rounded_sum(most_terms(em, data) + 10, self.dtype)
        gates: Tensor | float = 0.0
        if isinstance(em, MatrixEM):  # of pi, which multiplies what each S_hat_k is
            sizes = torch.where(data.component_mask, length(exact.own) + of_components, 0.0)
            gates = em.max_dim * gate_error(em.bounds.second, self.dtype)
            gates = gates + gate_error(1.0, self.dtype) * sizes.sum(1, keepdim=True)
        elif self.dtype is not None:  # the arguments of softmax
            reach = data.samples.log() - number(em.floor).log()
            gates = 4 * unit_roundoff(self.dtype) * reach * (length(S) + terms.sum(1, keepdim=True))
        return (terms + weight * spread).sum(1, keepdim=True) + rounding * length(S) + gates

    def _softmax_of_logs(self, em: VarianceEM, weight: Tensor) -> Tensor:
        """(B, K) of ``|softmax(f(pi_hat))_k - pi_k|``, f the chords of log, off by at most e; floored weights
        add to the sum what they are lifted by."""
        e = em.log_pi.error
        e = e if self.dtype is None else e + 2 * em.log_pi.rounding_error(self.dtype)
        present = self.data.component_mask
        lifted = torch.where(present, (em.floor - self.exact.weights + weight).clamp_min(0), 0.0)
        factor = torch.expm1(2 * e) + lifted.sum(1, keepdim=True)
        return weight + factor * (self.exact.weights + weight + em.floor) + lifted
