"""The distance of two transformers of one shape, modulo the symmetries, and the weights that realise it.

    distance^2 = [ sum |A - A'|^2 + |V - V'|^2 + sum |u - u'|^2 + sum |b_2 - b_2'|^2 ]
                 / [ sum |A|^2 + |V|^2 + sum |u|^2 + sum |b_2|^2 ]

over matched heads (A = c W_Q W_K^T, V = W_V W_O) and matched hidden units, minimised exactly over the pairing
of heads and of units in every layer and over the order of the component slots (slots.py).
Two networks of one orbit have distance 0; two unrelated ones of equal norm about sqrt(2) at random signs, a
little less since the matching picks the nearest.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from constructions.language.shown import short_repr
from constructions.language.stream import Block
from constructions.language.transformer import Transformer
from training.comparison.symmetry.group import (
    check_same_shape,
    check_slots,
    permute_heads,
    permute_stream,
    permute_units,
    slot_columns,
)
from training.comparison.symmetry.invariants import LayerForms, forms_of
from training.comparison.symmetry.slots import slot_orders
from training.model.balance import balance_heads, balance_units, balanced, check_softmax, layers_of

KINDS = ("A", "V", "MLP")


@dataclass(frozen=True, eq=False)
class Alignment:
    """Two networks brought to comparable weights, all float64.

    reference      `balanced` of the first: the same function.
    other          the second with the first's order of slots, heads and units, balanced, every head's basis
                   the nearest to the reference's. other(h[..., columns]) = second(h)[..., columns].
    slots          (K0,) slot k is the second network's slot slots[k]. columns (D,) the same for coordinates.
    heads, units   a layer each: place i is the second network's head or unit heads[layer][i].
    every_order    whether all K0! orders of the slots were tried.
    squared        a layer each: kind -> squared distance. squared_norm, other_norm: of each alone.
    """

    reference: Transformer
    other: Transformer
    slots: Tensor
    columns: Tensor
    heads: list[Tensor]
    units: list[Tensor]
    every_order: bool
    squared: list[dict[str, float]]
    squared_norm: list[dict[str, float]]
    other_norm: list[dict[str, float]]

    __repr__ = short_repr

    @property
    def distance(self) -> float:
        """Relative, over everything; NaN where the reference is 0."""
        return _relative(map(_total, self.squared), map(_total, self.squared_norm))

    @property
    def cosine(self) -> float:
        """Of the matched forms: 1 on one orbit, about 0 for unrelated networks, whatever their sizes.

        The pairing leaves unrelated networks a little above 0. NaN where one of the two is 0.
        """
        apart, mine, theirs = (
            math.fsum(map(_total, s)) for s in (self.squared, self.squared_norm, self.other_norm)
        )
        return (mine + theirs - apart) / (2 * math.sqrt(mine * theirs)) if mine * theirs > 0 else math.nan

    @property
    def by_layer(self) -> list[float]:
        """Relative to the layer's own norm."""
        pairs = zip(self.squared, self.squared_norm, strict=True)
        return [_relative([_total(s)], [_total(n)]) for s, n in pairs]

    @property
    def by_kind(self) -> dict[str, float]:
        """A, V and MLP, each relative to its own norm over all layers."""
        return {k: _relative([s[k] for s in self.squared], [n[k] for n in self.squared_norm]) for k in KINDS}

    def distances(self) -> Distances:
        """The numbers alone."""
        layers = zip(self.squared, self.squared_norm, strict=True)
        return Distances(
            distance=self.distance,
            cosine=self.cosine,
            by_kind=self.by_kind,
            by_layer=self.by_layer,
            by_layer_and_kind=[{k: _relative([s[k]], [n[k]]) for k in KINDS} for s, n in layers],
            squared=self.squared,
            squared_norm=self.squared_norm,
            slots=self.slots.tolist(),
            every_order=self.every_order,
        )


@dataclass(frozen=True)
class Distances:
    """Of two networks in all, by kind, by layer, and by layer and kind; the squares behind them."""

    distance: float
    cosine: float
    by_kind: dict[str, float]
    by_layer: list[float]
    by_layer_and_kind: list[dict[str, float]]
    squared: list[dict[str, float]]
    squared_norm: list[dict[str, float]]
    slots: list[int]
    every_order: bool

    __repr__ = short_repr


