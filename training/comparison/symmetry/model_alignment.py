"""The distance of two TGMMs of one configuration modulo the symmetries, and of two layers of one network.

backbone          as training.comparison.symmetry.alignment, the norms' gains and biases inside the forms
component tokens  those of each K matched by an assignment
rest              read-in, embeddings, final norm, read-out: as they stand
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import combinations

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from constructions.language.shown import short_repr
from constructions.language.transformer import Transformer
from training.comparison.symmetry.alignment import KINDS, Alignment, align_transformers, squared_distances
from training.interpretability.circuit import transformer_of
from training.model.tgmm import TGMM


@dataclass(frozen=True, eq=False)
class ModelAlignment:
    """Two models, matched.

    backbone      the alignment of the backbones.
    tokens        for each K, place k is the second model's component token tokens[K][k].
    squared       kind -> squared distance. squared_norm: the same of the reference alone.
    """

    backbone: Alignment
    tokens: dict[str, Tensor]
    squared: dict[str, float]
    squared_norm: dict[str, float]

    __repr__ = short_repr

    @property
    def distance(self) -> float:
        """sqrt(sum of squares / sum of squares of the reference) over everything.

        ValueError where every weight of the reference is 0.
        """
        norm = sum(self.squared_norm.values())
        if norm == 0:
            raise ValueError("every weight is 0, needs one that is not: distances are relative to their norm")
        return math.sqrt(sum(self.squared.values()) / norm)

    @property
    def by_kind(self) -> dict[str, float]:
        """Each kind relative to its own norm; NaN for a kind that the reference has not."""
        return {
            kind: math.sqrt(self.squared[kind] / norm) if norm else math.nan
            for kind, norm in self.squared_norm.items()
        }


@torch.no_grad()
def align_models(reference: TGMM, other: TGMM) -> ModelAlignment:
    """Match `other` with `reference`; neither changes.

    Raises:
        ValueError: another configuration, a backbone that is not a transformer, as alignment.align.
    """
    if reference.config != other.config:
        raise ValueError(f"the second model has {other.config}, needs {reference.config} like the first")
    found = align_transformers(transformer_of(reference), transformer_of(other))
    squared = {kind: sum(layer[kind] for layer in found.squared) for kind in KINDS}
    norms = {kind: sum(layer[kind] for layer in found.squared_norm) for kind in KINDS}
    tokens: dict[str, Tensor] = {}
    squared["tokens"] = norms["tokens"] = 0.0
    theirs = dict(getattr(other, "tokens", {}))
    for name, values in getattr(reference, "tokens", {}).items():
        cost = squared_distances(values.double(), theirs[name].double())
        rows, order = linear_sum_assignment(cost.numpy())
        tokens[name] = torch.from_numpy(order)
        squared["tokens"] += float(cost[rows, order].sum())
        norms["tokens"] += float(values.double().square().sum())
    pairs = list(zip(_rest(reference), _rest(other), strict=True))
    squared["rest"] = sum(float((a - b).square().sum()) for a, b in pairs)
    norms["rest"] = sum(float(a.square().sum()) for a, _ in pairs)
    return ModelAlignment(found, tokens, squared, norms)


def plain_distance(reference: TGMM, other: TGMM) -> float:
    """|theta - theta'| / |theta| over all weights as they stand: what no alignment gives."""
    mine, theirs = (
        torch.cat([p.detach().double().flatten() for p in m.parameters()]) for m in (reference, other)
    )
    return float((mine - theirs).norm() / mine.norm())


def layer_cosines(transformer: Transformer) -> list[list[float]]:
    """(L, L): the cosine of layers i and j after alignment, see alignment.Alignment.cosine.

    Both act in one stream, so that equal layers have cosine 1 in any basis of it. NaN where the two have
    different sizes.
    """
    layers = [_single(transformer, place) for place in range(len(transformer.layers))]
    found = [[1.0 if i == j else math.nan for j in range(len(layers))] for i in range(len(layers))]
    for i, j in combinations(range(len(layers)), 2):
        if layers[i].shape == layers[j].shape:
            found[i][j] = found[j][i] = align_transformers(layers[i], layers[j]).cosine
    return found


def _single(transformer: Transformer, place: int) -> Transformer:
    """Layer `place` alone."""
    shape = replace(transformer.shape, layers=(transformer.shape.layers[place],), loops=1)
    with torch.device("meta"):
        alone = Transformer(shape)
    alone.layers[0] = transformer.layers[place]
    return alone


def _rest(model: TGMM) -> list[Tensor]:
    """Weights that are neither the backbone's nor component tokens."""
    named = model.named_parameters()
    return [p.double() for name, p in named if not name.startswith(("backbone.", "tokens.", "polish."))]
