"""EM layers of Theorem 1 behind the learned network: its estimate goes in as the start, L steps come out.

The weights of these layers are the hand-built ones of constructions.em: fixed, no parameters of the model.
Gradients pass through them, so that a network can be trained with them in place.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from constructions import em_construction
from constructions.arguments import check_whole
from constructions.em import EMConstruction
from constructions.em_tasks import TaskBatch
from constructions.readout import AttentivePooling
from constructions.transformer import Transformer

PIECES = 128
"""Linear pieces a function: at radius 16 a step is off by about 1e-3, a hundredth of the sampling error."""


class Polish(nn.Module):
    """``steps`` constructed EM layers pairs, built for the range of the data at hand.

    The piecewise squares need a radius: the smallest power of two that is not below any coordinate of a point
    or a start, at least 8. So equal data always meet equal weights, and no coordinate is ever outside.
    Unit covariances, as in the theorem.

    Args:
        n_features, max_components: d0 and K0 of the construction.
        steps: L; two layers a step.
        pieces: linear pieces a function on average.
    """

    def __init__(self, n_features: int, max_components: int, steps: int, pieces: int = PIECES) -> None:
        super().__init__()
        check_whole(polish_steps=steps, polish_pieces=pieces)
        self.n_features, self.max_components = n_features, max_components
        self.steps, self.pieces = steps, pieces
        self._compiled: dict[object, tuple[EMConstruction, Transformer, AttentivePooling]] = {}

    def construction(self, radius: float) -> EMConstruction:
        """The layers as formulas."""
        return em_construction(self.n_features, self.max_components, self.steps, self.pieces, radius=radius)

    def forward(
        self, X: Tensor, log_weights: Tensor, means: Tensor, mask: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """log weights (B, K) and means (B, K, d) after L steps from those given; X (B, N, d), mask (B, N).

        Raises ValueError for a task of fewer points than components, and for coordinates of points or means
        that are not finite.
        """
        n_samples = X.new_full((len(X),), X.shape[1]).long() if mask is None else mask.sum(-1)
        K = means.shape[1]
        if int(n_samples.min()) < K:
            raise ValueError(
                f"a task has {int(n_samples.min())} points, EM layers need at least K = {K} of them"
            )
        points = X
        if mask is not None:  # a construction takes the first n_samples tokens for a task's points
            order = (~mask).to(torch.uint8).argsort(dim=1, stable=True)
            points = X.masked_fill(~mask[:, :, None], 0.0).gather(1, order[:, :, None].expand_as(X))
            mask = mask.gather(1, order)
        construction, transformer, readout = self._layers(points, means)
        missing = self.max_components - K
        tasks = TaskBatch(
            points,
            functional.pad(log_weights.exp(), (0, missing)),
            functional.pad(means, (0, 0, 0, missing)),
            n_samples,
            torch.full_like(n_samples, K),
            torch.full_like(n_samples, self.n_features),
            single=False,
        )
        h = transformer(construction.embed(tasks), mask)
        logits, new_means = readout.pool(h, tasks.component_mask, mask)
        return logits[:, :K].log_softmax(-1), new_means[:, :K]

    def _layers(self, X: Tensor, means: Tensor) -> tuple[EMConstruction, Transformer, AttentivePooling]:
        sizes = (float(X.abs().max()), float(means.detach().abs().max()))
        for size in sizes:
            if not math.isfinite(size):
                raise ValueError(f"a coordinate of a point or of the network's estimate has size {size}")
        fraction, exponent = math.frexp(max(8.0, *sizes))  # fraction in [1/2, 1)
        radius = math.ldexp(1.0, exponent - (fraction == 0.5))
        key = (radius, X.dtype, X.device)
        if key not in self._compiled:
            construction = self.construction(radius)
            transformer = construction.to_transformer(X.dtype, X.device).requires_grad_(False)
            readout = construction.to_readout(X.dtype, X.device).requires_grad_(False)
            self._compiled[key] = (construction, transformer, readout)
        return self._compiled[key]
