"""Ridge regression by Newton's inverse as an object of the engine."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from torch import Generator, Tensor

from constructions.gallery.ridge import SOURCE, RidgeConstruction, ridge_construction
from constructions.gallery.ridge_bounds import ridge_bound, solution_error
from constructions.language.rounding import unrounded
from constructions.language.structured.evaluation import DenseState, Evaluation
from verify.engine.theorem import Bound, Family, Sizes, States, Theorem
from verify.gallery.points import CLOUDS, normal, uniform


@dataclass(frozen=True)
class RidgeProblem:
    """B tasks: points (B, n, d), targets (B, n), lambda (B,) and c (B,)."""

    X: Tensor
    y: Tensor
    penalty: Tensor
    scale: Tensor

    def __len__(self) -> int:
        return len(self.X)

    @property
    def parts(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """As the construction takes them."""
        return self.X, self.y, self.penalty, self.scale


class Ridge(Theorem[RidgeProblem]):
    """L Newton steps. States: w against the solution w*, and the same against Newton's iterate, (B, L + 1, 1,
    d).

    The start is w_0 = c b, which the layer of the moments makes.
    """

    name, key = "ridge regression by Newton's inverse, one layer a step", "ridge"
    source = SOURCE
    hypotheses = (
        "points and targets are finite, the penalty is at least 0, 0 < c (sum |x_i|^2 + penalty) < 2",
        "a bound is claimed where the least eigenvalue is proved to be above 0",
    )
    without: ClassVar[Mapping[str, str]] = {
        "the_error_falls_at_the_order_claimed": "each Newton step squares it; rho^(2^t) is the bound itself"
    }
    a_step_is_a_pass = False
    sizes = ({"d": 2, "n": 8, "d0": 2}, {"d": 1, "n": 3, "d0": 3}, {"d": 5, "n": 20, "d0": 6})

    @property
    def families(self) -> Mapping[str, Family[RidgeProblem]]:
        """Every cloud; penalties from a millionth of the squares to all of them, and none."""
        found = {name: partial(_draw, name, -6.0, 0.0) for name in CLOUDS}
        return found | {"no penalty": partial(_draw, "normal", -math.inf, -math.inf)}

    def construct(self, sizes: Sizes, steps: int, accuracy: float | None = None) -> RidgeConstruction:
        """The weights for d <= d0."""
        return ridge_construction(sizes["d0"], steps)

    def check(self, weights: RidgeConstruction, instance: RidgeProblem, dtype: torch.dtype) -> None:
        """As the construction does."""
        weights.check(*instance.parts, dtype)

    def embed(
        self, weights: RidgeConstruction, instance: RidgeProblem, dtype: torch.dtype
    ) -> tuple[Tensor, Tensor]:
        """The construction's tokens."""
        return weights.embed(weights.check(*instance.parts, dtype))

    def decode(self, weights: RidgeConstruction, instance: RidgeProblem, stream: Tensor) -> States:
        """w, twice: it is compared with two things."""
        w = weights.decode(DenseState(stream, None))[:, None, : instance.X.shape[2]]
        return {"w": w, "iterate": w}

    def run(
        self,
        weights: RidgeConstruction,
        instance: RidgeProblem,
        dtype: torch.dtype,
        device: str = "cpu",
        steps: int = 1,
        evaluation: Evaluation = "dense",
    ) -> States:
        """The construction's own run, of which the first ``steps`` steps are taken."""
        found = weights.run(*instance.parts, dtype=dtype, device=device, evaluation=evaluation)
        path = found.path.cpu()[:, : steps + 1, None]
        return {"w": path, "iterate": path}

    def reference(self, instance: RidgeProblem, steps: int) -> States:
        """A^-1 b at every step, and Newton's iterates, in float64; NaN where A is singular."""
        X, y, penalty, scale = instance.parts
        one = torch.eye(X.shape[2], dtype=X.dtype)
        A = X.mT @ X + penalty[:, None, None] * one
        b = X.mT @ y[..., None]
        solved, info = torch.linalg.solve_ex(A, b)
        solved = torch.where(info[:, None, None] == 0, solved, torch.nan)[..., 0]
        R, w = one - scale[:, None, None] * A, scale[:, None, None] * b
        path = [w]
        for _ in range(steps):
            w, R = w + R @ w, R @ R
            path.append(w)
        iterates = torch.stack(path, 1)[..., 0]
        return {"w": solved[:, None].expand_as(iterates)[:, :, None], "iterate": iterates[:, :, None]}

    def bounds(
        self, weights: RidgeConstruction, instance: RidgeProblem, states: States, dtype: torch.dtype
    ) -> dict[str, Bound]:
        """That of the layers; of the reference its residual, and the same recursion with its shorter sums."""
        steps, (X, y, penalty, _) = states["w"].shape[1] - 1, instance.parts
        tasks = unrounded(lambda: weights.check(*instance.parts, torch.float64))
        found = weights.error_bounds(tasks, dtype)
        own = ridge_bound(*instance.parts, steps, sum(X.shape[1:]) + 2, torch.float64)
        approximation, rounding = (x[:, 1 : steps + 1, None] for x in (found.approximation, found.rounding))
        solved = unrounded(lambda: self.reference(instance, 0)["w"][:, 0, 0].nan_to_num())
        off = solution_error(X, y, penalty, solved)[:, None, None]
        return {
            "w": Bound(approximation, rounding + off),
            "iterate": Bound(torch.zeros_like(rounding), rounding + own.rounding[:, 1:, None]),
        }

    def resource_table(self, weights: RidgeConstruction) -> str:
        """With the formulas, beside earlier work."""
        return weights.resource_table()


def _draw(
    cloud: str, low: float, high: float, sizes: Sizes, tasks: int, generator: Generator
) -> RidgeProblem:
    """Penalties from 10^low to 10^high of the sum of squares, c from a tenth of its inverse to 1.9 of it."""
    d, n = sizes["d"], sizes["n"]
    X = CLOUDS[cloud](normal(generator, tasks, n, d), generator)
    y = (X @ normal(generator, tasks, d, 1))[..., 0] + normal(generator, tasks, n)
    squares = X.square().sum((1, 2)) + 1e-3
    share = torch.rand(tasks, generator=generator, dtype=torch.float64)
    penalty = squares * 10 ** (low + (high - low) * share) if math.isfinite(low) else 0 * squares
    return RidgeProblem(X, y, penalty, uniform(generator, 0.1, 1.9, tasks) / (squares + penalty))


RIDGE = Ridge()
