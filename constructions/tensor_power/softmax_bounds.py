"""How far one step of softmax tensor power iteration is from ``T(I, v, v)``, and the step size to choose.

With ``a_jm = v_j v_m``, A their largest size, n data tokens, u the unit roundoff, and alpha the weights of
the p pairs (constructions/tensor_power/sinh_pairs.py), what the heads write is off by at most the sum of

    approximation   |sum_jm T_ijm (D_p(a_jm) - a_jm)|                                 (signed, as a series)
    leakage         e^-c sum_k |alpha_k| k sum_jm |T_ijm| e^(2 p eps A) (n |a_jm| + sum_l |a_lm|),
                    or its signed first order and a remainder, where that is smaller
    rounding        of the order of u c sum_k |alpha_k| / eps sum_jm |T_ijm|

Lemmas 1 to 4 of paper_notes/softmax_is_enough.md. Values are evaluated in float64, or
in intervals or balls (verify.intervals, verify.balls), which enclose them.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from constructions.language.rounding import (
    EXP_ULPS,
    above,
    approximately,
    gamma,
    number,
    or_infinity,
    rounded_difference,
    unit_roundoff,
)
from constructions.tensor_power.direction import Signed
from constructions.tensor_power.sinh_pairs import leading_constant, pair_weights, product_error, weight_moment
from constructions.tensor_power.softmax_error import Heads, SoftmaxError


def score_rounding(sink: float, amplitude: Tensor, dtype: torch.dtype) -> Tensor:
    """Absolute rounding of ``score_j - max score``: half a unit in the last place of a number near c.

    ``u 2^floor(log2 x)`` for the largest x that occurs: c + amplitude, or twice the amplitude where that is
    more than c; enlarged by the rounding of the scores. It is what limits the accuracy: the scores +-eps a_j
    stand beside c and lose the digits below it.
    """
    u = unit_roundoff(dtype)
    largest = torch.maximum(sink + amplitude, 2 * amplitude).clamp_min(2.0**-1000) * (1 + 8 * u)
    largest = approximately(above(largest))
    return u * (largest / (2 * torch.frexp(largest).mantissa))  # the mantissa is from 1/2 to below 1


def step_bound(
    T: Tensor,
    v: Tensor,
    heads: Heads,
    max_dim: int,
    dtype: torch.dtype,
    gap: Tensor | None = None,
    dims: Tensor | None = None,
) -> SoftmaxError:
    """Bound on one step from the state v.

    Args:
        T: (B, d, d, d), v: (B, d), float64.
        heads: step size, pairs, sink.
        max_dim: d0 of the weights, which sets the number of heads whose results are added up.
        dtype: in which the layer runs.
        gap: (B, d) how far ``s_j`` may be from ``v_j``; 0 unless said.
        dims: (B,) the true d of each tensor; d unless said.
    """
    gap = torch.zeros_like(v) if gap is None else gap
    a = v[:, :, None] * v[:, None, :]
    size = T.abs()
    series, tail = product_error(a, heads.epsilon, heads.pairs)
    signed, beyond = torch.einsum("bijm,bjm->bi", T, series), torch.einsum("bijm,bjm->bi", size, tail)
    moved = gap[:, :, None] * v.abs()[:, None, :]
    reach = (a.abs() + moved).amax((1, 2))
    leakage, leaks = _leakage(T, a, tokens(v, dims), heads)
    rounding, known = _rounding(T, a, moved, reach, heads, max_dim, dtype)
    mismatch = _mismatch(size, moved, reach, heads)
    exact = Signed(signed + leaks.middle, or_infinity(beyond + leaks.width))
    # Where an exponential left float64 (inf - inf, 0 inf) nothing is claimed.
    return SoftmaxError(
        or_infinity(signed.abs() + beyond),
        or_infinity(leakage),
        or_infinity(rounding + mismatch),
        exact,
        Signed(known.middle, or_infinity(exact.width + known.width + mismatch)),
    )


def _mismatch(size: Tensor, moved: Tensor, reach: Tensor, heads: Heads) -> Tensor:
    """What products off by ``moved`` change: ``D_p`` and the sink's share, through their slopes.

    ``kappa e^(p eps A) sum_jm |T_ijm| (moved_jm + e^(p eps A - c) sum_l moved_lm)``,
    ``kappa = sum_k |alpha_k| k``.
    """
    steep = torch.exp(heads.pairs * number(heads.epsilon) * reach)[:, None, None]
    spread = moved + steep * number(-heads.sink).exp() * moved.sum(1, keepdim=True)
    return weight_moment(heads.pairs, 1) * torch.einsum("bijm,bjm->bi", size, steep * spread)


def _leakage(T: Tensor, a: Tensor, n: Tensor, heads: Heads) -> tuple[Tensor, Signed]:
    """The smaller of two bounds (lemma 3), and the error itself up to a width.

    A head's weight is ``exp(x a_j) / (e^c + sum_l exp(x a_l))``; times e^c it falls short of ``exp(x a_j)``
    by ``g = exp(x a_j) delta / (1 + delta)``, ``delta = e^-c sum_l exp(x a_l)``. Uniformly,
    ``|g'| <= e^(2 x A - c) (n |a_j| + sum_l |a_l|)``. To first order, g'(0) is known with its sign, and the
    third derivative is at most ``9 A^3 n e^(2 x A - c)``.
    """
    p, size = heads.pairs, T.abs()
    reach = a.abs().amax((1, 2))
    decay = torch.exp(2 * p * number(heads.epsilon) * reach - heads.sink)[:, None]
    terms = n[:, None, None] * a.abs() + a.abs().sum(1, keepdim=True)
    uniform = weight_moment(p, 1) * decay * torch.einsum("bijm,bjm->bi", size, terms)
    first_order = torch.einsum("bijm,bjm->bi", T, _lost_slope(a, n, heads.sink))
    third = 9 / 6 * weight_moment(p, 3) * number(heads.epsilon).square() * reach**3 * n
    beyond = third[:, None] * decay * size.sum((2, 3))
    # What leaks is missing. Either width is right: the smaller one is chosen in float64.
    known = approximately(beyond) < approximately(uniform)
    signed = Signed(torch.where(known, -first_order, 0.0), torch.where(known, beyond, uniform))
    return torch.minimum(uniform, first_order.abs() + beyond), signed


def tokens(v: Tensor, dims: Tensor | None) -> Tensor:
    """(B,) float64: n, the number of data tokens of each tensor."""
    return v.new_full((len(v),), v.shape[1]) if dims is None else dims.to(v)


def _lost_slope(a: Tensor, n: Tensor, sink: float) -> Tensor:
    """``g'(0)`` of :func:`_leakage`, what is missing from ``a_jm`` to first order, (B, d, d)."""
    unit = number(-sink).exp()
    mass = (n * unit)[:, None, None]
    return a * mass / (1 + mass) + a.sum(1, keepdim=True) * unit / (1 + mass) ** 2


