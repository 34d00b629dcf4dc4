"""The tensor power method followed by two computations: how far apart they are after every step.

The base is a path computed in float64; the other starts ``e`` away from it with a tensor ``shift`` away, and
rounds. With w = T(I, v, v), J = P_w 2 T(I, v, .) P_v on the spheres and t = |T|_F:

    e <- (|J| e + t e^2 + shift + rounding) / (|w| - (2 |T(I, v, .)| e + t e^2 + shift + rounding)) + rounding

Near a fixed point |J| < 1: errors fade; before it they may grow. What deflation has left wrong is seen by a
vector only as far as it leans on what was taken away, c = |<v, v_k>|: at most

    (c + e_k)^2 |error of lambda_k v_k| + lambda_k (2 c e_k + e_k^2)

so errors do not grow from component to component. Lemma 5 of paper_notes/spectral_in_attention.md. inf where
nothing is claimed.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from constructions.language.rounding import approximately, gamma, number, unit_roundoff
from constructions.language.shown import short_repr
from constructions.spectral.moments import REST
from constructions.spectral.plan import Plan

U64 = unit_roundoff(torch.float64)
GATE = 2.0
"""Bound of a coordinate of a unit vector in the MLP: constructions.spectral.power.UNIT."""


@dataclass(frozen=True)
class Arithmetic:
    """How one side computes: the constructed layers with unit roundoff u, or the reference.

    Attributes:
        u, base: unit roundoff of this side, and of the base; 0 for exact arithmetic.
        gated: vectors pass a gate of the MLP on their way. handicap: of each start against the one before.
        margin: how near a start's score must be to the best one's to be mixed with it.
        value_gate: bound of the gate that scores pass, 0 for none.
    """

    u: float
    base: float
    gated: bool
    handicap: float
    margin: float
    value_gate: float

    @classmethod
    def of_layers(cls, plan: Plan, u: float) -> Arithmetic:
        """The constructed layers."""
        return cls(u, U64 if u else 0.0, True, plan.handicap, plan.margin, plan.tensor_bound)

    @classmethod
    def of_reference(cls) -> Arithmetic:
        """baselines/robust_tensor_power.py."""
        return cls(U64, U64, False, 0.0, 0.0, 0.0)

    def both(self, operations: int) -> Tensor:
        """gamma of so many, on this side and on the base's: a number."""
        return number(gamma(operations, self.u)) + gamma(operations, self.base)

    def contraction(self, K: int) -> Tensor:
        """Of |T(I, v, v)| on both sides, over |T|_F |v|^2: products v_b v_c, gated or not, and K^2 terms."""
        found = self.both(K * K + 8)
        return found + 2.1 * (4 * self.u * GATE) * number(K).sqrt() if self.gated else found

    def unit(self, K: int) -> Tensor:
        """Of a vector divided by its length, on both sides; its length is 1 up to this as well."""
        return self.both(K + 10)

    def value(self, K: int) -> Tensor:
        """Absolute, of a score beyond what the contraction leaves."""
        return 4 * self.u * self.value_gate * number(K).sqrt()


@dataclass(frozen=True, eq=False)
class Component:
    """What one round of the base found, and how far one other computation may be from it, (B,) each.

    Attributes:
        value, vector: lambda (B,) and v (B, K) of the base.
        value_error, vector_error, product_error: of lambda, v and lambda v.
    """

    value: Tensor
    vector: Tensor
    value_error: Tensor
    vector_error: Tensor
    product_error: Tensor

    __repr__ = short_repr


def contract(T: Tensor, v: Tensor) -> Tensor:
    """T(I, v, v): T (B, K, K, K), v (B, S, K) -> (B, S, K)."""
    return torch.einsum("bklm,bsl,bsm->bsk", T, v, v)


def unit(w: Tensor) -> Tensor:
    """w / |w|, 0 for 0."""
    norm = w.norm(dim=-1, keepdim=True)
    return w / torch.where(norm > 0, norm, 1.0)


