"""Mirror descent for mixture weights as an object of the engine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Generator, Tensor

from constructions.gallery.mirror_descent import SOURCE, MirrorConstruction, mirror_descent_construction
from constructions.language.rounding import unrounded
from constructions.language.structured.evaluation import DenseState, Evaluation
from verify.engine.theorem import Accuracy, Bound, Family, Sizes, States, Theorem
from verify.gallery.points import normal

RATE = 0.5


@dataclass(frozen=True)
class Mixture:
    """B tasks: log p_k(x_i), (B, N, K), and starting weights (B, K)."""

    loglik: Tensor
    weights: Tensor

    def __len__(self) -> int:
        return len(self.loglik)


class MirrorDescent(Theorem[Mixture]):
    """L steps of entropic mirror descent; the state is the weights, (B, L + 1, K, 1)."""

    name, key = "mirror descent for mixture weights, two layers a step", "mirror-descent"
    source = SOURCE
    hypotheses = (
        "log-likelihoods are finite, there are at least as many points as components",
        "a bound is claimed while every weight is above the floor",
    )
    accuracy = Accuracy("pieces", (32, 128, 512), order=2)
    sizes = ({"K": 3, "N": 12, "K0": 3}, {"K": 2, "N": 5, "K0": 4}, {"K": 5, "N": 23, "K0": 5})

    @property
    def families(self) -> Mapping[str, Family[Mixture]]:
        """Likelihoods from equal to nearly decided, and starts near the floor."""
        return {
            "overlapping components": partial(_draw, 1.0, False),
            "components far apart": partial(_draw, 6.0, False),
            "nearly decided": partial(_draw, 15.0, False),
            "nearly equal": partial(_draw, 1e-3, False),
            "a small weight": partial(_draw, 1.0, True),
            "a small weight, far apart": partial(_draw, 6.0, True),
        }

    def construct(self, sizes: Sizes, steps: int, accuracy: float | None = None) -> MirrorConstruction:
        """``accuracy`` pieces a function, the coarsest unless said."""
        return mirror_descent_construction(sizes["K0"], steps, RATE, int(accuracy or 64))

    def check(self, weights: MirrorConstruction, instance: Mixture, dtype: torch.dtype) -> None:
        """As the construction does."""
        weights.check(instance.loglik, instance.weights, dtype)

    def embed(
        self, weights: MirrorConstruction, instance: Mixture, dtype: torch.dtype
    ) -> tuple[Tensor, Tensor]:
        """The construction's tokens."""
        return weights.embed(weights.check(instance.loglik, instance.weights, dtype))

    def decode(self, weights: MirrorConstruction, instance: Mixture, stream: Tensor) -> States:
        """The softmax of the logits that tokens 0 to K - 1 hold."""
        logits = weights.decode(DenseState(stream, None))[:, : instance.loglik.shape[2]]
        return {"weights": torch.softmax(logits, -1)[..., None]}

    def run(
        self,
        weights: MirrorConstruction,
        instance: Mixture,
        dtype: torch.dtype,
        device: str = "cpu",
        steps: int = 1,
        evaluation: Evaluation = "dense",
    ) -> States:
        """The construction's own run; the logits are kept for the bounds."""
        on: dict[str, Any] = {"dtype": dtype, "device": device, "steps": steps, "evaluation": evaluation}
        found = weights.run(instance.loglik, instance.weights, **on)
        return {"weights": found.path.cpu()[..., None], "logits": found.logits.cpu()[..., None]}

    def reference(self, instance: Mixture, steps: int) -> States:
        """Mirror descent in float64, in logs."""
        logs = torch.log_softmax(instance.weights.log(), -1)
        path = [logs]
        for _ in range(steps):
            log_ratio = instance.loglik - torch.logsumexp(instance.loglik + logs[:, None], -1, keepdim=True)
            logs = torch.log_softmax(logs + RATE * log_ratio.exp().mean(1), -1)
            path.append(logs)
        return {"weights": torch.stack(path, 1).exp()[..., None]}

    def bounds(
        self, weights: MirrorConstruction, instance: Mixture, states: States, dtype: torch.dtype
    ) -> dict[str, Bound]:
        """The bound of the construction, which holds against the reference in float64."""
        tasks = unrounded(lambda: weights.check(instance.loglik, instance.weights, torch.float64))
        found = weights.error_bounds(tasks, states["logits"][..., 0].double(), dtype)
        return {"weights": Bound.split(found.total, found.approximation)}

    def resource_table(self, weights: MirrorConstruction) -> str:
        """With the formulas, beside earlier work."""
        return weights.resource_table()


def _draw(apart: float, small: bool, sizes: Sizes, tasks: int, generator: Generator) -> Mixture:
    """Unit Gaussians on a line, ``apart`` from one to the next, points from all of them."""
    K, N = sizes["K"], sizes["N"]
    middles = apart * torch.arange(K, dtype=torch.float64)
    x = middles[torch.arange(N) % K] + normal(generator, tasks, N)
    weights = torch.softmax(normal(generator, tasks, K), -1)
    if small:
        weights[:, 0] = 10 ** (-5 * torch.rand(tasks, generator=generator, dtype=torch.float64) - 1)
    return Mixture(-(x[..., None] - middles).square() / 2, weights / weights.sum(-1, keepdim=True))


MIRROR_DESCENT = MirrorDescent()