def _rounding(
    T: Tensor, a: Tensor, moved: Tensor, reach: Tensor, heads: Heads, max_dim: int, dtype: torch.dtype
) -> tuple[Tensor, Signed]:
    """Lemma 4: a bound, and what rounding adds, up to a width.

    A head's weights err one by one (score, exp) and together (their sum); pairs cancel neither.

    With A the reach, ``F = sum_jm |T_ijm|`` and ``G = sum_m |sum_j T_ijm|`` for the part common to all j,
    ``x = k eps A``, rho the error of one weight and zeta that of their sum, pair k adds

        |alpha_k| / eps e^x [ (rho + gamma_{n+3}) F + (zeta + gamma_{2 p d0 + 4}) (G + (e^x - 1) F) ]

    Most of rho is the rounding of ``score - c``. Where c is the largest score, that one rounding is known
    (:func:`_rounded_scores`): it enters with its sign, and rho keeps the error of exp alone. Assumed: a
    runtime that subtracts the largest score by one correctly rounded subtraction, as torch does on the CPU;
    a kernel that multiplies by log2 e first is not covered.
    """
    u, p, size = unit_roundoff(dtype), heads.pairs, T.abs()
    n = a.shape[1]
    separate, common = size.sum((2, 3)), T.sum(2).abs().sum(2)
    exp_error = 2 * EXP_ULPS[dtype] * u
    together = number(gamma(n + 5, u)) + gamma(2 * p * max_dim + 4, u)
    blind, known, signed = (torch.zeros_like(separate) for _ in range(3))
    for k, alpha in enumerate(pair_weights(p), 1):
        x = k * number(heads.epsilon) * reach
        grow, scale = torch.exp(x)[:, None], number(abs(alpha)) / heads.epsilon
        h = score_rounding(heads.sink, x, dtype)
        off = gamma(4, u) * x + h + exp_error
        share = (n * torch.exp(x - heads.sink + off)).clamp(max=1.0)[:, None]
        spread_all = common + torch.expm1(x)[:, None] * separate
        own = torch.expm1(off) + gamma(n + 3, u)
        blind = blind + scale * grow * (own[:, None] * separate + together * spread_all)
        shift, width = _rounded_scores(a, moved, k, heads, dtype)
        signed = signed + number(alpha) / (2 * heads.epsilon) * torch.einsum("bijm,bjm->bi", T, shift)
        loose = torch.einsum("bijm,bjm->bi", size, width + share[:, :, None] * shift.abs()) / 2
        own_exp = h.exp()[:, None] * (number(exp_error).expm1() + gamma(n + 3, u))
        jointly = (together + share * off.expm1()[:, None]) * spread_all
        known = known + scale * (loose + grow * (own_exp * separate + jointly))
    # A weight, or its product with T_ijm, may lose less than the smallest normal number.
    lost = (1 + size).sum((2, 3)) * torch.finfo(dtype).tiny
    lost = number(heads.sink).exp() * weight_moment(p, 0) / heads.epsilon * lost
    highest = (p * number(heads.epsilon) * reach * (1 + number(gamma(8, u))))[:, None]
    usable, whole = above(highest) < heads.sink, known + signed.abs()
    apart = usable & (approximately(known) < approximately(blind))
    width = torch.where(apart, known, blind) + lost
    usable = usable & (approximately(whole) < approximately(blind))
    return torch.where(usable, whole, blind) + lost, Signed(torch.where(apart, signed, 0.0), width)


