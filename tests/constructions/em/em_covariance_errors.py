"""How far one constructed step with covariances may be from plain EM, or two evaluations of it apart.

Let u be the roundoff of the dtype, gamma_n = n u / (1 - n u), r the responsibilities, m the means before.

logits    Off by at most l_ik: what the approximated functions put in, and gamma_n of the sum of all sizes.
          log r_ik is then off by v_ik = l_ik + log sum_j r_ij e^l_ij, and gamma_{4T+10} + 4 u L for a softmax
          over T tokens with logits of size L.
weights   |pi' - pi| <= mean_i r_ik expm1(v_ik) + gamma_T.
averages  E_k weighs the points by e^f(r): its logarithm is off by V_ik, v_ik + e + rounding from log r, e the
          error of the chords of log. With the shares p_i of r, E' h - E h = sum p_i (e^V_i - 1)(h_i - E h) /
          sum p_i e^V_i, so it is off by at most sum a_i |h_i - E h| / (1 - sum a_i), a_i = p_i expm1(V_i).
          Points with r below the floor weigh at most the floor: N floor / sum_i r_ik of the span of h more.
          Its sum adds gamma_T of the largest. Clearing and writing a mean is one sum of both.
diagonal  s = E[(x - m)^2] - (mu - m)^2; squares g err by rel t^2 + least^2/4, and are (1 + q) max|t| + least
          Lipschitz, q the ratio of two knots. Gates add 2 gamma_3 (2 B + size).
full      With c = mu: S'_ab - S_ab = (E' - E)[(x-c)_a (x-c)_b] - (mu'-c)_a (mu'-c)_b.

Two evaluations compute one function F: without the approximations, and with the slope z / (1 - e^-z) of
chords of log against the logarithm, z = log(1/floor)/M, each is within this of F, so they are within twice.
"""

import dataclasses
import math
from collections.abc import Callable

import torch
from em_covariances import F64, Step, Task, plain_step, responsibilities
from torch import Tensor

from constructions.em.matrices import MatrixEM
from constructions.em.variances import VarianceEM
from constructions.language.piecewise import PiecewiseLinear
from constructions.language.rounding import gamma, unit_roundoff
from constructions.matrices.newton_error import reciprocal_error
from constructions.matrices.sweep_error import SweepError, sweep_error

EM = VarianceEM | MatrixEM


def precision_error(em: MatrixEM, S: Tensor, dtype: torch.dtype = F64) -> SweepError:
    """Of the inverse and the log-determinant of a matrix after all sweeps."""

    def reciprocal(gap: float) -> float:
        s = em.start
        beyond = gap / s.low
        error = reciprocal_error(s.function, s.scale, s.bound, None, em.newton_steps, dtype, beyond)
        return float(error.total)

    return sweep_error(S, em.bounds.scale, reciprocal, em.log_pivot, em.stream.ids.width + 1000, dtype)


@dataclasses.dataclass(frozen=True, eq=False)
class Average:
    """E_k of a step: shares (N, K), errors of their logarithms, what the floor adds (K,), rounding."""

    shares: Tensor
    logs: Tensor
    below: Tensor
    rounding: float

    def error(self, h: Tensor) -> Tensor:
        """(K, ...) of the averages of h (N, K or 1, ...); inf where nothing is claimed."""
        grown = self.shares * torch.expm1(self.logs)
        grown, shares = (v.reshape(*v.shape, *[1] * (h.dim() - 2)) for v in (grown, self.shares))
        off = (grown * (h - (shares * h).sum(0)).abs()).sum(0)
        left = 1 - grown.sum(0)
        below = self.below.reshape(-1, *[1] * (h.dim() - 2)) * (h.amax(0) - h.amin(0))
        return torch.where(left > 0, off / left, torch.inf) + below + self.rounding * h.abs().amax(0)


