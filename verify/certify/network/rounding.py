"""How far one sub-layer in floating point may be from itself in real arithmetic, from its own input.

A sum of n products, in any order and with or without fused multiply-add, is off by at most

    gamma_n(u) sum |x_i y_i| + 2 n tiny          (Higham, Lemma 3.1; tiny: what flushing below it can take)

with n the number of products that are not 0, since adding 0 is exact. Arguments that are off by e_x and e_y
add ``sum e_x |y| + (|x| + e_x) e_y``. A ReLU makes no error larger, and none where its argument is certainly
negative. What is assumed beyond IEEE arithmetic is the accuracy of exp alone: ``EXP_ULPS``, and 2 ulp of the
root in a norm.

Everything is evaluated in float64, whose roundoff is at most u: what is computed here as "exact" is itself
within the same e, so that |exact| and |computed| are at most ``|value| + 2 e``. The e themselves are sums of
numbers that are not negative, with fewer than 2^30 roundings one after another: ``SAFE`` covers them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from constructions.language.rounding import EXP_ULPS, unit_roundoff
from constructions.language.transformer import MLP, SelfAttention

SAFE = 1 + 2.0**-20
"""More than ``(1 - 2^-53) ** -(2^30)``."""


@dataclass(frozen=True, eq=False)
class Near:
    """Numbers in float64, and how far exact ones and computed ones may be from them."""

    value: Tensor
    error: Tensor

    @property
    def size(self) -> Tensor:
        """What bounds the absolute value of the exact and of the computed number."""
        return self.value.abs() + 2 * self.error


@dataclass(frozen=True)
class Format:
    """A floating-point format: its unit roundoff, its smallest normal number, its exp.

    Attributes:
        exp: relative error of one exp; 1 ulp is at most 2 u.
    """

    u: float
    tiny: float
    exp: float

    @classmethod
    def of(cls, dtype: torch.dtype) -> Format:
        """Of float64 and float32.

        Raises:
            ValueError: a dtype whose exp nothing is assumed of.
        """
        if dtype not in EXP_ULPS:
            raise ValueError(f"dtype is {dtype}; it is one of {', '.join(map(str, EXP_ULPS))}")
        u = unit_roundoff(dtype)
        return cls(u, torch.finfo(dtype).tiny, 2 * EXP_ULPS[dtype] * u)

    def gamma(self, n: Tensor) -> Tensor:
        """gamma_n, inf where ``n u >= 1``, where the analysis says nothing."""
        left = 1 - n * self.u
        return torch.where(left > 0, n * self.u / left, torch.inf)

    def product(self, x: Near, y: Near, more: Tensor | int = 0) -> Near:
        """``x @ y``; each term passes through ``more`` other roundings."""
        n = (x.size > 0).double() @ (y.size > 0).double() + more
        error = x.error @ y.size + x.size @ y.error + self.gamma(n) * (x.size @ y.size) + 2 * n * self.tiny
        return Near(x.value @ y.value, SAFE * error)

    def total(self, summands: list[Near]) -> Near:
        """The sum, each summand with its own error; of n that are not 0, each is added n - 1 times."""
        n = torch.stack([(x.size > 0).double() for x in summands]).sum(0)
        size = torch.stack([x.size for x in summands]).sum(0)
        error = torch.stack([x.error for x in summands]).sum(0) + self.gamma((n - 1).clamp_min(0)) * size
        return Near(torch.stack([x.value for x in summands]).sum(0), SAFE * error)


def exactly(x: Tensor) -> Near:
    """Floats as they are."""
    x = x.detach().double()
    return Near(x, torch.zeros_like(x))


def _relu(x: Near) -> Near:
    return Near(x.value.clamp_min(0), torch.where(x.value + 2 * x.error > 0, x.error, 0.0))


def fed_within(mlp: MLP, h: Tensor) -> Tensor:
    """(N, D) bound on the rounding of ``h + relu(h W_1 + b_1) W_2 + b_2``; h (N, D)."""
    form = Format.of(h.dtype)
    w1, b1, w2, b2 = (exactly(w) for w in (mlp.w1, mlp.b1, mlp.w2, mlp.b2))
    stream = exactly(h)
    one = exactly(torch.ones(len(h), 1))
    before = form.product(_beside(stream, one), _below(w1, b1))
    return form.total(
        [stream, form.product(_relu(before), w2), Near(*(x.expand_as(h) for x in _both(b2)))]
    ).error


def attended_within(attention: SelfAttention, h: Tensor) -> Tensor:
    """(N, D) bound on the rounding of ``h + sum_heads A h W_V W_O``; h (N, D) holds real tokens.

    Not finite where nothing is known: scores that are nothing but rounding.
    """
    form = Format.of(h.dtype)
    return form.total([exactly(h), _written(form, attention, h)]).error


def written_within(attention: SelfAttention, h: Tensor) -> Tensor:
    """(N, D) bound on the rounding of ``sum_heads A h W_V W_O`` alone, which a norm then reads."""
    return _written(Format.of(h.dtype), attention, h).error


def normed_within(attention: SelfAttention, h: Tensor, written: Tensor) -> Tensor:
    """(N, D) bound on the rounding of ``h + gain sqrt(D) w / |w|`` of w = ``written`` as it stands.

    The squares, their sum and mean, the root (2 ulp), the gain and the products are gamma_(D + 10). Squares
    of entries below ``sqrt(2 tiny)`` may be lost, 2 tiny each: where these are a share x of ``|w|^2``, at
    most 1/2, the quotient is off by a factor up to ``(1 - x) ** -(1/2) <= 1 + x``. Not finite where they
    are more, or the mean underflows.
    """
    form, w, width = Format.of(h.dtype), written.double(), h.shape[1]
    squares = w.square()
    total = squares.sum(1, keepdim=True)
    lost = ((w != 0) & (squares < 2 * form.tiny)).sum(1, keepdim=True) * 2 * form.tiny / total
    value = w / total.sqrt() * width**0.5 * attention.norm.weight.detach().double()  # pyright: ignore[reportCallIssue]
    operations = form.gamma(torch.tensor(width + 10.0, dtype=torch.float64))
    error = SAFE * (operations + (1 + operations) * lost) * value.abs() + form.tiny
    resolved = (lost <= 0.5) & (total >= 2 * width * form.tiny)
    return form.total([exactly(h), Near(value, torch.where(resolved, error, torch.inf))]).error


def _written(form: Format, attention: SelfAttention, h: Tensor) -> Near:
    """(N, D) ``sum_heads A h W_V W_O``; on the way the heads are the first axis."""
    weights = attention.query, attention.key, attention.value
    q, k, v = (form.product(exactly(h), exactly(weight)) for weight in weights)
    # A scale other than 1 is rounded, and so is a product with it or with its root on either side.
    c = attention.shape.score_scale
    scores = form.product(q, Near(c * k.value.mT, abs(c) * k.error.mT), 0 if c == 1 else 6)
    if attention.kind == "softmax":
        read = _averaged(form, scores, v)
    else:
        if attention.shape.divide_by_tokens:
            tokens = len(h)
            v = Near(v.value / tokens, SAFE * (v.error + form.u * v.size) / tokens + form.tiny)
        read = form.product(_relu(scores), v)
    joined = Near(*(x.transpose(0, 1).flatten(1) for x in _both(read)))
    return form.product(joined, exactly(attention.output.flatten(0, 1)))


def _averaged(form: Format, scores: Near, v: Near) -> Near:
    """``softmax(scores) v``, however a kernel cuts the N keys into blocks.

    A weight is ``exp(s_j - m)`` of some running maximum m, times an exp for each later maximum: at most N + 1
    exps and products, whose arguments add up to ``s_j - max s``. All arguments have one sign, so that their
    roundings add up to at most ``u |s_j - max s|``. With the error of the score a weight is off by a factor
    within exp(+-t_j), and by 2 (N + 2) tiny where it underflows; the largest is 1. The sum of the weights is
    then off by a factor within ``1 +- delta``, ``delta = sum_j p_j (exp(t_j) - 1) + gamma_N + underflow``,
    and the share p_j by one within ``(exp(t_j) / (1 - delta)) ** +-1``.
    """
    value, error = scores.value, scores.error
    N = value.shape[-1]
    largest = error.amax(-1, keepdim=True)
    gap = value.amax(-1, keepdim=True) - value + 2 * (error + largest)
    steps = (N + 1) * (form.exp + form.u) / (1 - form.exp - form.u)
    # expm1 and softmax are those of float64, whose exp is assumed no worse than the format's.
    growth = SAFE * torch.expm1(error + form.u * gap + steps)
    lost = 2 * (N + 2) * form.tiny
    summed = float(form.gamma(torch.tensor(N + 3.0, dtype=torch.float64))) + N * lost
    p = value.softmax(-1)

    def off(p: Tensor) -> Tensor:
        delta = SAFE * ((p * growth).sum(-1, keepdim=True) + summed)
        return torch.where(delta < 1, (growth + delta) / (1 - delta), torch.inf)

    most = p * (1 + off(p)) + lost
    shares = Near(p, SAFE * (most * off(most) + lost))
    return form.product(shares, v, 2)


def _beside(one: Near, other: Near) -> Near:
    return Near(*(torch.cat(pair, 1) for pair in zip(_both(one), _both(other), strict=True)))


def _below(one: Near, other: Near) -> Near:
    pairs = zip(_both(one), _both(other), strict=True)
    return Near(*(torch.cat([above, below[None]]) for above, below in pairs))


def _both(x: Near) -> tuple[Tensor, Tensor]:
    return x.value, x.error
