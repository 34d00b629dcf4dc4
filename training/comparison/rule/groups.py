"""Groups of weights of a network of the construction's shape: which part of the theorem a change belongs to.

A head is taken as its forms A = W_Q W_K^T and V = W_V W_O, so that a part of one can be put into another
network; an MLP unit as its entries, in balanced weights. Entries of the theorem are the blocks of A and V
that the construction fills, and what its units read, add and write; all others are beyond it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from constructions.language.shown import short_repr
from constructions.language.stream import Stream
from constructions.language.transformer import Transformer
from training.model.balance import balanced, layers_of

LAYERS = ("E", "M")
PARTS = ("scores", "values", "MLP")
NOTHING = 1e-9
"""Smaller entries of the construction's forms are rounding of its balanced factors."""


class Forms(NamedTuple):
    """One layer: A and V (heads, D, D), and the MLP's weights."""

    scores: Tensor
    values: Tensor
    w1: Tensor
    b1: Tensor
    w2: Tensor
    b2: Tensor


@dataclass(frozen=True, eq=False)
class Group:
    """Some weights: a boolean mask of every layer's forms."""

    name: str
    masks: tuple[Forms, ...]

    __repr__ = short_repr


@torch.no_grad()
def forms_of_network(network: Transformer) -> tuple[Forms, ...]:
    """Of every layer, float64. The network has heads and an MLP in every layer."""
    found = []
    for layer in layers_of(network):
        a, m = layer.attention, layer.mlp
        if a is None or m is None:
            raise ValueError("a layer has no attention or no MLP, needs both")
        scores, values = a.query @ a.key.mT, a.value @ a.output
        found.append(Forms(*(t.detach().double() for t in (scores, values, m.w1, m.b1, m.w2, m.b2))))
    return tuple(found)


@torch.no_grad()
def network_of(forms: Sequence[Forms], like: Transformer) -> Transformer:
    """The network of these forms, in float64: W_Q = A, W_O = V and head dimensions as wide as the stream."""
    shape, D = like.shape, like.shape.width
    layers = tuple(replace(layer, head_dim=D) for layer in shape.layers)
    network = Transformer(replace(shape, layers=layers), torch.float64, drawn=False).requires_grad_(False)
    identity = torch.eye(D, dtype=torch.float64)
    for layer, given in zip(layers_of(network), forms, strict=True):
        a, m = layer.attention, layer.mlp
        if a is None or m is None:
            raise ValueError("a layer has no attention or no MLP, needs both")
        pairs = ((a.query, given.scores), (a.key, identity), (a.value, identity), (a.output, given.values))
        for weight, value in (*pairs, (m.w1, given.w1), (m.b1, given.b1), (m.w2, given.w2), (m.b2, given.b2)):
            weight.copy_(value)
    return network


def mixed(base: Sequence[Forms], other: Sequence[Forms], groups: Iterable[Group]) -> tuple[Forms, ...]:
    """`base` with the weights of these groups taken from `other`."""
    found = tuple(base)
    for group in groups:
        triples = zip(group.masks, other, found, strict=True)
        found = tuple(Forms(*map(torch.where, masks, theirs, mine)) for masks, theirs, mine in triples)
    return found


def sublayer_groups(constructed: Transformer) -> list[Group]:
    """Everything, in one group a sub-layer and kind of form."""
    empty = _nothing(forms_of_network(constructed))
    found = []
    for place in range(len(empty)):
        for part, names in zip(PARTS, (("scores",), ("values",), ("w1", "b1", "w2", "b2")), strict=True):
            filled = {name: torch.ones_like(getattr(empty[place], name)) for name in names}
            found.append(Group(f"{LAYERS[place]} {part}", _with(empty, place, filled)))
    return found


def theorem_groups(constructed: Transformer, stream: Stream) -> list[Group]:
    """Everything, in groups by what the theorem uses it for; the construction is balanced first."""
    forms = forms_of_network(balanced(constructed))
    empty = _nothing(forms)
    found = []
    for place, layer in enumerate(forms):
        name = LAYERS[place]
        for part in ("scores", "values"):
            own = _filled_blocks(getattr(layer, part), stream)
            found.append(Group(f"{name} {part}, of the theorem", _with(empty, place, {part: own})))
            found.append(Group(f"{name} {part}, beyond", _with(empty, place, {part: ~own})))
        found += _unit_groups(name, layer, empty, place, stream)
    return found


def _unit_groups(
    name: str, layer: Forms, empty: tuple[Forms, ...], place: int, stream: Stream
) -> list[Group]:
    """One a function that the MLP computes, one for all that it empties, one for all other entries."""
    block_of = {column: block.name for block in stream.blocks for column in block.columns}
    reads, writes = layer.w1 != 0, layer.w2 != 0
    roles: dict[str, list[int]] = {}
    for unit in range(layer.w1.shape[1]):
        read, write = (block_of[int(one[0])] for one in (reads[:, unit].nonzero(), writes[unit].nonzero()))
        role = f"{name} MLP, emptying" if read == write else f"{name} MLP, {read} to {write}"
        roles.setdefault(role, []).append(unit)
    found = []
    for role, units in roles.items():
        chosen = torch.zeros(layer.w1.shape[1], dtype=torch.bool)
        chosen[units] = True
        own = {"w1": reads & chosen, "b1": chosen, "w2": writes & chosen[:, None]}
        found.append(Group(role, _with(empty, place, own)))
    others = {"w1": ~reads, "w2": ~writes, "b2": torch.ones_like(layer.b2, dtype=torch.bool)}
    return [*found, Group(f"{name} MLP, beyond", _with(empty, place, others))]


def _filled_blocks(form: Tensor, stream: Stream) -> Tensor:
    mask = torch.zeros_like(form, dtype=torch.bool)
    for head in range(len(form)):
        for a in stream.blocks:
            for b in stream.blocks:
                mask[head, a.slice, b.slice] = bool(form[head, a.slice, b.slice].abs().max() > NOTHING)
    return mask


def _nothing(forms: Sequence[Forms]) -> tuple[Forms, ...]:
    return tuple(Forms(*(torch.zeros_like(part, dtype=torch.bool) for part in layer)) for layer in forms)


def _with(empty: tuple[Forms, ...], place: int, filled: dict[str, Tensor]) -> tuple[Forms, ...]:
    layer = empty[place]._replace(**{name: mask.bool() for name, mask in filled.items()})
    return (*empty[:place], layer, *empty[place + 1 :])