@dataclass(frozen=True, eq=False)
class Side:
    """One computation beside the base.

    Attributes:
        by: how it computes. shift: (B,) |T_c - T|_F before any deflation, and what rounds in deflating.
        skew: (B,) of the tensor, beyond its symmetric part, which exact vectors do not see.
        past: what it found in earlier rounds.
    """

    by: Arithmetic
    shift: Tensor
    skew: Tensor
    past: tuple[Component, ...] = ()

    __repr__ = short_repr

    def seen(self, v: Tensor, e: Tensor) -> Tensor:
        """(B, S) of the tensors' difference at v (B, S, K), which this side holds up to e (B, S)."""
        total = self.shift[:, None].expand_as(e)
        for one in self.past:
            # No vector leans by more than its length, which is 1 up to rounding, on both sides.
            longest = (1 + self.by.unit(v.shape[-1])) ** 2
            lean = ((v * one.vector[:, None]).sum(-1).abs() + e).clamp_max(longest)
            off = one.vector_error[:, None]
            total = total + one.product_error[:, None] * (lean + off).square()
            total = total + one.value.abs()[:, None] * (2 * lean * off + off.square())
        return total

    def size(self, T: Tensor) -> Tensor:
        """(B,) a bound of the tensor's norm, with what is not symmetric in it."""
        return T.flatten(1).norm(dim=-1) + self.skew

    def after(self, T: Tensor, found: Component) -> Side:
        """With one component taken from both tensors; that rounds, over the sizes of T and of the term."""
        size = self.size(T) + found.value.abs() + self.shift
        K = found.vector.shape[-1]
        rounding = self.by.contraction(K) + self.by.both(6)
        return Side(self.by, self.shift + rounding * size, self.skew, (*self.past, found))

    def rounding(self, T: Tensor, shift: Tensor, fresh: Tensor) -> Tensor:
        """(B, S) absolute, of T(I, v, v): v (x) v is off by 2 fresh."""
        own = self.by.contraction(T.shape[-1])
        return (own + 2.1 * fresh) * (self.size(T)[:, None] + shift)

    def fresh(self, T: Tensor, shift: Tensor, w: Tensor) -> Tensor:
        """(B, S) by how much the K tokens of a start differ after a step with w; 0 for the reference.

        What each rounds for itself: its contraction over |w|, and the division.
        """
        if not self.by.gated:
            return torch.zeros_like(w[..., 0])
        K = w.shape[-1]
        own = self.by.contraction(K) * (self.size(T)[:, None] + shift) / w.norm(dim=-1)
        return 2 * (2 * own + self.by.unit(K))


@dataclass(frozen=True, eq=False)
class Distance:
    """(B, S) how far a side's vectors may be from the base's, and its tokens of a start from one another."""

    error: Tensor
    fresh: Tensor

    __repr__ = short_repr


@dataclass(frozen=True, eq=False)
class Local:
    """A step of the base near v, for all sides.

    Attributes:
        w: (B, S, K) T(I, v, v). size: (B, S) |w|. slope, turning: (B, S) bounds of |2 T(I, v, .)| and of
            its part J that turns directions. whole: (B, 1) |T|_F.
    """

    w: Tensor
    size: Tensor
    slope: Tensor
    turning: Tensor
    whole: Tensor

    __repr__ = short_repr

    @classmethod
    def of(cls, T: Tensor, v: Tensor) -> Local:
        """T (B, K, K, K), v (B, S, K)."""
        slope = 2 * torch.einsum("bklm,bsl->bskm", T, v)
        w = torch.einsum("bskm,bsm->bsk", slope, v) / 2
        direction = unit(w)
        off = slope - direction[..., :, None] * torch.einsum("bsk,bskm->bsm", direction, slope)[..., None, :]
        off = off - torch.einsum("bskm,bsm->bsk", off, v)[..., :, None] * v[..., None, :]
        return cls(w, w.norm(dim=-1), _spectral(slope), _spectral(off), T.flatten(1).norm(dim=-1)[:, None])


def step_error(T: Tensor, v: Tensor, at: Distance, side: Side, near: Local | None = None) -> Distance:
    """After a step: T (B, K, K, K), v (B, S, K); ``near`` is ``Local.of(T, v)`` where it is known."""
    near = near or Local.of(T, v)
    K, by, e = v.shape[-1], side.by, at.error
    shift = side.seen(v, e)
    extra = near.whole * e.square() + (1 + e) ** 2 * (shift + side.rounding(T, shift, at.fresh))
    left = near.size - near.slope * e - extra
    found = (near.turning * e + extra) / left + by.unit(K) + (REST / left).square()
    valid = (e < 0.5) & (left > 0) & (found < 0.5)
    fresh = torch.where(valid, side.fresh(T, shift, near.w) * near.size / left, 1.0)
    return Distance(torch.where(valid, found, torch.inf), fresh)


def _spectral(matrices: Tensor) -> Tensor:
    """A bound of |A|_2 of (..., K, K): sqrt(|A|_1 |A|_inf) or |A|_F, whichever is less."""
    sums = (matrices.abs().sum(-1).amax(-1) * matrices.abs().sum(-2).amax(-1)).sqrt()
    return torch.minimum(sums, matrices.flatten(-2).norm(dim=-1))


