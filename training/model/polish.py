"""EM layers of Theorem 1 behind the learned network: its estimate goes in as the start, L steps come out.

The weights of these layers are the hand-built ones of constructions/em, evaluated from their formulas
(paper_notes/structured_evaluation.md): fixed, no parameters of the model.
Gradients pass through them, so that a network can be trained with them in place.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from constructions import em_construction
from constructions.em.constructed import ConstructedEM
from constructions.em.tasks import (
    COVARIANCE_SHAPES,
    COVARIANCE_TYPES,
    CovarianceType,
    Range,
    TaskBatch,
    spectrum,
    trimmed,
)
from constructions.language.arguments import check_whole
from constructions.language.compiled import Compiled
from constructions.language.readout import AttentivePooling
from constructions.language.shown import short_repr
from constructions.language.structured.arithmetic import FloatArithmetic
from constructions.language.structured.evaluation import StructuredEvaluator
from constructions.language.structured.partitions import Tokens
from training.model.polish_kinds import MATRICES, eigenvalue_ranges, power_of_two_from, start_covariances

PIECES = 128
"""Linear pieces a function: at radius 16 a step is off by about 1e-3, a hundredth of the sampling error.

The error grows with the square of the radius; training.serving.bounded_polish chooses pieces by the data.
"""

FLOOR = 1e-8
"""Responsibilities below it count as it: in a component of mass W, N points misplace a mass of N FLOOR/W."""


Layers = tuple[ConstructedEM, StructuredEvaluator, AttentivePooling]
"""Formulas, the same ready to run, and the read-out, for a range of data, a dtype and a device."""


class Polished(NamedTuple):
    """What the layers leave of B tasks.

    log_weights, means   (B, K), (B, K, d).
    covariances          as in baselines.mixture, (B, ...); None of unit ones. Matrices are (S + S^T) / 2.
    steps                (B,) how many steps were taken; below L where the next one left the range of
                         eigenvalues of the task's layers, whose result is then that of the last step within.
    eigenvalues          (B, 2) that range; None of unit covariances.
    """

    log_weights: Tensor
    means: Tensor
    covariances: Tensor | None
    steps: Tensor
    eigenvalues: Tensor | None

    __repr__ = short_repr


class Polish(nn.Module):
    """``steps`` constructed EM steps, built for the range of the data at hand.

    The piecewise squares need a radius: of each task the smallest power of two that is not below any
    coordinate of a point or a start, at least 8. So equal tasks meet equal weights whatever their company,
    and no coordinate is ever outside. Kinds other than unit also need a range of eigenvalues, of each task
    that of training.model.polish_kinds, where the covariances start too.

    Args:
        n_features, max_components: d0 and K0 of the construction.
        steps: L; two layers a step for unit covariances.
        pieces: linear pieces a function on average.
        floor: of responsibilities and weights.
        covariance_type: as in baselines.gaussian.

    Raises:
        ValueError: steps or pieces that are not whole numbers from 1 on, a covariance type that is none.
    """

    def __init__(
        self,
        n_features: int,
        max_components: int,
        steps: int,
        pieces: int = PIECES,
        floor: float = FLOOR,
        covariance_type: CovarianceType = "unit",
    ) -> None:
        super().__init__()
        check_whole(polish_steps=steps, polish_pieces=pieces)
        if covariance_type not in COVARIANCE_TYPES:
            accepted = ", ".join(COVARIANCE_TYPES)
            raise ValueError(f"covariance_type is {covariance_type!r}, needs one of {accepted}")
        self.n_features, self.max_components = n_features, max_components
        self.steps, self.pieces, self.floor = steps, pieces, floor
        self.covariance_type: CovarianceType = covariance_type
        self._compiled: dict[object, Layers] = Compiled()

    def construction(self, radius: float, *eigenvalues: float) -> ConstructedEM:
        """The layers as formulas; ``eigenvalues``, least and largest, for kinds other than unit."""
        options: dict[str, Any] = {}
        if eigenvalues:
            options = {"covariance_type": self.covariance_type, "eigenvalues": eigenvalues}
        return em_construction(
            self.n_features, self.max_components, self.steps, self.pieces, self.floor, radius, **options
        )

    def forward(
        self,
        X: Tensor,
        log_weights: Tensor,
        means: Tensor,
        mask: Tensor | None,
        covariances: Tensor | None = None,
    ) -> tuple[Tensor, ...]:
        """log weights (B, K) and means (B, K, d) after L steps from those given; X (B, N, d), mask (B, N).

        Of kinds other than unit the covariances come third, laid out as in baselines.mixture; ``covariances``
        are those of the start, unless given :func:`training.model.polish_kinds.start_covariances`.

        Raises ValueError for a task of fewer points than components, or of no more than d for tied and full
        covariances; for coordinates of points or means that are not finite; for a task whose covariances
        leave the range of its layers.
        """
        found = self.attempt(X, log_weights, means, mask, covariances)
        if found.covariances is None or found.eigenvalues is None:
            return found.log_weights, found.means
        left = (found.steps < self.steps).nonzero()[:, 0].tolist()
        if left:
            low, high = found.eigenvalues[left[0]].tolist()
            raise ValueError(
                f"{self.covariance_type} covariances of task {left[0]} leave the eigenvalues "
                f"[{low:g}, {high:g}] of its EM layers in step {int(found.steps[left[0]]) + 1}: a component "
                "shrinks to few points; take fewer steps or components, or a simpler covariance type"
            )
        return found.log_weights, found.means, found.covariances

    def attempt(
        self,
        X: Tensor,
        log_weights: Tensor,
        means: Tensor,
        mask: Tensor | None,
        covariances: Tensor | None = None,
    ) -> Polished:
        """As :meth:`forward`, but a task whose covariances leave the range only ends there."""
        n_samples = X.new_full((len(X),), X.shape[1]).long() if mask is None else mask.sum(-1)
        self._check_counts(int(n_samples.min()), means.shape[1])
        points = X
        if mask is not None:  # a construction takes the first n_samples tokens for a task's points
            order = (~mask).to(torch.uint8).argsort(dim=1, stable=True)
            points = X.masked_fill(~mask[:, :, None], 0.0).gather(1, order[:, :, None].expand_as(X))
            mask = mask.gather(1, order)
        ranges = radii(points, means)[:, None]
        if self.covariance_type == "unit":
            covariances = None
        else:
            if covariances is None:
                covariances = start_covariances(points, means, mask, self.covariance_type)
            eigenvalues = eigenvalue_ranges(points, covariances, mask, self.covariance_type)
            ranges = torch.cat([ranges, eigenvalues], 1)
        found, group = ranges.unique(dim=0, return_inverse=True)
        if len(found) == 1:
            return self._steps(found[0].tolist(), points, log_weights, means, covariances, n_samples)
        order = group.argsort(stable=True)  # the tasks of one range together, and back
        parts = []
        for places in order.split(group.bincount().tolist()):
            own = None if covariances is None else covariances[places]
            X, log_pi, mu = points[places], log_weights[places], means[places]
            parts.append(self._steps(ranges[places[0]].tolist(), X, log_pi, mu, own, n_samples[places]))
        back = order.argsort()
        joined = (None if part[0] is None else torch.cat(part)[back] for part in zip(*parts, strict=True))
        return Polished(*joined)  # pyright: ignore[reportArgumentType]

    def _check_counts(self, n_samples: int, n_components: int) -> None:
        if n_samples < n_components:
            raise ValueError(
                f"a task has {n_samples} points, EM layers need at least K = {n_components} of them"
            )
        if self.covariance_type in MATRICES and n_samples <= self.n_features:
            raise ValueError(
                f"a task has {n_samples} points, EM layers of {self.covariance_type} covariances need more "
                f"than d = {self.n_features} of them"
            )

    def _steps(
        self,
        ranges: list[float],
        points: Tensor,
        log_weights: Tensor,
        means: Tensor,
        covariances: Tensor | None,
        n_samples: Tensor,
    ) -> Polished:
        """:meth:`attempt` of checked tasks of one range, their points in front."""
        K = means.shape[1]
        construction, layers, readout = self._layers(ranges, points)
        missing = self.max_components - K
        tasks = TaskBatch(
            points,
            functional.pad(log_weights.exp(), (0, missing)),
            functional.pad(means, (0, 0, 0, missing)),
            n_samples,
            torch.full_like(n_samples, K),
            torch.full_like(n_samples, self.n_features),
            False,
            self.covariance_type,
            None if covariances is None else self._padded(covariances, missing),
        )
        state = layers.start(construction.tokens(tasks))
        taken = torch.zeros_like(n_samples)
        if covariances is None:
            for _ in range(self.steps):
                state = layers.block(state)[-1]
            return Polished(
                *self._read(construction, readout, state, tasks, K), None, taken + self.steps, None
            )
        span, inside = Range(*ranges[1:]), torch.ones_like(taken, dtype=torch.bool)
        kept: tuple[Tensor, ...] = log_weights, means, covariances
        for _ in range(self.steps):
            for after in layers.states(state):  # a long pass, of which only the last is needed
                state = after
            S = self._covariances(construction, state, tasks)
            inside = inside & span.holds(*spectrum(S.detach(), tasks, span))
            if not bool(inside.any()):
                break
            S = trimmed(S, self.covariance_type, K, self.n_features)
            found = (*self._read(construction, readout, state, tasks, K), S)
            pairs = zip(found, kept, strict=True)
            kept = found if bool(inside.all()) else tuple(_where(inside, new, old) for new, old in pairs)
            taken = taken + inside
        eigenvalues = torch.tensor(span, dtype=torch.float64, device=points.device)
        log_weights, means, covariances = kept
        return Polished(log_weights, means, covariances, taken, eigenvalues.expand(len(points), 2))

    def _read(
        self, construction: ConstructedEM, readout: AttentivePooling, state: Tokens, tasks: TaskBatch, K: int
    ) -> tuple[Tensor, Tensor]:
        """log weights (B, K) and means (B, K, d) by the read-out."""
        s = construction.stream
        pooled = state.pooled((s.slot, s.log_pi, s.mu))
        logits, means = readout.pool(pooled.rows, tasks.component_mask, pooled.mask, pooled.counts)
        return logits[:, :K].log_softmax(-1), means[:, :K]

    def _covariances(self, construction: ConstructedEM, state: Tokens, tasks: TaskBatch) -> Tensor:
        """Those that the tokens hold, padded to K0; matrices are made symmetric to the bit."""
        S = construction.decode(state, tasks).covariances
        if S is None:
            raise ValueError(f"a construction of {self.covariance_type} covariances holds none")
        return (S + S.mT) / 2 if self.covariance_type in MATRICES else S

    def _padded(self, covariances: Tensor, missing: int) -> Tensor:
        """K0 components in place of K, zeros behind."""
        letters = COVARIANCE_SHAPES[self.covariance_type]
        if "K" not in letters:
            return covariances
        return functional.pad(covariances, (0, 0) * (len(letters) - 1) + (0, missing))

    def _layers(self, ranges: list[float], X: Tensor) -> Layers:
        kind = (self.covariance_type, *ranges[1:])
        key = (ranges[0], X.dtype, X.device, self.steps, self.pieces, self.floor, *kind)
        if key not in self._compiled:
            construction = self.construction(*ranges)
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
    return power_of_two_from(sizes.double().clamp_min(8.0))


def _where(inside: Tensor, yes: Tensor, no: Tensor) -> Tensor:
    return torch.where(inside.reshape(-1, *[1] * (yes.dim() - 1)), yes, no)
