"""EM for the mode of the posterior under the prior of the paper's tasks (MAP): box for means, law of weights.

Prior: means uniform in the box [-B, B]^d, and pi = r / sum_j r_j with r_k uniform in [l, h], all independent;
paper_tasks has B = 5, l = 0.2, h = 0.8. (It also redraws means until their cosines are below 0.8. That is
left out: the set of such means is not a product, and the M step would have no closed form.)

**Density of the weights.** With r = s pi, s = sum r, dr = s^(K-1) ds dpi (dpi over K - 1 of the weights), so

    p(pi) = (h - l)^-K int s^(K-1) [l <= s pi_k <= h for all k] ds  ~  (h/M)^K - (l/m)^K

with M = max pi and m = min pi, where that is positive, M/m < h/l, and 0 elsewhere.

**Objective.** F = sum_n log p(x_n | pi, mu) + log((h/M)^K - (l/m)^K), over mu in the box and M/m < h/l: the
log posterior density in (pi, mu) up to a constant. The E step as ever; the M step below maximises
Q = sum_k W_k log pi_k - (1/2) sum_kn w_kn |x_n - mu_k|^2 + log p(pi), so F never falls.
Source: Dempster, Laird and Rubin 1977, section 2 (EM for the mode of a posterior).

**M step, means.** -(1/2) sum_n w_kn |x_n - mu|^2 = -(W_k/2) |mu - c_k|^2 + constant, c_k the weighted
average: a sum of one concave parabola for each coordinate. The box is a product of intervals, so each
coordinate is maximised alone, and the parabola of peak c_kj is highest in [-B, B] at c_kj clipped to it. With
W_k = 0 (or too small to divide by) every mean serves, and the old one is kept.

**M step, weights.** Put z = log pi, x >= all z_k, y <= all z_k. Maximise

    G(z, x, y) = sum_k W_k z_k + log(h^K e^(-K x) - l^K e^(-K y))     subject to sum_k e^(z_k) <= 1.

log(e^u - e^v) = u + log(1 - e^(v-u)) is concave in (u, v), increasing in u, decreasing in v; so G is concave,
x = max z and y = min z at the maximum, and the set is convex. Moving z, x and y up by t adds (N - K) t, so
for N > K the sum is 1 at the maximum, and this is the M step. With rho = (l M / (h m))^K in (0, 1) the KKT
conditions (necessary and sufficient, the problem being convex) read

    W_k - lambda pi_k = alpha_k - beta_k,   sum alpha = K/(1 - rho),   sum beta = K rho/(1 - rho)

with alpha_k >= 0, and 0 unless pi_k = M, beta_k >= 0, and 0 unless pi_k = m. Their sum: lambda = N - K. So

    M: sum_k (W_k - lambda M)_+ = K/(1 - rho),    m: sum_k (lambda m - W_k)_+ = K rho/(1 - rho),
    pi_k = W_k/lambda clipped to [m, M].

Both are water levels: with top_j and bottom_j the sums of the j largest and the j smallest W,

    lambda M = max_j (top_j - K/(1 - rho))/j,    lambda m = min_j (bottom_j + K rho/(1 - rho))/j.

As rho grows from (l/h)^K to 1, log(M/m) falls and t = log(h/l) + log(rho)/K rises from 0 to log(h/l). They
meet once, where Newton's method finds them, unless M <= m at t = 0 already. Then equal weights are best:
M = m = 1/K has that rho, and with sum_k (W_k - lambda/K)_+ <= K/(1 - rho) there are alpha and beta for it.
"""

import math

import torch
from torch import Tensor

from baselines.ascent import AscentResult, Move, climb
from baselines.checks import check_points
from baselines.em_parameters import Parameters
from baselines.em_pass import expectation
from baselines.mixture import Mixture
from baselines.points import Points

BOX = 5.0
RAW_RANGE = (0.2, 0.8)


def map_em(
    X: Tensor,
    n_components: int | None = None,
    *,
    box: float = BOX,
    raw_range: tuple[float, float] = RAW_RANGE,
    init: str | Mixture = "k-means++",
    n_init: int = 1,
    max_iter: int = 1000,
    tol: float = 1e-6,
    generator: torch.Generator | None = None,
) -> AscentResult:
    """The mode of the posterior, locally, in every task of X (..., N, d), N > K; unit covariances.

    box, raw_range           B and (l, h) of the head of this file.
    init, n_init, generator  as baselines.em.em; the restart of the highest F is kept. Starting means are
                             clipped to the box. A Mixture given as init needs max pi / min pi < h/l.
    tol                      a task stops where a step changed F/N by less than tol.

    The objective of the result is F/N, natural log, constants of log p(x) in, those of the prior left out.
    A mean on the wall of the box can be an ulp or two outside it. Raises ValueError for bad input.
    """
    if not 0 < box < float("inf"):
        raise ValueError(f"box is {box}, needs a finite number > 0")
    low, high = raw_range
    if not 0 < low < high < float("inf"):
        raise ValueError(f"raw_range is {raw_range}, needs 0 < low < high, both finite")
    check_points(X)
    K = init.n_components if isinstance(init, Mixture) else n_components
    if K is not None and not X.shape[-2] > K:
        raise ValueError(f"X has {X.shape[-2]} points, needs more than n_components = {K}")
    if isinstance(init, Mixture):
        ratio = (init.weights.amax(-1) / init.weights.amin(-1)).max().item()
        if not ratio < high / low:
            raise ValueError(f"init has weights of ratio {ratio}, needs < {high / low} of raw_range")

    def into_box(points: Points, means: Tensor) -> Tensor:
        return torch.clamp(means + points.centre, -box, box) - points.centre

    def start_in_box(points: Points, start: Parameters) -> Parameters:
        return start._replace(means=into_box(points, start.means))

    def step(points: Points, current: Parameters, memory: tuple[Tensor, ...] | None) -> Move:
        level, moments = expectation(points, current, "unit")
        objective = level + log_prior(current.weights, raw_range) / points.total_weight()
        gap = torch.full_like(objective, torch.inf) if memory is None else (objective - memory[0]).abs()
        usable = moments.total.unsqueeze(-1) >= torch.finfo(moments.total.dtype).tiny
        means = torch.where(usable, moments.first / moments.total.unsqueeze(-1), current.means)
        weights = weights_step(moments.total, raw_range)
        return Move(objective, gap, Parameters(weights, into_box(points, means), None), (objective,))

    return climb(
        X,
        n_components,
        step,
        start_in_box,
        init=init,
        n_init=n_init,
        max_iter=max_iter,
        tol=tol,
        generator=generator,
    )


