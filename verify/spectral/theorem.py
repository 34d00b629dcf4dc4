"""The whole spectral algorithm, in the form that everything verified has. A path has one step: all of it.

Compared are the means and weights in the order in which they are found, the defect of the whitening, and the
variance. The reference is baselines/spectral.py in float64, from the same starts in the space of the points.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property, partial
from typing import Any, ClassVar

import torch
from torch import Tensor

from baselines.spectral import smallest_variance
from constructions.language.hypotheses import HypothesisError
from constructions.language.rounding import or_infinity
from constructions.language.structured.evaluation import Evaluation
from constructions.spectral.bounds import split_bounds
from constructions.spectral.exact import Problem
from constructions.spectral.plan import Plan
from constructions.spectral.run import SpectralRun
from constructions.spectral.tasks import SpectralBatch
from constructions.spectral.weights import SOURCE, SpectralConstruction, spectral_construction
from verify.engine.theorem import Accuracy, Bound, Family, Sizes, States, Theorem
from verify.spectral.families import FAMILIES, draw
from verify.spectral.reference import reference

SMALL: dict[str, Any] = {
    "rounds": 6,
    "steps": 6,
    "starts": 2,
    "eigenvalues": (0.5, 500.0),
    "condition": 50.0,
    "tensor_bound": 16.0,
    "reciprocals": 16,
}
"""Options of the weights that checks of many small tasks run."""


class Spectral(Theorem[Problem]):
    """Both read-ins, the variance given or estimated."""

    name, key = "spectral algorithm, ReLU attention", "spectral"
    source = SOURCE
    hypotheses = (
        "K <= d, and the K-th eigenvalue of M2 is positive and larger than every one beyond it",
        "the K largest eigenvalues of M2, their ratio, |T| and s are in the ranges of the weights",
    )
    sizes = ({"d": 2, "K": 2, "N": 24}, {"d": 2, "K": 1, "N": 16}, {"d": 3, "K": 2, "N": 32})
    a_step_is_a_pass = False
    most_steps = 1
    without: ClassVar[Mapping[str, str]] = {
        "the_error_falls_at_the_order_claimed": "it falls like (ratio of eigenvalues)^rounds",
        "the_bounds_tell_a_missing_head": "of a pair whose score is never negative one head does nothing",
        "one_figure_a_layer": "a minute of drawing: test_spectral_mutations.py",
    }
    options: ClassVar[Mapping[str, Any]] = SMALL
    quantities: ClassVar[tuple[str, ...]] = ("means", "weights", "whitening", "variance")

    def plan(self, sizes: Sizes) -> Plan:
        """Of the weights for these sizes."""
        return self.construct(sizes, 1).plan

    @property
    def families(self) -> Mapping[str, Family[Problem]]:
        """Mixtures of many kinds."""
        return {kind: partial(self._draw, kind) for kind in FAMILIES}

    def _draw(self, kind: str, sizes: Sizes, tasks: int, generator: torch.Generator) -> Problem:
        return draw(kind, tasks, dict(sizes), self.plan(sizes), generator)

    def construct(self, sizes: Sizes, steps: int, accuracy: float | None = None) -> SpectralConstruction:
        """Weights for d0 = d and K0 = K."""
        return spectral_construction(sizes["d"], sizes["K"], **self.options)

    def rounded(self, instance: Problem, dtype: torch.dtype) -> Problem:
        """The data in ``dtype``; an estimated s is one of these."""
        X, directions, basis = (
            part.to(dtype).double() for part in (instance.X, instance.directions, instance.basis)
        )
        s = smallest_variance(X)[0] if self._estimated else instance.s.to(dtype).double()
        return Problem(X, s, directions, basis)

    @cached_property
    def _estimated(self) -> bool:
        return self.options.get("variance") == "estimated"

    def _gathered(
        self, weights: SpectralConstruction, instance: Problem, dtype: torch.dtype
    ) -> SpectralBatch:
        if not bool(instance.s.isfinite().all()):
            raise HypothesisError(f"the variances are {instance.s.tolist()}; they must be finite")
        s = None if self._estimated else instance.s.tolist()
        return weights.gather(
            instance.X, instance.n_components, instance.directions, instance.basis, s, dtype
        )

    def check(self, weights: SpectralConstruction, instance: Problem, dtype: torch.dtype) -> None:
        """As the construction does."""
        weights.check(self._gathered(weights, instance, dtype))

    def embed(
        self, weights: SpectralConstruction, instance: Problem, dtype: torch.dtype
    ) -> tuple[Tensor, Tensor]:
        """The construction's tokens."""
        return weights.embed(self._gathered(weights, instance, dtype))

    def decode(self, weights: SpectralConstruction, instance: Problem, stream: Tensor) -> States:
        """What the stream holds; 0 before the layers have run."""
        batch = self._gathered(weights, instance, stream.dtype)
        return self._states(weights.decode(stream, batch), instance)

    def run(
        self,
        weights: SpectralConstruction,
        instance: Problem,
        dtype: torch.dtype,
        device: str = "cpu",
        steps: int = 1,
        evaluation: Evaluation = "dense",
    ) -> States:
        """The construction's own run; the start holds nothing."""
        self.check(weights, instance, dtype)
        found = weights.run(
            instance.X,
            instance.n_components,
            instance.directions,
            instance.basis,
            variance=None if self._estimated else instance.s.tolist(),
            dtype=dtype,
            device=device,
            evaluation=evaluation,
        )
        return _path(self._states(found, instance))

    def reference(self, instance: Problem, steps: int) -> States:
        """The baseline; NaN where it has no estimate."""
        found = reference(instance, None if self._estimated else float(instance.s[0]), self.options["steps"])
        nothing = torch.zeros(len(instance), 1, 1, dtype=torch.float64)
        states = {
            "means": found.means,
            "weights": found.weights[..., None],
            "whitening": nothing,
            "variance": found.variance[:, None, None],
        }
        return _path({name: states[name] for name in self.quantities})

    def exact(self, instance: Problem, steps: int) -> States:
        """The algorithm in balls."""
        from verify.balls.array import one_task
        from verify.certify.references.spectral import spectral_states

        variance = None if self._estimated else float(instance.s[0])
        parts = instance.X[0], instance.directions[0], instance.n_components
        found = one_task(spectral_states(*parts, self.options["steps"], variance))
        return {name: found[name] for name in self.quantities}

    def distances(self, instance: Problem, states: States, exact: States) -> States:
        """That of the whitening is ``|W M2 W^T - I|`` of the W that was computed, anew: 0 is exact."""
        found = super().distances(instance, states, exact)
        if "whitening" in found:
            found["whitening"] = _defect(states["W"][:, 1].double(), instance)[:, None, None]
        return found

    def _states(self, found: SpectralRun, instance: Problem) -> States:
        states = {
            "means": found.means,
            "weights": found.weights[..., None],
            "whitening": _defect(found.W.double(), instance)[:, None, None],
            "variance": found.variance[:, None, None],
        }
        return {name: states[name] for name in self.quantities} | {"W": found.W}

    def bounds(
        self, weights: SpectralConstruction, instance: Problem, states: States, dtype: torch.dtype
    ) -> dict[str, Bound]:
        """From the instance alone: in exact arithmetic, and what the dtype adds to it."""
        whole, left = split_bounds(instance, weights.plan, dtype, weights.square)
        parts = {
            "means": (whole.means, left.means),
            "weights": (whole.weights, left.weights),
            "whitening": (whole.whitening[:, None], left.whitening[:, None]),
            "variance": (whole.variance[:, None], left.variance[:, None]),
        }
        return {name: Bound.split(*(part[:, None] for part in parts[name])) for name in self.quantities}

    def resource_table(self, weights: SpectralConstruction) -> str:
        """With the formulas."""
        return weights.resource_table()


