"""One pass over the points of a batch of tasks: the log-likelihood, and the EM step from there.

The log joint is c_k - |r_kn|^2 / 2 with r_kn = L_k^-1 (x_n - mu_k), S_k = L_k L_k^T, in coordinates about the
centre of the task. Each task gets the fastest of three formulas that keeps its digits:

    expanded    isotropic types and diagonal: linear in the features (x, x^2, 1), so that one product gives
                the log joint and one the moments. Rounds by about (d + 4) u E, E = sum_j M_j^2 / s_kj, M_j
                the largest |coordinate j| of a point or a mean.
    whitened    tied and full: r = L_k^-1 x - L_k^-1 mu_k is one product for all components, and the moments
                are those of r, S_k = L_k cov(r) L_k^T. r_i rounds by about (d + 3) u F, F = sum_j
                |L_k^-1|_ij M_j.
    subtracted  diagonal, tied and full, one component after another: x - mu_k comes first, as in `em_step`.

Expanded serves while E <= LOST, so that at most 12 bits of a log joint are lost, whitened while F <= LOST,
each before the step and after it: a variance that shrinks shows what has cancelled. Other tasks take the step
subtracted. The isotropic types are always expanded.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from baselines import gaussian
from baselines.em_parameters import Parameters
from baselines.em_steps import Moments, Update, anisotropic_moments, update
from baselines.points import Points
from baselines.scratch import Scratch

LOST = 2.0**12


class Joint(NamedTuple):
    """Log joints (B, K, n) of a chunk, and what the moments take from their computation."""

    values: Tensor
    kept: Tensor | None


class Expanded:
    """Log joints as products with the features, moments about the centre."""

    def __init__(self, parameters: Parameters, covariance_type: str, scratch: Scratch) -> None:
        self.scratch = scratch
        weights, means, covariances = parameters[:3]
        self.origin = torch.zeros_like(means)
        self.of_squares = None
        if covariance_type == "diagonal" and covariances is not None:
            self.of_features, self.of_squares = gaussian.diagonal_coefficients(weights, means, covariances)
        else:
            variances = gaussian.isotropic_variances(covariances, weights, covariance_type)
            self.of_features = gaussian.isotropic_coefficients(weights, means, variances)

    def joint(self, features: Tensor) -> Joint:
        B, d, n = len(features), features.shape[1] - 2, features.shape[2]
        values = self.scratch.take("joint", (B, self.origin.shape[1], n))
        torch.bmm(self.of_features, features, out=values)
        if self.of_squares is None:
            return Joint(values, None)
        squares = torch.square(features[:, :d].mT, out=self.scratch.take("squares", (B, n, d))).mT
        return Joint(values.baddbmm_(self.of_squares, squares), squares)

    def sums(self, shares: Tensor, features: Tensor, kept: Tensor | None) -> list[Tensor]:
        """Of the features (B, K, d + 2), and of the squares (B, K, d) for the diagonal type."""
        of_features = torch.bmm(shares, features.mT)
        return [of_features] if kept is None else [of_features, torch.bmm(shares, kept.mT)]

    def moments(self, sums: list[Tensor]) -> Moments:
        of_features = sums[0]
        second = of_features[..., -2] if len(sums) == 1 else sums[1]
        return Moments(of_features[..., -1], of_features[..., :-2], second)


class Whitened:
    """Residuals of all components in one product, moments about the means."""

    def __init__(self, parameters: Parameters, covariance_type: str, scratch: Scratch) -> None:
        self.scratch = scratch
        weights, means, _, roots, inverse_roots = parameters.with_roots(covariance_type)
        B, K, d = means.shape
        if roots is None or inverse_roots is None:
            raise ValueError(f"covariance_type is {covariance_type!r}, needs 'tied' or 'full'")
        shape = (B, K, d, d)
        self.origin = means
        self.roots = roots.reshape(B, -1, d, d).expand(shape)
        inverse = inverse_roots.reshape(B, -1, d, d).expand(shape)
        moved = inverse @ means.unsqueeze(-1)
        rows = torch.cat([inverse, torch.zeros_like(moved), -moved], dim=-1)
        self.rows = rows.reshape(B, K * d, d + 2)
        log_scale = inverse.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        self.constant = (weights.log() - 0.5 * d * math.log(2 * math.pi) + log_scale).unsqueeze(-1)

    def joint(self, features: Tensor) -> Joint:
        (B, K, d), n = self.origin.shape, features.shape[2]
        residuals = self.scratch.take("residuals", (B, K, d, n))
        torch.bmm(self.rows, features, out=residuals.view(B, K * d, n))
        squares = torch.square(residuals, out=self.scratch.take("squares", (B, K, d, n)))
        norms = torch.sum(squares, 2, out=self.scratch.take("joint", (B, K, n)))
        return Joint(torch.sub(self.constant, norms, alpha=0.5, out=norms), residuals)

    def sums(self, shares: Tensor, features: Tensor, kept: Tensor | None) -> list[Tensor]:
        """Of the features (B, K, d + 2), and of outer products of the residuals (B, K, d, d)."""
        (B, K, d), n = self.origin.shape, shares.shape[2]
        if kept is None:
            raise ValueError("kept is None, needs the residuals (B, K, d, n)")
        residuals = kept.view(B * K, d, n)
        weighted = self.scratch.take("squares", (B * K, d, n))
        torch.mul(residuals, shares.view(B * K, 1, n), out=weighted)
        outer = torch.bmm(weighted, residuals.mT).view(B, K, d, d)
        return [torch.bmm(shares, features.mT), outer]

    def moments(self, sums: list[Tensor]) -> Moments:
        of_features, outer = sums
        total = of_features[..., -1]
        first = of_features[..., :-2] - total.unsqueeze(-1) * self.origin
        return Moments(total, first, self.roots @ outer @ self.roots.mT)


class Subtracted:
    """Differences from the mean of one component after another, moments about the means."""

    def __init__(self, parameters: Parameters, covariance_type: str, scratch: Scratch) -> None:
        self.scratch = scratch
        self.parameters, self.covariance_type = parameters, covariance_type
        self.origin = parameters.means

    def joint(self, features: Tensor) -> Joint:
        weights, means, covariances = self.parameters[:3]
        if covariances is None:
            raise ValueError(f"covariance_type is {self.covariance_type!r}, needs one with covariances")
        X = features[:, :-2].mT
        values = gaussian.anisotropic_log_joint(X, weights, means, covariances, self.covariance_type)
        return Joint(values, None)

    def sums(self, shares: Tensor, features: Tensor, kept: Tensor | None) -> list[Tensor]:
        """The three fields of Moments."""
        return [*anisotropic_moments(shares, features[:, :-2].mT, self.origin, self.covariance_type)]

    def moments(self, sums: list[Tensor]) -> Moments:
        return Moments(*sums)


Formula = Expanded | Whitened | Subtracted


def em_pass(
    points: Points,
    parameters: Parameters,
    covariance_type: str,
    near: Tensor,
    wanted: Tensor,
    reg_covar: float = 0.0,
) -> tuple[Tensor, Update, Tensor]:
    """Log-likelihood per point (B,) at these parameters, one EM step from them, and `is_near` after it.

    near (B,) is `is_near` of the parameters, wanted (B,) the tasks whose step is of interest; reg_covar is
    added to the diagonal of the new covariances.
    """
    if not (near & wanted).any():
        exact = Subtracted(parameters, covariance_type, points.scratch)
        level, new = _step(points, exact, covariance_type, reg_covar)
        return level, new, is_near(points, _parameters(new), covariance_type)
    fast = _fast_formula(covariance_type)
    level, new = _step(points, fast(parameters, covariance_type, points.scratch), covariance_type, reg_covar)
    after = is_near(points, _parameters(new), covariance_type)
    far = (wanted & ~(near & after)).nonzero().squeeze(-1)
    if len(far):
        exact = Subtracted(parameters.rows(far), covariance_type, points.scratch)
        far_level, far_new = _step(points.rows(far), exact, covariance_type, reg_covar)
        level[far] = far_level
        for mine, theirs in zip(new, far_new, strict=True):
            if mine is not None and theirs is not None:
                mine[far] = theirs
        after[far] = is_near(points.rows(far), _parameters(far_new), covariance_type)
    return level, new, after


def is_near(points: Points, parameters: Parameters, covariance_type: str) -> Tensor:
    """(B,) booleans: the fast formula loses at most LOST at these parameters; False where they are void."""
    if covariance_type in gaussian.ISOTROPIC:
        return torch.ones_like(points.tasks, dtype=torch.bool)
    largest = torch.maximum(points.extent, parameters.means.abs().amax(1))
    if covariance_type == "diagonal" and parameters.covariances is not None:
        lost = (largest.square().unsqueeze(1) / parameters.covariances).sum(-1)
        return ((lost <= LOST) & (parameters.covariances > 0).all(-1)).all(-1)
    inverse_roots = parameters.with_roots(covariance_type).inverse_roots
    if inverse_roots is None:
        raise ValueError(f"covariances are None, needs those of covariance_type {covariance_type!r}")
    columns = largest.reshape(len(largest), *[1] * (inverse_roots.dim() - 2), -1)
    lost = (inverse_roots * columns).abs_().sum(-1)
    return (lost <= LOST).flatten(1).all(-1)


def expectation(points: Points, parameters: Parameters, covariance_type: str) -> tuple[Tensor, Moments]:
    """Log-likelihood per point (B,) at parameters of an isotropic type, and moments about the centre."""
    return _sums(points, Expanded(parameters, covariance_type, points.scratch))


def log_likelihood_per_point(points: Points, parameters: Parameters, covariance_type: str) -> Tensor:
    """sum_n a_n log p(x_n) / sum_n a_n of every task, (B,)."""
    near = is_near(points, parameters, covariance_type)
    if not near.any():
        return _level(points, Subtracted(parameters, covariance_type, points.scratch))
    fast = _fast_formula(covariance_type)
    level = _level(points, fast(parameters, covariance_type, points.scratch))
    far = (~near).nonzero().squeeze(-1)
    if len(far):
        exact = Subtracted(parameters.rows(far), covariance_type, points.scratch)
        level[far] = _level(points.rows(far), exact)
    return level


def numbers_per_point(covariance_type: str, n_features: int, n_components: int) -> int:
    """Numbers held for every point of a chunk. The two arrays of residuals count a quarter: they are worked
    on by products long enough to wait less for memory."""
    d, K = n_features, n_components
    if covariance_type in gaussian.ISOTROPIC:
        return d + 2 + 2 * K
    if covariance_type == "diagonal":
        return 2 * d + 2 + 2 * K
    return d + 2 + 2 * K + K * d // 2


def _fast_formula(covariance_type: str) -> type[Expanded] | type[Whitened]:
    return Whitened if covariance_type in ("tied", "full") else Expanded


def _parameters(new: Update) -> Parameters:
    return Parameters(new.weights, new.means, new.covariances, new.roots, new.inverse_roots)


def _step(
    points: Points, formula: Formula, covariance_type: str, reg_covar: float = 0.0
) -> tuple[Tensor, Update]:
    level, moments = _sums(points, formula)
    return level, update(moments, formula.origin, points.total_weight(), covariance_type, reg_covar)


def _sums(points: Points, formula: Formula) -> tuple[Tensor, Moments]:
    """Log-likelihood per point, and moments about the formula's origin. Several chunks add up in float64."""
    sums: list[Tensor] = []
    for features, weight in points.chunks():
        joint, kept = formula.joint(features)
        shares, log_density = _normalise(joint, points.scratch)
        if weight is not None:
            shares.mul_(weight.unsqueeze(1))
            log_density.mul_(weight.unsqueeze(1))
        part = [log_density.sum((1, 2)), *formula.sums(shares, features, kept)]
        if sums:
            for total, values in zip(sums, part, strict=True):
                total += values
        else:
            sums = part if features.shape[-1] == points.X.shape[1] else [values.double() for values in part]
    total, *others = (values.to(points.X.dtype) for values in sums)
    return total / points.total_weight(), formula.moments(others)


