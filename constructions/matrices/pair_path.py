"""How far a construction in softmax form is from its linear pairs, entry by entry and layer by layer.

Every number x that the pairs compute in float64 gets a radius r: exact arithmetic and the softmax form, in
float64 too, structured or dense, stay within it. A layer writes ``y_i = sum_j n_j a_ij v_j`` with the scores
``a = c <q, k>``, pairs added up. From radii of q, k, v, with |.| entry by entry,

    r_y  =  |J| r                                          J the Jacobian of the sum
            + n |c| (r_q r_k |v| + (|q| r_k + r_q |k| + r_q r_k) r_v)
            + the error of the softmax form of each pair at ``|q| + r_q, ..``        (pair_error)
            + gamma_m n |c| |q| |k| |v|                    rounding of y itself, m terms

That J is that of the sum matters to Newton's ``2 X - X A X``, of slope 0 at the inverse. An MLP:

    f(x), monotone          max |f(x +- r) - f(x)|, and twice its rounding
    a gate e, bound B       open: r + B r_e;  shut: what |x| + r exceeds ``B (1 - r_e)`` by
    carried                 r

and gamma of the sum where several terms or an old value meet. The sink holds an exact 0. Radii are computed
in float64, not rounded up: sums of positive numbers, some hundred terms each, 1e-13 of themselves.

An arithmetic of intervals on the softmax heads would not do: the two heads of a pair would each carry the
radius of v, enlarged by 1 / eps.

Source: ours, paper_notes/matrix_machine.md.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from constructions.language.assembly import Layer
from constructions.language.gates import ApplyWhere, Gated
from constructions.language.heads import Head, HeadSum
from constructions.language.mlp import Apply, Carry, MLPPart
from constructions.language.piecewise import PiecewiseLinear
from constructions.language.rounding import gamma, unit_roundoff
from constructions.language.shown import short_repr
from constructions.language.stream import Block
from constructions.language.structured.partitions import Partition, Tokens
from constructions.matrices.softmax_form import Reach, linear_pairs, pair_error, with_reach
from constructions.tensor_power.softmax_bounds import Heads

F64 = torch.float64
U = unit_roundoff(F64)

Radii = dict[Block, Tensor]
"""(B, C, width) of each block; one that is not there is exact."""


@dataclass(frozen=True, eq=False)
class Held:
    """What classes of equal tokens hold, and by how much that may be off.

    Attributes:
        tokens: of the pairs. partition: the classes. counts: (B, C). radii: of the blocks.
    """

    tokens: Tokens
    partition: Partition
    counts: Tensor
    radii: Radii

    __repr__ = short_repr

    def middle(self, block: Block) -> Tensor:
        """(B, C, width)."""
        value = self.tokens.values[block.whole]
        if value.partition is not self.partition and value.partition.kind != "same":
            raise ValueError(f"{block!r} is not held by the classes: {value.partition.kind!r}")
        numbers = value.numbers.expand(-1, -1, self.counts.shape[-1]).mT
        return numbers[..., _columns(block)]

    def radius(self, block: Block) -> Tensor:
        """(B, C, width)."""
        found = self.radii.get(block.whole)
        return torch.zeros_like(self.middle(block)) if found is None else found[..., _columns(block)]


def _columns(block: Block) -> slice:
    first = block.start - block.whole.start
    return slice(first, first + block.width)


# --- attention --------------------------------------------------------------------------------------------


def pairs_radius(part: Head | HeadSum, held: Held, heads: Heads, reach: Reach) -> Tensor:
    """(B, C, width) of what the linear pairs of one sum write."""
    pairs = linear_pairs(part)
    off = _jacobian_part(pairs, held)
    for head in pairs:
        q, k, v = _factors(head, held)
        counts = held.counts.to(F64)[:, :, None]
        scale, size = abs(head.scale), v[0].abs() * counts
        score, moved, second = _scores(q, k)
        off = off + scale * (second @ size + moved @ (v[1] * counts))
        own = with_reach(heads, reach(head.score))
        largest, in_layer = score + moved, 2 * heads.pairs * len(pairs)
        rank = head.score.rank + 3  # and what stands for the sink
        values = v[0].abs() + v[1]
        given = (largest, largest, values, head.scale, own, F64, rank, in_layer, held.counts)
        terms = head.score.rank + held.counts.shape[-1] + 4 + len(pairs)
        off = off + pair_error(*given).total + gamma(terms, U) * scale * (score @ size)
    return off


def _factors(head: Head, held: Held) -> tuple[tuple[Tensor, Tensor], ...]:
    """Query, key and value of one pair with their radii; terms of the score side by side."""
    queries, keys = [], []
    for term in head.score.terms:
        if term.query is None:
            raise ValueError(f"{head} has a term of the key alone; pairs have products")
        queries.append((term.coefficient * held.middle(term.query), abs(term.coefficient), term.query))
        keys.append(term.key)
    q = torch.cat([middle for middle, _, _ in queries], -1)
    r = torch.cat([size * held.radius(block) for _, size, block in queries], -1)
    k = torch.cat([held.middle(block) for block in keys], -1)
    own = torch.cat([held.radius(block) for block in keys], -1)
    return (q, r), (k, own), (held.middle(head.read), held.radius(head.read))


def _scores(q: tuple[Tensor, Tensor], k: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """(B, C, C) each: sizes of the scores, how far they move, and what of that is of second order."""
    (q0, rq), (k0, rk) = (q[0].abs(), q[1]), (k[0].abs(), k[1])
    second = rq @ rk.mT
    return q0 @ k0.mT, q0 @ rk.mT + rq @ k0.mT + second, second


def _jacobian_part(pairs: list[Head], held: Held) -> Tensor:
    """``|J| r`` of the sum of the pairs.

    What a token asks with and what it is attended for may cancel where a class is one token alone.
    """
    blocks = [block for head in pairs for block in (*head.score.reads, head.read)]
    wholes = list(dict.fromkeys(block.whole for block in blocks))
    moving = [block for block in wholes if block in held.radii]
    if not moving:
        return torch.zeros(*held.counts.shape, pairs[0].write.width, dtype=F64)

    def written(counts: Tensor, asking: tuple[Tensor, ...], attended: tuple[Tensor, ...]) -> Tensor:
        queries, keys = (dict(zip(wholes, values, strict=True)) for values in (asking, attended))
        total = torch.zeros(())
        for head in pairs:
            score = torch.zeros(())
            for term in head.score.terms:
                if term.query is not None:
                    q = queries[term.query.whole][:, _columns(term.query)]
                    score = score + term.coefficient * q @ keys[term.key.whole][:, _columns(term.key)].mT
            read = keys[head.read.whole][:, _columns(head.read)]
            total = total + head.scale * score @ (counts[:, None] * read)
        return total

    values = tuple(held.middle(block) for block in wholes)
    slopes = torch.func.vmap(torch.func.jacrev(written, argnums=(1, 2)))
    alone = (held.counts == 1)[:, None, None, :, None]
    parts = []
    for block, asked, attended in zip(wholes, *slopes(held.counts.to(F64), values, values), strict=True):
        if block in moving:
            size = torch.where(alone, (asked + attended).abs(), asked.abs() + attended.abs())
            parts.append(torch.einsum("biwjv,bjv->biw", size, held.radii[block]))
    return torch.stack(parts).sum(0)


# --- MLP --------------------------------------------------------------------------------------------------


def mlp_radii(layer: Layer, held: Held) -> Radii:
    """Radii after the MLP, from the state after attention."""
    cleared = {block for part in layer.mlp for block in part.clears}
    after = {block: radius for block, radius in held.radii.items() if block not in cleared}
    for part in layer.mlp:
        for block in part.writes:
            radius, size = _part_radius(part, held)
            if block in held.tokens.values:  # cleared or added to: one sum more, of what it holds
                size = size + held.middle(block).abs() + held.radius(block)
            own = radius + gamma(4, U) * size
            after[block] = own + after[block] if block in after else own
    return after


def _part_radius(part: MLPPart, held: Held) -> tuple[Tensor, Tensor]:
    """Of what a part adds, and its largest size, each (B, C, width)."""
    if isinstance(part, Carry):
        x, r = held.middle(part.read), held.radius(part.read)
        return abs(part.scale) * r, abs(part.scale) * (x.abs() + r)
    if isinstance(part, Gated):
        return _gated_radius(part, held)
    if isinstance(part, Apply) and part.minus is None and part.summed == 1:
        radius, size = _function_radius(part.function, held.middle(part.read), held.radius(part.read))
        return abs(part.scale) * radius, abs(part.scale) * size
    if isinstance(part, ApplyWhere) and part.factors == (1.0,) and part.by.width == 1:
        radius, size = _function_radius(part.function, held.middle(part.read), held.radius(part.read))
        e = held.middle(part.by)
        if bool(held.radius(part.by).any()) or not bool(((e == 0) | (e == 1)).all()):
            raise ValueError(f"{part} has a gate that is not an exact 0 or 1")
        shut = float((np.abs(part.function.hinge_weights) * part.shut).sum())
        return e * (radius + 4 * gamma(4, U) * shut), e * size
    raise ValueError(f"{part} has no radius: linear parts, gates and functions of one number have")


def _function_radius(f: PiecewiseLinear, x: Tensor, r: Tensor) -> tuple[Tensor, Tensor]:
    """``max |f(x +- r) - f(x)|`` and the rounding of two evaluations; sizes.

    Rounding grows away from the anchor, so it is largest at an end.
    """
    if len({bool(slope > 0) for slope in f.slopes}) != 1:
        raise ValueError(f"{f} is not monotone")
    middle, ends = f(x), (x - r, x + r)
    moved = torch.stack([(f(end) - middle).abs() for end in ends]).amax(0)
    rounded = [f.rounding_error_at(F64, end) for end in ends]
    return moved + 2 * torch.stack(rounded).amax(0), middle.abs() + moved


def _gated_radius(part: Gated, held: Held) -> tuple[Tensor, Tensor]:
    """A gate that is nearly open adds its own distance to 1, B times; one nearly shut lets a rest pass."""
    n, m, w = part.sizes
    x, r = (of.unflatten(-1, (1, m, w)) for of in (held.middle(part.read), held.radius(part.read)))
    e, s = (of.unflatten(-1, (n, m, 1)) for of in (held.middle(part.by), held.radius(part.by)))
    B = part.bound
    opened = e >= 0.5
    s = s + torch.where(opened, (e - 1).abs(), e.abs())
    reach = x.abs() + r
    rounding = gamma(4, U) * (reach + 2 * B * (1 + s))
    shut = (reach + rounding - B * (1 - s)).clamp_min(0.0)
    radius = torch.where(
        opened, r + B * s + 2 * rounding, 2 * torch.where(s > 0, shut, (reach - B).clamp_min(0.0))
    )
    size = torch.where(opened, reach, shut)
    return radius.sum(-2).flatten(-2), size.sum(-2).flatten(-2)