def _rounded_scores(
    a: Tensor, moved: Tensor, k: int, heads: Heads, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """What rounding ``score - c`` changes in ``e^s`` of pair k, (B, d, d): middle and half width.

    The score is ``s = +-k eps a_jm`` up to ``gamma_4 |s|`` and what ``moved`` adds; rounding is monotone, so
    the difference lies between the two ends rounded. ``fl(s - c) + c`` is exact in float64.
    """
    c, u64 = heads.sink, unit_roundoff(torch.float64)
    middle, width = torch.zeros_like(a), torch.zeros_like(a)
    for sign in (1.0, -1.0):
        s = sign * k * number(heads.epsilon) * a
        reach = gamma(6, unit_roundoff(dtype)) * s.abs() + 2 * k * number(heads.epsilon) * moved
        if dtype != torch.float64:
            reach = reach + 2 * u64 * (c + s.abs())  # the ends are formed in float64 first
        low, high = ((rounded_difference(s + end, c, dtype) + c) - s for end in (-reach, reach))
        middle = middle + sign * torch.exp(s) * torch.expm1((low + high) / 2)
        spread = (high - low) / 2 + 4 * u64 * s.abs()
        width = width + torch.exp(s + high.abs()) * torch.expm1(spread)
    return middle, width


def pick_rounding(v: Tensor, bound: float, dtype: torch.dtype) -> Tensor:
    """(B, d): ``|s_j - v_j|`` after a pick by two hinges at -B: ``2 gamma_2 (2 B + |v_j|)``."""
    return 2 * gamma(2, unit_roundoff(dtype)) * (2 * bound + v.abs())


def predicted_error(T: Tensor, v: Tensor, heads: Heads) -> Tensor:
    """The error of one step but for rounding, with its sign, (B, d); leakage to first order."""
    a = v[:, :, None] * v[:, None, :]
    series, _ = product_error(a, heads.epsilon, heads.pairs)
    return torch.einsum("bijm,bjm->bi", T, series - _lost_slope(a, tokens(v, None), heads.sink))


def product_rounding(heads: Heads, dtype: torch.dtype) -> float:
    """Standard deviation of the rounding of one product, were score roundings independent and uniform.

    ``h |alpha|_2 / (sqrt(3) eps)``, h the half unit of :func:`score_rounding`: beside c the scores
    ``+k eps a`` and ``-k eps a`` are rounded by opposite amounts, so a pair adds both. A model that predicts,
    not a bound.
    """
    alphas = math.sqrt(sum(float(alpha) ** 2 for alpha in pair_weights(heads.pairs)))
    return alphas * float(score_rounding(heads.sink, number(0.0), dtype)) / (math.sqrt(3) * heads.epsilon)


def expected_rounding(T: Tensor, heads: Heads, dtype: torch.dtype) -> Tensor:
    """Standard deviation of one step's rounding, (B, d): :func:`product_rounding` times ``|T_i|_F``."""
    return product_rounding(heads, dtype) * T.square().sum((2, 3)).sqrt()


def best_epsilon(
    dtype: torch.dtype, pairs: int, sink: float = 36.0, amplitude: float = 1.0, terms: int = 1
) -> float:
    """The step size at which the predicted error of a product is least.

    Approximation ``C eps^(2p) A^(2p+1)``, with ``C = p!^2 / (2p+1)!``, falls with eps as rounding
    ``R / eps`` grows, R that of :func:`product_rounding` over ``sqrt(n)``;
    ``eps = (R / (2 p C A^(2p+1)))^(1/(2p+1))``, or 1 if that is larger.

    Args:
        dtype: in which the layer runs. pairs: p. sink: c.
        amplitude: A, the typical size of a product ``v_j v_m``: ``(mean |a|^(2p+1))^(1/(2p+1))``.
        terms: n, the number of products that are added up, d^2: their roundings average out.

    Raises:
        ValueError: ``dtype``, ``pairs``, ``sink``, ``amplitude`` or ``terms`` out of range.
    """
    if dtype not in EXP_ULPS:
        raise ValueError(f"dtype is {dtype}; it is torch.float32 or torch.float64")
    if not (0 < amplitude < math.inf and 0 < sink < math.inf and terms >= 1):
        raise ValueError(
            f"amplitude, sink and terms are {amplitude}, {sink} and {terms}; positive, positive, at least 1"
        )
    rounding = product_rounding(Heads(1.0, pairs, sink), dtype) / math.sqrt(terms)
    power = 2 * pairs + 1
    steepness = 2 * pairs * leading_constant(pairs) * amplitude**power
    return 1.0 if rounding >= steepness else (rounding / steepness) ** (1 / power)


def epsilon_for(v: Tensor, pairs: int, sink: float, dtype: torch.dtype) -> float:
    """:func:`best_epsilon` for starts v (B, d): at the amplitude of their products ``v_j v_m``.

    The median of the starts decides; the largest product of all keeps ``eps |v_j v_m| <= 1``.
    """
    a = (v[:, :, None] * v[:, None, :]).abs()
    power = 2 * pairs + 1
    amplitude = float((a**power).mean((1, 2)).median() ** (1 / power))
    best = best_epsilon(dtype, pairs, sink, amplitude, v.shape[1] ** 2)
    return min(best, 1 / largest_product(v))


def largest_product(v: Tensor) -> float:
    """Largest ``|v_j v_m|``, or 1 if that is larger: step sizes are measured in its inverse."""
    return max(1.0, float(v.abs().max()) ** 2)


def predicted_product_error(heads: Heads, dtype: torch.dtype) -> float:
    """Of one product of size 1: approximation to leading order, and rounding, as if independent."""
    approximation = leading_constant(heads.pairs) * heads.epsilon ** (2 * heads.pairs)
    return math.hypot(approximation, product_rounding(heads, dtype))


def heads_for(error: float, dim: int, pairs: int) -> Heads:
    """A large eps and a low sink whose exact error is below ``error`` for products of size at most 1.

    ``C eps^(2p) cosh(p eps)`` (lemma 2 of the note) and ``2 n kappa e^(2 p eps - c)`` (lemma 3) are half of
    it each. Larger eps and lower sinks mean smaller weights; more pairs allow a larger eps.
    """
    epsilon = min(1.0, (error / (2 * leading_constant(pairs))) ** (1 / (2 * pairs)))
    while leading_constant(pairs) * epsilon ** (2 * pairs) * math.cosh(pairs * epsilon) > error / 2:
        epsilon *= 0.99
    leak = 4 * dim * float(weight_moment(pairs, 1)) / error
    return Heads(epsilon, pairs, math.log(leak) + 2 * pairs * epsilon)