def log_prior(weights: Tensor, raw_range: tuple[float, float] = RAW_RANGE) -> Tensor:
    """log((h/M)^K - (l/m)^K), M and m the largest and least of weights (..., K): (...); -inf where it is 0.

    Written K log(h/M) + log(1 - rho), rho = (l M/(h m))^K.
    """
    low, high = raw_range
    K = weights.shape[-1]
    largest, least = weights.amax(-1), weights.amin(-1)
    log_rho = K * (math.log(low / high) + largest.log() - least.log())
    return K * (math.log(high) - largest.log()) + torch.log(-torch.expm1(log_rho.clamp(max=0)))


def weights_step(shares: Tensor, raw_range: tuple[float, float] = RAW_RANGE) -> Tensor:
    """argmax over pi of sum_k W_k log pi_k + log p(pi): W (..., K) >= 0, sum W > K -> (..., K).

    Proof at the head of this file. Raises ValueError where sum W <= K.
    """
    K = shares.shape[-1]
    if not (shares.sum(-1) > K).all():
        raise ValueError(f"the shares sum to {shares.sum(-1).min().item()}, needs more than K = {K}")
    ascending = shares.sort(-1).values
    least, largest, gap = _levels(ascending, torch.zeros_like(shares[..., 0]), raw_range)[:3]
    equal = ~(gap > 0)
    least, largest = _meeting_levels(ascending, equal, raw_range)
    clipped = torch.minimum(torch.maximum(shares, least.unsqueeze(-1)), largest.unsqueeze(-1))
    weights = clipped / clipped.sum(-1, keepdim=True)
    return torch.where(equal.unsqueeze(-1), 1 / K, weights)


def _levels(ascending: Tensor, t: Tensor, raw_range: tuple[float, float]) -> tuple[Tensor, ...]:
    """lambda m, lambda M, the gap log(M/m) - t, its slope, its rounding, for rho = (l e^t/h)^K: (...) each.

    With A = K/(1 - rho) and B = rho A, dA/dt = dB/dt = K^2 rho/(1 - rho)^2 = A B. The slope is below -1. Sums
    of K shares round by K u, so with the subtraction of A the gap is off by < 4 (K + 4) u (1 + A/(lambda M)),
    and by |slope| times what t is, 4 u log(h/l). Where lambda M <= 0 the gap is -inf.
    """
    K = ascending.shape[-1]
    span = math.log(raw_range[1] / raw_range[0])
    rho = torch.exp(K * (t - span))
    above = K / -torch.expm1(K * (t - span))
    below = rho * above
    count = torch.arange(1, K + 1, dtype=t.dtype, device=t.device)
    bottom, top = ascending.cumsum(-1), ascending.flip(-1).cumsum(-1)
    least, i = ((bottom + below.unsqueeze(-1)) / count).min(-1)
    largest, j = ((top - above.unsqueeze(-1)) / count).max(-1)
    gap = torch.where(largest > 0, largest.log() - least.log() - t, -torch.inf)
    slope = -below * above * (1 / ((j + 1) * largest) + 1 / ((i + 1) * least)) - 1
    rounding = 4 * torch.finfo(t.dtype).eps * ((K + 4) * (1 + above / largest) + slope.abs() * span)
    return least, largest, gap, slope, rounding


def _meeting_levels(ascending: Tensor, done: Tensor, raw_range: tuple[float, float]) -> tuple[Tensor, Tensor]:
    """lambda m and lambda M where the gap of `_levels` is 0 to rounding; of no use for tasks `done` already.

    Newton's method in a bracket. A step that leaves it, or is more than half of the step before, is replaced
    by halving the bracket; about ten steps are usual. After 64 only halvings follow, and 64 of them leave
    less than the rounding of t.
    """
    left = torch.zeros_like(ascending[..., 0])
    right = torch.full_like(left, math.log(raw_range[1] / raw_range[0]))
    t, step = 0.5 * right, right
    least, largest, gap, slope, rounding = _levels(ascending, t, raw_range)
    for count in range(128):
        done = done | (gap.abs() <= rounding)
        if done.all():
            break
        left, right = torch.where(gap > 0, t, left), torch.where(gap > 0, right, t)
        move = -gap / slope
        usable = (t + move > left) & (t + move < right) & (move.abs() <= 0.5 * step) & (count < 64)
        moved = torch.where(usable, t + move, 0.5 * (left + right))
        step = (moved - t).abs()
        t = torch.where(done, t, moved)
        least, largest, gap, slope, rounding = _levels(ascending, t, raw_range)
    return least, largest
