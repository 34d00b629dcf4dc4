"""Lloyd's k-means in softmax attention as an object of the engine, and its hard limit."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Generator, Tensor

from constructions.gallery.kmeans import SOURCE, KMeansConstruction, kmeans_construction
from constructions.language.rounding import unrounded
from constructions.language.structured.evaluation import DenseState, Evaluation
from verify.engine.record import Check, Record
from verify.engine.theorem import Bound, Family, Sizes, States, Theorem
from verify.gallery.points import normal, uniform

RADIUS = 8.0


@dataclass(frozen=True)
class Clusters:
    """B tasks: points (B, N, d) and starting centres (B, K, d)."""

    X: Tensor
    centres: Tensor

    def __len__(self) -> int:
        return len(self.X)


class KMeans(Theorem[Clusters]):
    """L steps of Lloyd's algorithm; the state is the centres, (B, L + 1, K, d)."""

    name, key = "Lloyd's k-means in softmax attention, two layers a step", "kmeans"
    source = SOURCE
    hypotheses = (
        f"points and centres are finite, their coordinates at most {RADIUS:g} in size, N >= K",
        "a bound is claimed while no cluster is empty and no point is so near to a tie that the exact path "
        "might assign it to another centre",
    )
    without: ClassVar[Mapping[str, str]] = {
        "the_error_falls_at_the_order_claimed": "it falls like e^(-beta margin): see check_hard_limit"
    }
    sizes = (
        {"d": 2, "K": 3, "N": 18, "d0": 2, "K0": 3},
        {"d": 1, "K": 2, "N": 7, "d0": 2, "K0": 4},
        {"d": 4, "K": 4, "N": 30, "d0": 5, "K0": 4},
    )

    @property
    def families(self) -> Mapping[str, Family[Clusters]]:
        """Blobs from far apart to one heap; starts at points and beside the blobs; points near ties."""
        return {
            "blobs, starts at points": partial(_draw, 0.4, "points", "plain"),
            "blobs, starts beside them": partial(_draw, 0.4, "beside", "plain"),
            "wide blobs": partial(_draw, 1.2, "points", "plain"),
            "one heap": partial(_draw, 1.2, "points", "heap"),
            "one far point": partial(_draw, 0.4, "points", "far"),
            "points nearly half way": partial(_draw, 0.4, "points", "half way"),
            "points twice": partial(_draw, 0.4, "points", "twice"),
        }

    def construct(self, sizes: Sizes, steps: int, accuracy: float | None = None) -> KMeansConstruction:
        """The weights for d <= d0 and K <= K0."""
        return kmeans_construction(sizes["d0"], sizes["K0"], steps, radius=RADIUS)

    def check(self, weights: KMeansConstruction, instance: Clusters, dtype: torch.dtype) -> None:
        """As the construction does."""
        weights.check(instance.X, instance.centres, dtype)

    def embed(
        self, weights: KMeansConstruction, instance: Clusters, dtype: torch.dtype
    ) -> tuple[Tensor, Tensor]:
        """The construction's tokens."""
        return weights.embed(weights.check(instance.X, instance.centres, dtype))

    def decode(self, weights: KMeansConstruction, instance: Clusters, stream: Tensor) -> States:
        """Token k holds centre k."""
        K, d = instance.centres.shape[1:]
        return {"centres": weights.decode(DenseState(stream, None))[:, :K, :d]}

    def run(
        self,
        weights: KMeansConstruction,
        instance: Clusters,
        dtype: torch.dtype,
        device: str = "cpu",
        steps: int = 1,
        evaluation: Evaluation = "dense",
    ) -> States:
        """The construction's own run."""
        on: dict[str, Any] = {"dtype": dtype, "device": device, "steps": steps, "evaluation": evaluation}
        return {"centres": weights.run(instance.X, instance.centres, **on).path.cpu()}

    def reference(self, instance: Clusters, steps: int) -> States:
        """Lloyd's algorithm in float64; NaN in a task from the step on at which a cluster is empty."""
        X, path = instance.X, [instance.centres]
        for _ in range(steps):
            c = path[-1]
            scores = X @ c.mT - c.square().sum(-1)[:, None] / 2
            chosen = torch.nn.functional.one_hot(scores.argmax(-1), c.shape[1]).to(X)
            sizes = chosen.sum(1)[..., None]
            means = chosen.mT @ X / sizes.clamp_min(1)
            lost = (sizes == 0).any(1, keepdim=True) | c.isnan().flatten(1).any(1)[:, None, None]
            path.append(means.masked_fill(lost, torch.nan))
        return {"centres": torch.stack(path, 1)}

    def bounds(
        self, weights: KMeansConstruction, instance: Clusters, states: States, dtype: torch.dtype
    ) -> dict[str, Bound]:
        """The bound of the construction, which holds against Lloyd's algorithm in float64."""
        tasks = unrounded(lambda: weights.check(instance.X, instance.centres, torch.float64))
        found = weights.error_bounds(tasks, states["centres"], dtype)
        return {"centres": Bound.split(found.total, found.approximation)}

    def resource_table(self, weights: KMeansConstruction) -> str:
        """With the formulas, beside earlier work."""
        return weights.resource_table()