def _defect(W: Tensor, instance: Problem) -> Tensor:
    """(B,) |W M2 W^T - I|."""
    identity = torch.eye(instance.X.shape[2], dtype=torch.float64)
    M2 = instance.X.mT @ instance.X / instance.X.shape[1] - instance.s[:, None, None] * identity
    defect = W @ M2 @ W.mT - torch.eye(W.shape[1], dtype=torch.float64)
    return torch.linalg.matrix_norm(or_infinity(defect), 2)


def _path(states: States) -> States:
    """A start that holds nothing, then the states."""
    return {name: torch.stack([torch.zeros_like(x), x], 1).cpu() for name, x in states.items()}


class FromSquares(Spectral):
    """x alone is read in: squares by the MLP."""

    name, key = "spectral algorithm, ReLU attention, squares by the MLP", "spectral-squares"
    accuracy = Accuracy("pieces", (512, 4096), order=2)
    options: ClassVar[Mapping[str, Any]] = SMALL | {"read_in": "squares", "reach": 8.0}
    quantities = ("means", "weights")
    without: ClassVar[Mapping[str, str]] = {
        name: Spectral.without[name] for name in ("the_bounds_tell_a_missing_head", "one_figure_a_layer")
    } | {"every_family_and_size_is_within_its_bounds_in_float32": "thousands of hinges: most are inf"}

    def construct(self, sizes: Sizes, steps: int, accuracy: float | None = None) -> SpectralConstruction:
        """Weights with so many pieces."""
        pieces = int(accuracy or self.accuracies[-1] or 1)
        return spectral_construction(sizes["d"], sizes["K"], **self.options, pieces=pieces)


class VarianceEstimated(Spectral):
    """s is the least eigenvalue of the covariance, found by the layers."""

    name, key = "spectral algorithm, ReLU attention, variance estimated", "spectral-variance"
    options: ClassVar[Mapping[str, Any]] = SMALL | {
        "variance": "estimated",
        "inverse_steps": 10,
        "squarings": 6,
        "inversions": 20,
        "largest_variance": 3.0,
    }


SPECTRAL, SQUARES, ESTIMATED = Spectral(), FromSquares(), VarianceEstimated()
