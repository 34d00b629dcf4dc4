"""Normal draws cut to an interval, exact to rounding however far in a tail the interval lies."""

import math

import torch
from torch import Tensor
from torch.special import erfcx, ndtr, ndtri

TAIL = -8.0  # an interval wholly below so many deviations is drawn by its distance from the end nearest to 0
NEWTON_STEPS = 6


def truncated_normal(
    mean: Tensor, deviation: Tensor, low: float, high: float, generator: torch.Generator
) -> Tensor:
    """x ~ N(mean, deviation^2) given low <= x <= high: mean and deviation broadcast to the shape of x.

    Inverse of the distribution function, with the sign turned where that puts the interval to the left, as
    Phi keeps its relative accuracy there: y = Phi^-1(Phi(a) + w (Phi(b) - Phi(a))), w uniform in (0, 1],
    a and b the ends in deviations, a + b <= 0. Where b < -8 see `tail_distance`. deviation = inf is the
    uniform law. A draw that rounding of mean + deviation y puts outside by an ulp is put on the end.
    Raises ValueError unless low < high, both finite.
    """
    if not -math.inf < low < high < math.inf:
        raise ValueError(f"(low, high) is {(low, high)}, needs low < high, both finite")
    mean, deviation = torch.broadcast_tensors(mean, deviation)
    draws = 1 - torch.rand(mean.shape, dtype=mean.dtype, device=mean.device, generator=generator)
    a, b = (low - mean) / deviation, (high - mean) / deviation
    turned = a + b > 0
    a, b = torch.where(turned, -b, a), torch.where(turned, -a, b)
    start = ndtr(a)
    y = ndtri(start + draws * (ndtr(b) - start))
    tail = b < TAIL
    if tail.any():
        y = y.masked_scatter(tail, b[tail] - tail_distance(-b[tail], (b - a)[tail], draws[tail]))
    x = torch.clamp(mean + deviation * torch.where(turned, -y, y), low, high)
    flat = torch.isinf(deviation)
    return torch.where(flat, low + (high - low) * draws, x) if flat.any() else x


def tail_distance(edge: Tensor, width: Tensor, draws: Tensor) -> Tensor:
    """s in [0, width] with P(e < Y < e + s) = (1 - w) P(e < Y < e + width), Y ~ N(0, 1), edge e > 0.

    With Q(y) = P(Y > y) = erfcx(y/sqrt 2) exp(-y^2/2)/2 and

        g(s) = log Q(e + s)/Q(e) = -s (e + s/2) + log(erfcx((e + s)/sqrt 2)/erfcx(e/sqrt 2)),

    s solves g(s) = r = log(1 + (1 - w)(e^g(width) - 1)): nothing cancels and nothing underflows. g falls and
    is concave, and its second term is <= 0, so Newton's method from the root of s (e + s/2) = -r comes down
    on the solution from the right. From e = 8 that root is off by 2 %, and each step squares the error.
    """
    root = math.sqrt(0.5)

    def fall(s: Tensor) -> Tensor:
        return -s * (edge + 0.5 * s) + torch.log(erfcx((edge + s) * root) / erfcx(edge * root))

    level = torch.log1p((1 - draws) * torch.expm1(fall(width)))
    s = -2 * level / (edge + torch.sqrt(edge * edge - 2 * level))
    for _ in range(NEWTON_STEPS):
        s = s + (fall(s) - level) * erfcx((edge + s) * root) * math.sqrt(math.pi / 2)
    return s