def _level(points: Points, formula: Formula) -> Tensor:
    total = points.centre.new_zeros(len(points.tasks), dtype=torch.float64)
    for features, weight in points.chunks():
        _, log_density = _normalise(formula.joint(features).values, points.scratch)
        total += (log_density if weight is None else weight.unsqueeze(1) * log_density).sum((1, 2))
    return total.to(points.X.dtype) / points.total_weight()


def _normalise(joint: Tensor, scratch: Scratch) -> tuple[Tensor, Tensor]:
    """Softmax over components and logsumexp (B, 1, n) from log joint (B, K, n), whose memory it reuses.

    A share of at most eight times the smallest normal number is set to exactly 0: where exp underflows it is
    ten to fifty times slower, and with components far apart that would be most of the time.
    """
    tiny = torch.finfo(joint.dtype).tiny
    row = (len(joint), 1, joint.shape[2])
    peak = torch.amax(joint, 1, keepdim=True, out=scratch.take("peak", row))
    shares = joint.sub_(peak).clamp_(min=math.log(4 * tiny)).exp_()
    shares = torch.threshold_(shares, 8 * tiny, 0.0)
    total = torch.sum(shares, 1, keepdim=True, out=scratch.take("total", row))
    return shares.div_(total), total.log_().add_(peak)
