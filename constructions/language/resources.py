"""What a transformer costs: layers, heads, width, parameters, sizes of the weights."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from constructions.language.shown import short_repr
from constructions.language.tables import text_table
from constructions.language.transformer import Transformer


@dataclass(frozen=True)
class Resources:
    """Counts of one compiled transformer.

    Attributes:
        layers: layers that a token passes through, loops counted.
        heads: largest number of heads in a layer.
        head_dim, width, hidden: largest head dimension, stream width, largest hidden width.
        parameters: numbers stored; with loops they do not grow with the number of layers.
        nonzeros: parameters that are not 0.
        norms: matrix name -> (largest absolute entry, spectral norm); for attention the largest over heads.
    """

    layers: int
    heads: int
    head_dim: int
    width: int
    hidden: int
    parameters: int
    nonzeros: int
    norms: dict[str, tuple[float, float]]

    __repr__ = short_repr

    def table(self) -> str:
        """The counts and the norms as text."""
        counts = [
            (name, f"{getattr(self, name):,}")
            for name in ("layers", "heads", "head_dim", "width", "hidden", "parameters", "nonzeros")
        ]
        norms = [(name, f"{entry:.3g}", f"{norm:.3g}") for name, (entry, norm) in self.norms.items()]
        return f"{text_table(('resource', 'count'), counts)}\n\n" + text_table(
            ("matrix", "largest entry", "spectral norm"), norms
        )


def count_resources(transformer: Transformer) -> Resources:
    """Count layers, heads, widths, parameters and measure the norms of ``transformer``."""
    layers = transformer.shape.layers
    parameters = list(transformer.parameters())
    norms = {
        f"layer {int(name.split('.')[1]) + 1} {name.split('.', 2)[2]}": (
            float(p.detach().abs().max()),
            float(_spectral_norm(p.detach())),
        )
        for name, p in transformer.named_parameters()
        if p.ndim >= 2
    }
    return Resources(
        layers=len(transformer.shape.sequence) * transformer.shape.loops,
        heads=max(layer.heads for layer in layers),
        head_dim=max(layer.head_dim for layer in layers),
        width=transformer.shape.width,
        hidden=max(layer.hidden for layer in layers),
        parameters=sum(p.numel() for p in parameters),
        nonzeros=sum(int(torch.count_nonzero(p)) for p in parameters),
        norms=norms,
    )


def _spectral_norm(matrix: torch.Tensor) -> torch.Tensor:
    # The smaller Gram matrix: hidden widths reach 10^5, where an SVD of the matrix itself takes minutes.
    largest = matrix.abs().max()
    if largest == 0:
        return largest
    scaled = matrix / largest  # the square of 1/floor can overflow
    gram = scaled @ scaled.mT if matrix.shape[-2] <= matrix.shape[-1] else scaled.mT @ scaled
    return largest * torch.linalg.eigvalsh(gram)[..., -1].clamp(min=0).sqrt().max()
