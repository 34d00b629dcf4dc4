"""EM layers of Theorem 1 behind the learned network: its estimate goes in as the start, L steps come out.

The weights of these layers are the hand-built ones of constructions/em, evaluated from their formulas
(paper_notes/structured_evaluation.md): fixed, no parameters of the model.
Gradients pass through them, so that a network can be trained with them in place.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from constructions import em_construction
from constructions.em.tasks import TaskBatch
from constructions.em.unit import EMConstruction
from constructions.language.arguments import check_whole
from constructions.language.compiled import Compiled
from constructions.language.readout import AttentivePooling
from constructions.language.structured.arithmetic import FloatArithmetic
from constructions.language.structured.evaluation import StructuredEvaluator

PIECES = 128
"""Linear pieces a function: at radius 16 a step is off by about 1e-3, a hundredth of the sampling error.

The error grows with the square of the radius; training.serving.bounded_polish chooses pieces by the data.
"""

FLOOR = 1e-8
"""Responsibilities below it count as it: in a component of mass W, N points misplace a mass of N FLOOR/W."""


Layers = tuple[EMConstruction, StructuredEvaluator, AttentivePooling]
"""Formulas, the same ready to run, and the read-out, for a radius, a dtype and a device."""


class Polish(nn.Module):
    """``steps`` constructed EM layers pairs, built for the range of the data at hand.

    The piecewise squares need a radius: of each task the smallest power of two that is not below any
    coordinate of a point or a start, at least 8. So equal tasks meet equal weights whatever their company,
    and no coordinate is ever outside. Unit covariances, as in the theorem.

    Args:
        n_features, max_components: d0 and K0 of the construction.
        steps: L; two layers a step.
        pieces: linear pieces a function on average.
        floor: of responsibilities and weights.
    """

    def __init__(
        self,
        n_features: int,
        max_components: int,
        steps: int,
        pieces: int = PIECES,
        floor: float = FLOOR,
    ) -> None:
        super().__init__()
        check_whole(polish_steps=steps, polish_pieces=pieces)
        self.n_features, self.max_components = n_features, max_components
        self.steps, self.pieces, self.floor = steps, pieces, floor
        self._compiled: dict[object, Layers] = Compiled()

    def construction(self, radius: float) -> EMConstruction:
        """The layers as formulas."""
        return em_construction(
            self.n_features, self.max_components, self.steps, self.pieces, self.floor, radius
        )

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
        radius = radii(points, means)
        found = radius.unique().tolist()
        if len(found) == 1:
            return self._steps(found[0], points, log_weights, means, mask, n_samples)
        order = radius.argsort(stable=True)  # the tasks of one radius together, and back
        parts = []
        for places in order.split([int((radius == one).sum()) for one in found]):
            own = None if mask is None else mask[places]
            X, log_pi, mu = points[places], log_weights[places], means[places]
            parts.append(self._steps(float(radius[places[0]]), X, log_pi, mu, own, n_samples[places]))
        back = order.argsort()
        log_weights, means = (torch.cat(part)[back] for part in zip(*parts, strict=True))
        return log_weights, means

    def _steps(
        self,
        radius: float,
        points: Tensor,
        log_weights: Tensor,
        means: Tensor,
        mask: Tensor | None,
        n_samples: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """:meth:`forward` of checked tasks of one radius, their points in front."""
        K = means.shape[1]
        construction, layers, readout = self._layers(radius, points)
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
        state = layers.start(construction.tokens(tasks))
        for _ in range(self.steps):
            state = layers.block(state)[-1]
        s = construction.stream
        pooled = state.pooled((s.slot, s.log_pi, s.mu))
        logits, new_means = readout.pool(pooled.rows, tasks.component_mask, pooled.mask, pooled.counts)
        return logits[:, :K].log_softmax(-1), new_means[:, :K]

    def _layers(self, radius: float, X: Tensor) -> Layers:
        key = (radius, X.dtype, X.device, self.steps, self.pieces, self.floor)
        if key not in self._compiled:
            construction = self.construction(radius)
            layers = StructuredEvaluator(construction.construction, FloatArithmetic(X.dtype, X.device))
            readout = construction.to_readout(X.dtype, X.device).requires_grad_(False)
            self._compiled[key] = (construction, layers, readout)
        return self._compiled[key]


def radii(X: Tensor, means: Tensor) -> Tensor:
    """(B,): of each task the smallest power of two from 8 on that no coordinate of X or the means exceeds.

    Raises ValueError for a coordinate that is not finite.
    """
    sizes = torch.maximum(X.detach().abs().amax((1, 2)), means.detach().abs().amax((1, 2)))
    if not bool(sizes.isfinite().all()):
        bad = float(sizes[~sizes.isfinite()][0])
        raise ValueError(f"a coordinate of a point or of the network's estimate has size {bad}")
    fraction, exponent = torch.frexp(sizes.double().clamp_min(8.0))  # fraction in [1/2, 1)
    return torch.ldexp(torch.ones_like(fraction), exponent - (fraction == 0.5).to(exponent.dtype))