def step_tolerance(
    em: EM, task: Task, dtype: torch.dtype = F64, refreshed: bool = False, approximate: bool = True
) -> Step:
    """Largest errors of one step from the task against plain EM; without ``approximate`` against F."""
    u, (N, d), K = unit_roundoff(dtype), task.X.shape, len(task.weights)
    soft = gamma(4 * (N + K * d) + 10, u)
    logit_error = _variance_logits if isinstance(em, VarianceEM) else _matrix_logits
    logits, size = logit_error(em, task, dtype, approximate)  # pyright: ignore[reportArgumentType]
    depth = -math.log(em.floor)
    if refreshed:  # log pi by chords, and interpolated between two knots: gamma_11 of its size
        logits = logits + em.log_pi.rounding_error(dtype) + gamma(11, 2.0**-53) * depth
        logits = logits + approximate * em.log_pi.approximation_error
    r = responsibilities(task)
    v = logits + (r * logits.exp()).sum(1, keepdim=True).log() + 2 * (soft + 4 * u * size)
    weights = (r * torch.expm1(v)).mean(0) + soft
    if approximate:
        steep, below = 1.0, N * em.floor * torch.exp(2 * v.amax(0)) / r.sum(0)
    else:
        z = depth / em.log_resp.pieces
        steep, below = z / -math.expm1(-z), torch.zeros(K, dtype=F64)
    V = steep * v + em.log_resp.rounding_error(dtype) + soft + 4 * u * depth
    average = Average(r / r.sum(0), V + approximate * em.log_resp.approximation_error, below, soft + 4 * u)

    gate = 2 * gamma(3, u)
    # Dense weights clear the old mean and add the new one in one sum.
    means = average.error(task.X[:, None]) + 4 * u * (task.means.abs() + task.X.abs().amax(0))
    if isinstance(em, VarianceEM):
        covariances = _variances(em, task, dtype, approximate, average, means, weights)
    else:
        means = means + gate * em.bounds.mean
        covariances = _covariances(em, task, average, means, gate, weights)
    return Step(weights, means, covariances)


def distance(em: EM, task: Task, dtype: torch.dtype = F64, refreshed: bool = False) -> Step:
    """How far two evaluations of one step can be apart."""
    found = step_tolerance(em, task, dtype, refreshed, approximate=False)
    return Step(2 * found.weights, 2 * found.means, 2 * found.covariances)


def broken(error: Step, limit: Step) -> list[str]:
    """One line for every part whose error is not below its limit."""
    return [
        f"{name}: {float(e.abs().max()):.2e}, where {float(e.abs().max() / t.max()):.2g} of its limit"
        for name in ("weights", "means", "covariances")
        for e, t in [(getattr(error, name), getattr(limit, name))]
        if not bool((e <= t).all())
    ]


def _rounding(f: PiecewiseLinear, dtype: torch.dtype, x: Tensor) -> Tensor:
    """Of a function in either evaluation, with two operations more for a second column that is read."""
    found = f.rounding_error_at(dtype, x)
    return (1 + 2 / f.units) * found + 2 * unit_roundoff(dtype) * f.lipschitz * x.abs()