def _draw(spread: float, start: str, kind: str, sizes: Sizes, tasks: int, generator: Generator) -> Clusters:
    d, K, N = sizes["d"], sizes["K"], sizes["N"]
    middles = uniform(generator, -4, 4, tasks, K, d) * (kind != "heap")
    labels = torch.arange(N) % K
    X = middles[:, labels] + spread * normal(generator, tasks, N, d)
    if kind == "far":
        X[:, -1] = 7.5
    if kind == "half way":
        X[:, -1] = (X[:, 0] + X[:, 1]) / 2 + 1e-3 * normal(generator, tasks, d)
    if kind == "twice":
        X[:, K : 2 * K] = X[:, :K]
    X = X.clamp(-RADIUS, RADIUS)
    centres = X[:, :K].clone()
    if start == "beside":
        centres = (middles + 0.3 * normal(generator, tasks, K, d)).clamp(-RADIUS, RADIUS)
    return Clusters(X, centres)


LLOYD = KMeans()
BETAS = tuple(2.0**power for power in range(6, 17, 2))


def check_hard_limit(seed: int, instances: int) -> list[Record]:
    """As beta grows, one step tends to Lloyd's, up to e^-gain, wherever no point is tied.

    The number is the largest error of a step over ``N e^-gain`` times the diameter, at the largest beta and
    a gain of 20, whose leakage is above rounding.
    """
    check, g, gain = Check(SOURCE, seed), torch.Generator().manual_seed(seed), 20.0
    sizes, tasks = LLOYD.sizes[0], max(1, instances // len(LLOYD.families))
    nearest, compared, falls = 0.0, 0, True
    for family in LLOYD.families.values():
        drawn = family(sizes, tasks, g)
        steps = [_step(drawn, beta, gain) for beta in BETAS]
        error, _, margin = steps[-1]
        falls = falls and all(bool((b <= a).all()) for (_, a, _), (_, b, _) in itertools.pairwise(steps))
        decided = error.isfinite() & (BETAS[-1] * margin > 2 * gain)
        diameter = torch.cdist(drawn.X, drawn.X).flatten(1).amax(1)
        share = (error / (sizes["N"] * math.exp(-gain) * diameter))[decided]
        compared += len(share)
        nearest = max([nearest, *share.tolist()])
    claim = "k-means in softmax attention: a step tends to Lloyd's as beta grows, up to N e^-gain"
    return [check.record(claim, 1.0, nearest, compared, nearest <= 1 and compared > 0 and falls)]


def _step(drawn: Clusters, beta: float, gain: float) -> tuple[Tensor, Tensor, Tensor]:
    """(B,) error of one step (NaN where a cluster is empty), (B, K) its bound, (B,) the margin."""
    K, d = drawn.centres.shape[1:]
    weights = kmeans_construction(d, K, 1, beta, gain, radius=RADIUS)
    path = weights.run(drawn.X, drawn.centres).path
    bound = weights.error_bounds(weights.check(drawn.X, drawn.centres), path, torch.float64)
    exact = LLOYD.reference(drawn, 1)["centres"][:, 1]
    error = (path[:, 1] - exact).norm(dim=-1).amax(1)
    return error, bound.approximation[:, 0], bound.margin[:, 0]
