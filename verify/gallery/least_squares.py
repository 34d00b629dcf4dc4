"""Gradient descent for least squares as an object of the engine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Generator, Tensor

from constructions.gallery.least_squares import SOURCE, LeastSquaresConstruction, least_squares_construction
from constructions.language.rounding import unrounded
from constructions.language.structured.evaluation import DenseState, Evaluation
from verify.engine.theorem import Bound, Family, Sizes, States, Theorem
from verify.gallery.points import CLOUDS, normal, uniform


@dataclass(frozen=True)
class Descent:
    """B tasks: points (B, n, d), targets (B, n), rates (B,) and starts (B, d)."""

    X: Tensor
    y: Tensor
    rate: Tensor
    start: Tensor

    def __len__(self) -> int:
        return len(self.X)

    @property
    def parts(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """As the construction takes them."""
        return self.X, self.y, self.rate, self.start


class LeastSquares(Theorem[Descent]):
    """L steps of gradient descent, one layer a step; the state is w, (B, L + 1, 1, d)."""

    name, key = "gradient descent for least squares, one layer a step", "least-squares"
    source = SOURCE
    hypotheses = ("points, targets, rate and start are finite", "the path stays in the range of the dtype")
    sizes = ({"d": 2, "n": 8, "d0": 2}, {"d": 1, "n": 3, "d0": 3}, {"d": 5, "n": 20, "d0": 6})

    @property
    def families(self) -> Mapping[str, Family[Descent]]:
        """Every cloud at a rate that descends, and some rates that diverge."""
        found = {name: partial(_draw, name, 0.1, 2.0) for name in CLOUDS}
        return found | {"a rate that diverges": partial(_draw, "normal", 2.0, 8.0)}

    def construct(self, sizes: Sizes, steps: int, accuracy: float | None = None) -> LeastSquaresConstruction:
        """The weights for d <= d0."""
        return least_squares_construction(sizes["d0"], steps)

    def check(self, weights: LeastSquaresConstruction, instance: Descent, dtype: torch.dtype) -> None:
        """As the construction does."""
        weights.check(*instance.parts, dtype)

    def embed(
        self, weights: LeastSquaresConstruction, instance: Descent, dtype: torch.dtype
    ) -> tuple[Tensor, Tensor]:
        """The construction's tokens."""
        return weights.embed(weights.check(*instance.parts, dtype))

    def decode(self, weights: LeastSquaresConstruction, instance: Descent, stream: Tensor) -> States:
        """w of the register."""
        return {"w": weights.decode(DenseState(stream, None))[:, None, : instance.X.shape[2]]}

    def run(
        self,
        weights: LeastSquaresConstruction,
        instance: Descent,
        dtype: torch.dtype,
        device: str = "cpu",
        steps: int = 1,
        evaluation: Evaluation = "dense",
    ) -> States:
        """The construction's own run."""
        on: dict[str, Any] = {"dtype": dtype, "device": device, "steps": steps, "evaluation": evaluation}
        return {"w": weights.run(*instance.parts, **on).path.cpu()[:, :, None]}

    def reference(self, instance: Descent, steps: int) -> States:
        """Gradient descent in float64."""
        X, y, rate, w = instance.parts
        path = [w]
        for _ in range(steps):
            residual = y - (X @ path[-1][..., None])[..., 0]
            step = X * (rate / X.shape[1])[:, None, None]
            path.append(path[-1] + (step.mT @ residual[..., None])[..., 0])
        return {"w": torch.stack(path, 1)[:, :, None]}

    def bounds(
        self, weights: LeastSquaresConstruction, instance: Descent, states: States, dtype: torch.dtype
    ) -> dict[str, Bound]:
        """That of the layers, and of the reference: its sums are shorter than those of layers in float64."""
        tasks = unrounded(lambda: weights.check(*instance.parts, torch.float64))
        reference = unrounded(lambda: self.reference(instance, states["w"].shape[1] - 1))
        entries = [
            weights.error_bounds(tasks, path["w"][:, :, 0], kind)
            for path, kind in ((states, dtype), (reference, torch.float64))
        ]
        found = torch.linalg.vector_norm(sum(entries), dim=-1, keepdim=True)
        return {"w": Bound(torch.zeros_like(found), found)}

    def resource_table(self, weights: LeastSquaresConstruction) -> str:
        """With the formulas, beside earlier work."""
        return weights.resource_table()


def _draw(cloud: str, low: float, high: float, sizes: Sizes, tasks: int, generator: Generator) -> Descent:
    """eta between ``low`` and ``high`` over the mean squared length of a point."""
    d, n = sizes["d"], sizes["n"]
    X = CLOUDS[cloud](normal(generator, tasks, n, d), generator)
    w, noise = normal(generator, tasks, d), normal(generator, tasks, n)
    y = (X @ w[..., None])[..., 0] + noise
    rate = uniform(generator, low, high, tasks) * n / (X.square().sum((1, 2)) + 1e-3)
    return Descent(X, y, rate, normal(generator, tasks, d))


LEAST_SQUARES = LeastSquares()
