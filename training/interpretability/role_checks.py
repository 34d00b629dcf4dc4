"""Whether the weights of a transformer have the roles that are stated of them.

A matrix between the stream and a head, or a group of hidden units, has entries other than 0 in every block
that its role names, and in no column outside these blocks.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from constructions.language.transformer import MLP, SelfAttention, TransformerLayer
from training.interpretability.roles import Columns, HeadRole, LayerRoles, UnitsRole


def check_blocks(blocks: Sequence[Columns], width: int) -> None:
    """Refuse blocks that do not cover the stream one after another, each under a name of its own.

    Raises:
        ValueError: with the block.
    """
    ends = [0, *(block.stop for block in blocks)]
    for block, start in zip(blocks, ends, strict=False):
        if block.start != start or block.stop <= start:
            raise ValueError(
                f"block {block.name!r} has columns {block.start} to {block.stop}, needs some from {start} on"
            )
        if [other.name for other in blocks].count(block.name) > 1:
            raise ValueError(f"block {block.name!r} is there twice, needs a name of its own")
    if ends[-1] != width:
        raise ValueError(f"the blocks end at column {ends[-1]}, needs the width {width} of the stream")


def check_roles(roles: Sequence[LayerRoles], layers: Sequence[TransformerLayer]) -> None:
    """Refuse roles that are not those of the weights. Layers and heads count from 0.

    Raises:
        ValueError: another number of layers, heads or hidden units than the roles name; another kind of
            attention; a matrix that reads or writes other blocks than those named.
    """
    _check_number("the transformer", "layers", len(layers), len(roles))
    for number, (role, layer) in enumerate(zip(roles, layers, strict=True)):
        where = f"layer {number} ({role.name})"
        attention, mlp = layer.attention, layer.mlp
        _check_number(where, "heads", 0 if attention is None else attention.layer.heads, len(role.heads))
        if attention is not None:
            _check_heads(where, role.heads, attention)
            if attention.layer.output_norm != role.unit_output:
                raise ValueError(f"{where}: unit_output is {role.unit_output}, the shape says otherwise")
        # A layer of constants alone has a hidden unit of zeros: it takes no unit to add a constant.
        units = max(role.units[-1].stop, 1) if role.units else 0
        _check_number(where, "hidden units", 0 if mlp is None else len(mlp.b1), units)
        if mlp is not None:
            _check_units(where, role.units, mlp)


def _check_heads(where: str, roles: Sequence[HeadRole], attention: SelfAttention) -> None:
    for index, role in enumerate(roles):
        at = f"{where} head {index}"
        if role.attention != attention.kind:
            raise ValueError(f"{at}: attention is {role.attention!r}, the weights are of {attention.kind!r}")
        _check_columns(f"{at}: the query reads", attention.query[index], role.query)
        _check_columns(f"{at}: the key reads", attention.key[index], role.key)
        _check_columns(f"{at}: the value reads", attention.value[index], (role.value,))
        _check_columns(f"{at}: the output writes", attention.output[index].mT, (role.writes,))


def _check_units(where: str, roles: Sequence[UnitsRole], mlp: MLP) -> None:
    first = 0
    for role in roles:
        if role.first != first or role.stop < first:
            raise ValueError(
                f"{where}: hidden units {role.first} to {role.stop} are named, needs some from {first} on"
            )
        at, own = f"{where} hidden units {role.first} to {role.stop}", slice(role.first, role.stop)
        if role.stop > role.first:
            _check_columns(f"{at} read", mlp.w1[:, own], (*role.reads, *role.clears))
            _check_columns(f"{at} write", mlp.w2[own].mT, (*role.writes, *role.clears))
        first = role.stop
    written = [block for role in roles for block in role.writes]
    _check_columns(f"{where}: the constant is added to", mlp.b2[:, None], written, all_used=False)


def _check_columns(what: str, weight: Tensor, named: Sequence[Columns], all_used: bool = True) -> None:
    """Of a matrix with a row for each column of the stream."""
    used = torch.nonzero((weight != 0).any(1)).flatten().tolist()
    names = ", ".join(dict.fromkeys(block.name for block in named)) or "none"
    for column in used:
        if not any(column in block for block in named):
            raise ValueError(f"{what} column {column}, the role names the blocks {names}")
    for block in named if all_used else ():
        if not any(column in block for column in used):
            raise ValueError(f"{what} no column of {block.name!r}, which the role names")


def _check_number(where: str, what: str, found: int, named: int) -> None:
    if found != named:
        raise ValueError(f"{where} has {found} {what}, the roles name {named}")