@torch.no_grad()
def align_transformers(
    reference: Transformer, other: Transformer, slot_blocks: Sequence[Block] = ()
) -> Alignment:
    """Match `other` with `reference`; neither changes.

    Args:
        reference, other: of one shape, softmax attention.
        slot_blocks: blocks of the stream of one width K0 whose entries are permuted together. All K0!
            orders are tried for K0 <= 5, those left out that a lower bound rules out; beyond, a descent by
            exchanges of two slots from the identity and from matched statistics, which may end too high.

    Raises:
        ValueError: other shapes, weights that are not finite, ReLU attention, a norm behind attention, blocks
            that cannot be slots.
    """
    check_softmax(reference)
    check_same_shape(reference, other)
    for weight in (*reference.parameters(), *other.parameters()):
        if not bool(weight.isfinite().all()):
            raise ValueError("a weight is not finite, needs finite weights")
    width = reference.shape.width
    K = check_slots(width, slot_blocks)
    mine, theirs = forms_of(reference), forms_of(other)

    def matched(slots: tuple[int, ...], most: float) -> _Matching | None:
        columns = slot_columns(width, slot_blocks, slots)
        return _match(mine, [forms.permuted(columns) for forms in theirs], most)

    found, slots, every_order = slot_orders(K, matched, mine, theirs, slot_blocks)
    columns = slot_columns(width, slot_blocks, slots)
    squared = [
        _squares(m, t.permuted(columns), heads, units)
        for m, t, heads, units in zip(mine, theirs, found.heads, found.units, strict=True)
    ]
    norms = [_squares(m, None) for m in mine]
    first = balanced(reference)
    second = _realised(first, other, columns, found.heads, found.units)
    order = torch.tensor(slots, dtype=torch.long)
    pairing = (order, columns, found.heads, found.units, every_order)
    return Alignment(first, second, *pairing, squared, norms, [_squares(t, None) for t in theirs])


@dataclass(frozen=True, eq=False)
class _Matching:
    """Partners of the reference's heads and units in every layer, and the sum of their squared distances."""

    cost: float
    heads: list[Tensor]
    units: list[Tensor]


def _match(mine: list[LayerForms], theirs: list[LayerForms], most: float) -> _Matching | None:
    """The best pairing, or None once its cost is known to reach `most`."""
    head_costs = [_head_costs(m, t) for m, t in zip(mine, theirs, strict=True)]
    unit_costs = [squared_distances(m.units, t.units) for m, t in zip(mine, theirs, strict=True)]
    fixed = sum(float((m.bias - t.bias).square().sum()) for m, t in zip(mine, theirs, strict=True))
    costs = [*head_costs, *unit_costs]
    bounds = [_least(cost) for cost in costs]
    left = fixed + sum(bounds)
    orders = []
    for cost, bound in zip(costs, bounds, strict=True):
        if left >= most:
            return None
        rows, order = linear_sum_assignment(cost.numpy())
        orders.append(torch.from_numpy(order))
        left += float(cost[rows, order].sum()) - bound
    return _Matching(left, orders[: len(mine)], orders[len(mine) :]) if left < most else None


def _head_costs(mine: LayerForms, theirs: LayerForms) -> Tensor:
    """(H, H) |A_i - A'_j|^2 + |V_i - V'_j|^2."""
    pairs = ((mine.scores, theirs.scores), (mine.values, theirs.values))
    return sum((squared_distances(a.flatten(1), b.flatten(1)) for a, b in pairs), start=torch.zeros(()))


def squared_distances(a: Tensor, b: Tensor) -> Tensor:
    """(n, m) |a_i - b_j|^2 from the differences themselves: no cancellation for near rows."""
    if not len(a) or not len(b):
        return a.new_zeros(len(a), len(b))
    return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist").square()


def _least(cost: Tensor) -> float:
    """A lower bound of every assignment's cost."""
    if not cost.numel():
        return 0.0
    return max(float(cost.amin(0).sum()), float(cost.amin(1).sum()))


def _squares(
    mine: LayerForms, theirs: LayerForms | None, heads: Tensor | None = None, units: Tensor | None = None
) -> dict[str, float]:
    """Kind -> squared distance of matched forms; without theirs, the squared norm."""
    parts = {"A": [mine.scores], "V": [mine.values], "MLP": [mine.units, mine.bias]}
    if theirs is not None:
        others = {
            "A": [theirs.scores[heads]],
            "V": [theirs.values[heads]],
            "MLP": [theirs.units[units], theirs.bias],
        }
        parts = {k: [a - b for a, b in zip(parts[k], others[k], strict=True)] for k in KINDS}
    return {k: sum(float(part.square().sum()) for part in parts[k]) for k in KINDS}


def _realised(
    reference: Transformer, other: Transformer, columns: Tensor, heads: list[Tensor], units: list[Tensor]
) -> Transformer:
    """`other` in the order that was found, balanced, with bases near those of `reference`."""
    aligned = copy.deepcopy(other).double()
    permute_stream(aligned, columns)
    for layer, near, head_order, unit_order in zip(
        layers_of(aligned), layers_of(reference), heads, units, strict=True
    ):
        if layer.attention is not None and near.attention is not None:
            permute_heads(layer.attention, head_order)
            balance_heads(layer.attention, near.attention)
        if layer.mlp is not None:
            permute_units(layer.mlp, unit_order)
    balance_units(aligned)
    return aligned


def _total(kinds: dict[str, float]) -> float:
    return sum(kinds.values())


def _relative(squared: Iterable[float], norms: Iterable[float]) -> float:
    """sqrt(sum squared / sum norms); 0 / 0 is 0, and a distance from nothing is infinite."""
    above, below = math.fsum(squared), math.fsum(norms)
    if below == 0:
        return 0.0 if above == 0 else math.inf
    return math.sqrt(above / below)
