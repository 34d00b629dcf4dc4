"""A transformer with what is known of it: blocks of the stream, roles of heads and hidden units."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from constructions.algorithm import ConstructedAlgorithm
from constructions.language.assembly import Construction
from constructions.language.shown import short_repr
from constructions.language.transformer import Transformer
from training.interpretability.role_checks import check_blocks, check_roles
from training.interpretability.roles import Columns, LayerRoles, blocks_of, roles_of
from training.interpretability.uniform import uniform
from training.model.tgmm import TGMM


@dataclass(frozen=True, eq=False)
class Circuit:
    """A transformer and its roles; of a learned one nothing is known, and there are none.

    name, source  for people; the source names the theorem, or the network.
    hypotheses    what must hold of the data, in sentences.
    transformer   the weights.
    blocks        of the stream, one after another; none of a learned transformer.
    roles         of every layer that is written down; none where they are not known.

    Raises ValueError where the roles are not those of the weights (role_checks.py).
    """

    name: str
    source: str
    hypotheses: tuple[str, ...]
    transformer: Transformer
    blocks: tuple[Columns, ...] = ()
    roles: tuple[LayerRoles, ...] = ()

    __repr__ = short_repr

    def __post_init__(self) -> None:
        if self.blocks:
            check_blocks(self.blocks, self.transformer.shape.width)
        if self.roles and not self.blocks:
            raise ValueError("roles are named without blocks of the stream, needs blocks")
        if self.roles:
            check_roles(self.roles, list(self.transformer.layers))  # pyright: ignore[reportArgumentType]

    def uniform(self) -> Circuit:
        """The same with layers of one shape, padded with zeros, as tools see it; the roles are left out."""
        return replace(self, transformer=uniform(self.transformer), roles=())

    def columns(self, block: str) -> slice:
        """Where a block stands in the stream; ValueError for a name that is none."""
        for one in self.blocks:
            if one.name == block:
                return slice(one.start, one.stop)
        names = ", ".join(one.name for one in self.blocks) or "none"
        raise ValueError(f"block is {block!r}, the stream has {names}")

    @property
    def applied(self) -> tuple[LayerRoles, ...]:
        """The roles of the layers as a token passes through them, looped ones several times."""
        shape = self.transformer.shape
        return tuple(self.roles[number] for number in shape.sequence * shape.loops) if self.roles else ()


def circuit_of(
    made: ConstructedAlgorithm | Construction,
    dtype: torch.dtype = torch.float64,
    hypotheses: tuple[str, ...] = (),
) -> Circuit:
    """The compiled weights of a construction, with the roles that its formulas have.

    Args:
        made: any construction, such as ``em_construction(2, 3, steps=2, pieces=64)``.
        dtype: of the weights.
        hypotheses: what must hold of the data, in sentences.
    """
    written = made if isinstance(made, Construction) else made.construction
    transformer = written.to_transformer(dtype).requires_grad_(False)
    blocks = blocks_of(written.stream)
    return Circuit(written.name, written.source, hypotheses, transformer, blocks, roles_of(written))


def learned_circuit(model: TGMM, name: str, source: str) -> Circuit:
    """The transformer of a learned network, without roles; ValueError for another backbone.

    Args:
        model: the network; the weights are shared, not copied.
        name, source: for people.
    """
    return Circuit(name, source, (), transformer_of(model))


def transformer_of(network: TGMM | Circuit) -> Transformer:
    """Its transformer, of a learned network the backbone; ValueError for another kind of backbone."""
    if isinstance(network, Circuit):
        return network.transformer
    if not isinstance(network.backbone, Transformer):
        raise ValueError(f"the backbone is {network.config.backbone!r}, needs 'transformer'")
    return network.backbone
