"""PCA by power iteration with deflation as an object of the engine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from torch import Generator, Tensor

from constructions.gallery.pca import SOURCE, PCAConstruction, pca_construction
from constructions.gallery.pca_bounds import pca_bound
from constructions.language.rounding import unrounded
from constructions.language.structured.evaluation import DenseState, Evaluation
from verify.engine.theorem import Bound, Family, Sizes, States, Theorem
from verify.gallery.points import CLOUDS, normal


@dataclass(frozen=True)
class Cloud:
    """B tasks: points (B, n, d), starts (B, d) and how many axes are looked for."""

    X: Tensor
    start: Tensor
    components: int

    def __len__(self) -> int:
        return len(self.X)


class PCA(Theorem[Cloud]):
    """L iterations for each of K components; the state is v of every component, (B, L + 1, K, d)."""

    name, key = "PCA by power iteration with deflation, one layer an iteration", "pca"
    source = SOURCE
    hypotheses = (
        "points are finite, 1/2 <= |start| <= 2, K <= d <= d0",
        "a bound is claimed while |C_p^T v| is above what rounding has left of C_p",
    )
    without: ClassVar[Mapping[str, str]] = {
        "the_error_falls_at_the_order_claimed": "only REST is left in real arithmetic, below all rounding"
    }
    a_step_is_a_pass = False
    sizes = (
        {"d": 3, "n": 10, "K": 2, "d0": 3},
        {"d": 2, "n": 8, "K": 1, "d0": 3},
        {"d": 5, "n": 20, "K": 3, "d0": 6},
    )

    @property
    def families(self) -> Mapping[str, Family[Cloud]]:
        """Every cloud; a start on an axis and one that nearly misses the first component."""
        found = {name: partial(_draw, name, "normal") for name in CLOUDS}
        return found | {f"start {kind}": partial(_draw, "normal", kind) for kind in ("on an axis", "across")}

    def construct(self, sizes: Sizes, steps: int, accuracy: float | None = None) -> PCAConstruction:
        """The weights for d <= d0."""
        return pca_construction(sizes["d0"], sizes["K"], steps)

    def check(self, weights: PCAConstruction, instance: Cloud, dtype: torch.dtype) -> None:
        """As the construction does."""
        weights.check(instance.X, instance.start, dtype)

    def embed(self, weights: PCAConstruction, instance: Cloud, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """The construction's tokens."""
        return weights.embed(weights.check(instance.X, instance.start, dtype))

    def decode(self, weights: PCAConstruction, instance: Cloud, stream: Tensor) -> States:
        """The belt after the last component."""
        return {"axes": weights.decode(DenseState(stream, None))[..., : instance.X.shape[2]]}

    def run(
        self,
        weights: PCAConstruction,
        instance: Cloud,
        dtype: torch.dtype,
        device: str = "cpu",
        steps: int = 1,
        evaluation: Evaluation = "dense",
    ) -> States:
        """The construction's own run; ``steps`` are those it was built for."""
        on = {"dtype": dtype, "device": device}
        return {"axes": weights.run(instance.X, instance.start, **on, evaluation=evaluation).path.cpu()}

    def reference(self, instance: Cloud, steps: int) -> States:
        """The iteration in float64; NaN from where its vector is 0."""
        C = instance.X.mT @ instance.X
        paths = []
        for _ in range(instance.components):
            path = [instance.start]
            for _ in range(steps):
                w = (path[-1][:, None] @ C)[:, 0]
                path.append(w / w.norm(dim=-1, keepdim=True))
            v = path[-1][..., None]
            C = C - (C @ v) @ v.mT
            paths.append(torch.stack(path, 1))
        return {"axes": torch.stack(paths, 2)}

    def bounds(
        self, weights: PCAConstruction, instance: Cloud, states: States, dtype: torch.dtype
    ) -> dict[str, Bound]:
        """That of the layers, and of the reference: the same iteration with shorter sums and no rest."""
        X, steps = instance.X, states["axes"].shape[1] - 1
        tasks = unrounded(lambda: weights.check(X, instance.start, torch.float64))
        found = weights.error_bounds(tasks, states["axes"], dtype)
        reference = unrounded(lambda: self.reference(instance, steps)["axes"].nan_to_num(1.0))
        d = X.shape[2]
        own = pca_bound(X, reference, torch.float64, (X.shape[1] + d, d, d), 0.0)
        return {"axes": Bound.split(found.total, found.approximation, own.total)}

    def resource_table(self, weights: PCAConstruction) -> str:
        """With the formulas, beside earlier work."""
        return weights.resource_table()


def _draw(cloud: str, kind: str, sizes: Sizes, tasks: int, generator: Generator) -> Cloud:
    d, n = sizes["d"], sizes["n"]
    X = CLOUDS[cloud](normal(generator, tasks, n, d), generator)
    start = normal(generator, tasks, d)
    if kind == "on an axis":
        start = torch.zeros_like(start)
        start[:, 0] = 1.0
    if kind == "across":
        first = torch.linalg.eigh(X.mT @ X).eigenvectors[..., -1]
        start = start - 0.999 * first * (first * start).sum(-1, keepdim=True)
    return Cloud(X, start / start.norm(dim=-1, keepdim=True), sizes["K"])


PRINCIPAL_AXES = PCA()
