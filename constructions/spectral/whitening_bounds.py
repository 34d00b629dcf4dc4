"""How far the whitening in weights is from W = D^(-1/2) U^T, up to a rotation of its K rows.

Write the computed rows as W_c = Q ((I + F) W + B U'^T), Q orthogonal, U' the eigenvectors beyond the K-th:
|F| <= inside, |B| <= beyond, |Q^T P_c - P| <= image. Lemmas 1 to 3 of paper_notes/spectral_in_attention.md.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from constructions.language.rounding import gamma, number, unit_roundoff
from constructions.language.shown import short_repr
from constructions.spectral.exact import Exact
from constructions.spectral.moments import REST, STRETCH
from constructions.spectral.plan import Plan

NOTHING = torch.inf
"""A bound that claims nothing."""


@dataclass(frozen=True, eq=False)
class WhiteningError:
    """(B,) each; inf where nothing is claimed.

    Attributes:
        moment: |M2_c - M2|. defect: |W_c M2 W_c^T - I|. tangent: of the angle between the spaces.
        inside, beyond, image: of F, B and P, as above.
    """

    moment: Tensor
    defect: Tensor
    tangent: Tensor
    inside: Tensor
    beyond: Tensor
    image: Tensor

    __repr__ = short_repr

    def plus(self, other: WhiteningError) -> WhiteningError:
        """Of two computations against each other, to first order in each: both errors add."""
        pairs = ((getattr(self, name), getattr(other, name)) for name in self.__dataclass_fields__)
        return WhiteningError(*(a + b for a, b in pairs))


def moment_error(exact: Exact, plan: Plan, u: float, variance: Tensor) -> Tensor:
    """``|M2_c - M2|``: N products x_a (x_b / N) summed, s placed by the MLP; ``variance`` is the error of s.

    |S2_c - S2| <= gamma_{N+4} (1/N) sum |x|^2 in the Frobenius norm; s passes a gate of the size of the
    largest variance, off by 4 u of it; the difference rounds.
    """
    if u == 0:
        return variance
    N, d = exact.problem.X.shape[1:]
    gate = 4 * u * plan.largest_variance * number(d).sqrt()
    return gamma(N + 4, u) * exact.second + gate + u * exact.moment_norm + variance


def constructed_whitening(exact: Exact, plan: Plan, u: float, variance: Tensor) -> WhiteningError:
    """Of the layers, in exact arithmetic with ``u = 0``."""
    moment = moment_error(exact, plan, u, variance)
    tangent, conditioned = _subspace(exact, plan, u, moment)
    return _whitened(exact, plan, u, moment, tangent, conditioned)


def _subspace(exact: Exact, plan: Plan, u: float, moment: Tensor) -> tuple[Tensor, Tensor]:
    """The tangent of the largest angle after all rounds, and a lower bound of the singular values of Y.

    A round multiplies the tangent t by rho and adds eta, what rounding turns, relative to the least singular
    value of the part of Y in the space: t <- (rho t + eta) / (1 - eta).
    """
    K, d = exact.problem.basis.shape[1:]
    size = number(K).sqrt()
    A, B = (exact.problem.basis @ part for part in (exact.vectors[..., :K], exact.vectors[..., K:]))
    singular = torch.linalg.svdvals(exact.problem.basis)
    low, high = singular[:, -1], singular[:, 0]
    tangent = (
        torch.linalg.svdvals(torch.linalg.lstsq(A, B).solution)[:, 0] if d > K else torch.zeros_like(low)
    )
    shaken = number(7 * K) * gamma(d + K + 6, u)
    product = gamma(d + 2, u) * size * exact.moment_norm
    for _ in range(plan.rounds):
        # Rounding may turn a small angle up, but not beyond this; else nothing is claimed.
        most = tangent.clamp_min(0.01)
        lean = (1 + most.square()).sqrt()
        eta = high * (moment + product) * lean / (low * exact.least)
        # The rows divided by their lengths, and by sqrt(K0): what is left of the least singular value.
        value = low * exact.least / (lean * high * exact.largest) * (1 - eta).clamp_min(0) / (1 + eta)
        value = value / (1 + REST / (high * exact.largest))
        eta = eta + 3 * u * size * lean / value
        value = value / number(plan.max_components).sqrt()
        for _ in range(plan.corrections):
            value = torch.minimum(STRETCH[0] * value - STRETCH[1] * value**3, 9 / 16 - 3 * shaken) - shaken
            if u:
                eta = eta + 4.2 * (K * number(gamma(K + 4, u))) * lean / value
        turned = (exact.decay * tangent + eta) / (1 - eta)
        valid = (eta < 0.5) & (value > 0) & (turned <= most)
        tangent = torch.where(valid, turned, NOTHING)
        low, high = torch.where(valid, value, 1.0), 1 + shaken.expand_as(low)
    if d == K:  # the space is all there is
        tangent = torch.where(tangent.isfinite(), 0.0, tangent)
    return torch.where(exact.decay < 1, tangent, NOTHING), low


def _whitened(
    exact: Exact, plan: Plan, u: float, moment: Tensor, tangent: Tensor, conditioned: Tensor
) -> WhiteningError:
    """Steps on W and P = W M2 from W = a Y; singular values of W in the inner product of M2, at most 1."""
    K, d = exact.problem.basis.shape[1:]
    size, scale = number(K).sqrt(), number(plan.eigenvalues[1]).rsqrt()
    # From here on the tangent is at most 1/8, the defect at most 1/64, and the singular values are above 1 by
    # at most 1/256, or nothing is claimed: with theta = tangent^2 rho <= 1/64 that puts
    # sqrt((1 + tangent^2) / (1 - theta)) (1 + 1/256) below 1.02.
    lean = (1 + tangent.square()).sqrt()
    low = 0.99 * scale * conditioned * exact.least.sqrt() / lean
    root, top = exact.least.rsqrt(), exact.largest.sqrt()
    norm = torch.zeros_like(low) + 1.01 * scale
    product = gamma(d + 2, u) * exact.moment_norm
    drift = norm * (moment + size * product)  # |P - W M2|
    turned = torch.zeros_like(low)
    over = torch.zeros_like(low) + number(7 * K) * gamma(d + K + 6, u)
    highest = over
    steps = [STRETCH] * plan.stretches + [(1.5, 0.5)] * plan.whitenings
    for linear, cubic in steps:
        growth = linear - cubic * low.square() + cubic * drift * norm
        # The values up to 1 + over: p(1 + over) >= 9/16 - 3 over, and 1 - 2 over^2 for Newton-Schulz.
        falls = 9 / 16 - 3 * over if linear == STRETCH[0] else 1 - 2 * over.square()
        low = torch.minimum(linear * low - cubic * low**3, falls)
        wider = torch.minimum(norm * growth, 1.02 * root)
        added = 4.2 * (K * number(gamma(K + 4, u))) * wider
        # The factors of W and of P are rounded apart.
        apart = cubic * (K * number(gamma(d + 4, u))) * norm.square() * exact.largest
        over = cubic * drift * norm + 1.01 * apart + added * top
        low, highest = low - over, torch.maximum(highest, over)
        turned = turned + added * lean * top / low
        drift = growth * drift + 2 * (added + apart * norm) * (exact.largest + moment)
        norm = wider
    before = (1 - low.square()).clamp_min(0) + 2 * drift * norm
    # The last step, from a fresh P: its own defect squared, and what rounds in H and in H W.
    fresh = 1.02 * root * (moment + size * product)
    factor = fresh * 1.02 * root
    added = torch.zeros_like(low)
    if u:
        factor = 0.5 * factor + gamma(d + 4, u) * (1.5 * size + 0.6 * (K * top * root))
        added = 2.3 * (K * number(gamma(K + 4, u))) * root
    defect = before.square() * (3 + before) / 4 + 2.1 * factor + 2.1 * top * added
    turned = turned + 1.02 * added * lean * top
    tangent = torch.where(turned < 0.5, (tangent + turned) / (1 - turned), NOTHING)
    tangent = torch.where(exact.beyond > 0, tangent, 0 * tangent)
    whole = defect + 1.04 * tangent.square() * exact.decay + 1.04 * moment / exact.least
    valid = (whole < 1 / 64) & (before < 0.5) & (low > 0) & (tangent < 1 / 8) & (highest < 1 / 256)
    whole = torch.where(valid, whole, NOTHING)
    inside, beyond = 0.6 * whole, 1.02 * tangent * root
    rounding = 1.02 * root * (moment + size * product)
    image = inside * top + beyond * exact.beyond + rounding
    errors = (torch.where(valid, e, NOTHING) for e in (inside, beyond, image))
    return WhiteningError(moment, whole, torch.where(valid, tangent, NOTHING), *errors)


def reference_whitening(exact: Exact, variance: Tensor) -> WhiteningError:
    """Of the same by LAPACK in float64, as in baselines/spectral.py: backward stable, with 8 d u |M2|."""
    u, d = unit_roundoff(torch.float64), exact.problem.X.shape[2]
    N = exact.problem.X.shape[1]
    moment = (
        gamma(N + 2, u) * exact.second
        + u * (exact.moment_norm + exact.problem.s * number(d).sqrt())
        + variance
    )
    moved = moment + 8 * d * u * exact.moment_norm
    root, top = exact.least.rsqrt(), exact.largest.sqrt()
    valid, tangent = moved < exact.least / 8, torch.zeros_like(moved)
    if exact.problem.n_components < d:
        gap = exact.least - exact.next
        valid, tangent = valid & (moved < gap / 4), 1.5 * moved / gap
    defect = 1.2 * moved / exact.least + 8 * d * u + 1.04 * tangent.square() * exact.decay
    inside, beyond = 0.6 * defect, 1.02 * tangent * root
    image = inside * top + beyond * exact.beyond + 8 * d * u * top + 1.1 * moved * root
    errors = (moment, defect, tangent, inside, beyond, image)
    return WhiteningError(*(torch.where(valid, e, NOTHING) for e in errors))