def follow(
    T: Tensor, v: Tensor, at: list[Distance], sides: list[Side], steps: int
) -> tuple[Tensor, list[Distance]]:
    """``steps`` of the base from v (B, S, K), and the distances of all sides after them."""
    for _ in range(steps):
        near = Local.of(T, v)
        at = [step_error(T, v, one, side, near) for one, side in zip(at, sides, strict=True)]
        v = unit(near.w)
    return v, at


def score_error(T: Tensor, v: Tensor, at: Distance, side: Side) -> Tensor:
    """(B, S) of T(v, v, v) at v (B, S, K); at most 2 |T| wherever the side's vectors are."""
    K, by, e = v.shape[-1], side.by, at.error
    w = contract(T, v)
    across = (w - (w * v).sum(-1, keepdim=True) * v).norm(dim=-1)
    whole, shift = T.flatten(1).norm(dim=-1)[:, None], side.seen(v, e)
    lengths = by.both(K + 4) + 3.1 * by.unit(K) + 3.1 * at.fresh
    off = side.rounding(T, shift, at.fresh) + lengths * (side.size(T)[:, None] + shift)
    found = 3 * across * e + 3 * whole * e.square() + whole * e**3 + (1 + e) ** 3 * (shift + off)
    most = 2.1 * whole + shift + off
    return torch.minimum(torch.where(e < 0.5, found, torch.inf), most)


def chosen_error(
    scores: Tensor, score_errors: Tensor, v: Tensor, e: Tensor, best: Tensor, by: Arithmetic
) -> Tensor:
    """(B,) how far what a side chooses may be from the base's v[best].

    Any start whose score may come within ``margin`` of the best score may be chosen, or mixed in;
    ``best`` may be any start.
    """
    B, S, _ = v.shape
    biased = scores - by.handicap * torch.arange(S, dtype=v.dtype)
    least = (biased - score_errors).amax(1, keepdim=True)
    possible = biased + score_errors >= least - by.margin
    away = (v - v[torch.arange(B), best][:, None]).norm(dim=-1) + e
    worst = away.masked_fill(~possible, 0.0).amax(1)
    mixed = worst / (1 - worst) if by.margin else worst
    return torch.where(worst < 0.4, mixed + 2 * by.unit(v.shape[-1]), torch.inf)


def components(T: Tensor, starts: Tensor, at: list[Distance], sides: list[Side], steps: int) -> list[Side]:
    """All K rounds from T (B, K, K, K) and starts (B, S, K) of length 1, with the distance of each side.

    Returns:
        The sides with what they found.
    """
    row = torch.arange(len(T))
    for _ in range(starts.shape[-1]):
        v, after = follow(T, starts, at, sides, steps)
        scores = (v * contract(T, v)).sum(-1)
        best = approximately(scores).argmax(1)
        after = [_chosen(T, scores, v, one, best, side) for one, side in zip(after, sides, strict=True)]
        v, after = follow(T, v[row, best][:, None], after, sides, steps)
        value = (v * contract(T, v)).sum(-1)[:, 0]
        vector = v[:, 0]
        found = [_component(T, v, value, one, side) for one, side in zip(after, sides, strict=True)]
        sides = [side.after(T, one) for side, one in zip(sides, found, strict=True)]
        T = T - value[:, None, None, None] * torch.einsum("bk,bl,bm->bklm", vector, vector, vector)
    return sides


def _chosen(T: Tensor, scores: Tensor, v: Tensor, at: Distance, best: Tensor, side: Side) -> Distance:
    """(B, 1) as chosen_error; what is chosen is one vector, rounded by each token for itself."""
    _, S, K = v.shape
    off = score_error(T, v, at, side) + side.by.value(K)
    e = chosen_error(scores, off, v, at.error + at.fresh, best, side.by)[:, None]
    fresh = torch.zeros_like(e)
    return Distance(e, fresh + 2 * (side.by.unit(K) + gamma(S * K, side.by.u)) if side.by.gated else fresh)


def _component(T: Tensor, v: Tensor, value: Tensor, at: Distance, side: Side) -> Component:
    off, e = score_error(T, v, at, side)[:, 0], (at.error + at.fresh)[:, 0]
    off = torch.where(e.isfinite(), off, torch.inf)
    product = off * (1 + e) + value.abs() * e + gamma(2, side.by.u) * (value.abs() + off)
    return Component(value, v[:, 0], off, e, torch.where(e.isfinite(), product, torch.inf))