def _square_errors(em: VarianceEM, dtype: torch.dtype, approximate: bool) -> Callable[[Tensor], Tensor]:
    """t -> largest error of the square of t, a difference of coordinates up to the radius."""
    g, u = em.functions.square, unit_roundoff(dtype)
    relative, least = max(map(abs, g.relative_error)), float(g.function.knots[len(g.function.knots) // 2 + 1])
    steepest = 2 * em.radius * u  # of each of two coordinates

    def error(t: Tensor) -> Tensor:
        rounding = _rounding(g.function, dtype, t) + 4 * (2 * t.abs() + least) * steepest
        return rounding + approximate * (relative * t.square() + least**2 / 4)

    return error


def _variance_logits(
    em: VarianceEM, task: Task, dtype: torch.dtype, approximate: bool
) -> tuple[Tensor, float]:
    """(N, K) errors of -(1/2) sum q rho - (1/2) sum log s, and the size of logits."""
    u, (N, d), K, f = unit_roundoff(dtype), task.X.shape, len(task.weights), em.functions
    s = task.matrices.diagonal(dim1=1, dim2=2)
    spherical = task.kind != "diagonal"
    held = d * s[:, :1] if spherical else s  # v
    times = float(d) if spherical else 1.0
    t = task.X[:, None] - task.means
    # Means are averages of K mu over N tokens, weighed by counts of slots; so t is off by rounding.
    centre = (gamma(4 * N + 16, u) + 8 * u * math.log(N + 1)) * task.means.abs()
    slope = (2 + f.square.excess**0.5) * 2 * t.abs() + 1
    squares = _square_errors(em, dtype, approximate)(t) + slope * centre
    rho = times / held
    eta = max(map(abs, f.reciprocal.relative_error)) * approximate
    rho_error = rho * (eta + 4 * u) + times * _rounding(f.reciprocal.function, dtype, held)
    q = t.square()
    products = ((q + squares) * (rho + rho_error) - q * rho).sum(-1) / 2
    logs = f.log_variance.approximation_error * approximate + _rounding(f.log_variance, dtype, held)
    count = d if spherical else 1
    log_det = count * (logs + 2 * u * held.log().abs()).sum(-1) / 2
    sizes = (q * rho).sum(-1) / 2 + count * held.log().abs().sum(-1) / 2 - math.log(em.floor) + math.log(N)
    sizes = sizes + (em.max_dim - d) * abs(math.log(em.eigenvalues.low)) / 2  # absent coordinates  # pyright: ignore
    size = float(sizes.max())
    return products + log_det + gamma(em.max_dim * K + 12, u) * size, size


def _matrix_logits(em: MatrixEM, task: Task, dtype: torch.dtype, approximate: bool) -> tuple[Tensor, float]:
    """(N, K) errors of <x, P mu> - <x x^T, P>/2 - mu^T P mu/2 - log det S/2, and the size of logits."""
    u, d = unit_roundoff(dtype), task.X.shape[1]
    gate = 2 * gamma(3, u)
    found = []
    sizes = []
    x, m = task.X.abs(), task.means.abs()
    for k, S in enumerate(task.matrices):
        error, P = precision_error(em, S, dtype), torch.linalg.inv(S).abs()
        off = error.inverse + gamma(4 * d + 4, u) * P + gate * (2 * em.bounds.precision + P)
        eta = off @ m[k] + gate * (2 * em.bounds.eta + P @ m[k])
        norm = m[k] @ eta + gate * em.bounds.mean * (P @ m[k]).sum()
        log_det = error.log_det - (0.0 if approximate else d * em.log_pivot.approximation_error)
        found.append(x @ eta + ((x @ off) * x).sum(1) / 2 + norm / 2 + log_det / 2)
        sizes.append(x @ (P @ m[k]) + ((x @ P) * x).sum(1) / 2 + m[k] @ P @ m[k] / 2)
    size = float(torch.stack(sizes).max()) - math.log(em.floor) + d * abs(math.log(em.eigenvalues.low))  # pyright: ignore
    terms = em.max_dim**2 + em.max_dim + 2 * em.max_components + 10
    return torch.stack(found, 1) + gamma(terms, u) * size, size


def _variances(
    em: VarianceEM,
    task: Task,
    dtype: torch.dtype,
    approximate: bool,
    average: Average,
    mean_error: Tensor,
    weight_error: Tensor,
) -> Tensor:
    u, g, d = unit_roundoff(dtype), em.functions.square, task.X.shape[1]
    wrong = _square_errors(em, dtype, approximate)
    now = plain_step(task)
    t, moved = task.X[:, None] - task.means, (now.means - task.means).abs()
    least = float(g.function.knots[len(g.function.knots) // 2 + 1])
    ratio = float(g.function.knots[-1] / g.function.knots[-2])
    q = t.square()
    # E'[g] - E[t^2] = E'[g - t^2] + (E' - E)[t^2], and E' of an error is E of it and its own error.
    errors = wrong(t)
    second = (average.shares[:, :, None] * errors).sum(0) + average.error(errors) + average.error(q)
    correction = ((1 + ratio) * (moved + mean_error) + least) * mean_error + wrong(moved + mean_error)
    each = second + correction
    if task.kind == "diagonal":
        width = 4 * em.radius**2
        return each + 2 * gamma(3, u) * (4 * 1.0625 * width + q.amax(0)) + 4 * u * q.amax(0)
    gate = 2 * gamma(3, u) * (4 * 1.0625 * em.max_dim * 4 * em.radius**2 + q.sum(-1).amax(0))
    total = each.sum(-1) + gate + gamma(d + 4, u) * q.sum(-1).amax(0)
    if task.kind == "spherical":
        return total / d
    # The average over components, weighed by e^f(pi').
    spread = (average.shares[:, :, None] * (task.X[:, None] - now.means).square()).sum((0, 2))
    depth = -math.log(em.floor)
    logs = -torch.log1p(-(weight_error / now.weights).clamp_max(1))
    z = depth / em.log_pi.pieces
    logs = logs * (1.0 if approximate else z / -math.expm1(-z))
    V = (
        float(logs.max())
        + em.log_pi.rounding_error(dtype)
        + average.rounding
        + 8 * u * (depth + math.log(len(task.X)))
    )
    V += approximate * em.log_pi.approximation_error
    apart = float(spread.max() - spread.min()) + 2 * float(total.max())
    return (total.max() + apart * math.tanh(V / 2) + average.rounding * float(spread.max())) / d


def _covariances(
    em: MatrixEM, task: Task, average: Average, mean_error: Tensor, gate: float, weight_error: Tensor
) -> Tensor:
    away = task.X[:, None] - plain_step(task).means
    products = away[..., :, None] * away[..., None, :]
    each = average.error(products) + mean_error[:, :, None] * mean_error[:, None]
    largest, rounding = task.X.abs().amax(0), gate + average.rounding
    each = each + rounding * (
        4 * largest[:, None] * largest + 8 * em.bounds.second + 4 * em.bounds.covariance
    )
    if task.kind == "full":
        return each
    weights, S = responsibilities(task).mean(0), (average.shares[..., None, None] * products).sum(0).abs()
    total = (weights[:, None, None] * each + weight_error[:, None, None] * (S + each)).sum(0)
    return total + rounding * S.sum(0)
