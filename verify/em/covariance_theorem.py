"""EM with unknown covariances as objects of the engine, one a kind: families, reference and bounds."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Literal

import torch
from torch import Generator, Tensor

from baselines.em_paths import reference_path
from constructions.em.covariance_step import CovarianceEM
from constructions.em.matrices import SOURCE as MATRICES
from constructions.em.path_bounds import path_bound
from constructions.em.step_rounding import StepData
from constructions.em.tasks import Range, gather_tasks
from constructions.em.variances import SOURCE as VARIANCES
from constructions.em.weights import em_construction
from constructions.language.structured.evaluation import DenseState, Evaluation
from constructions.language.structured.partitions import Tokens
from verify.em import covariance_families as families
from verify.em.covariance_families import CovarianceTask
from verify.em.families import Size
from verify.engine.theorem import Accuracy, Bound, Family, Sizes, States, Theorem

FLOOR, RADIUS, EIGENVALUES = 1e-8, 8.0, Range(0.01, 100.0)
PIECES = (32, 128, 512)

Kind = Literal["tied_spherical", "spherical", "diagonal", "tied", "full"]

LAYERS = {
    "tied_spherical": "four layers a step",
    "spherical": "three layers a step",
    "diagonal": "three layers a step",
    "tied": "(t + 3) d + 7 layers a step",
    "full": "(t + 3) d + 6 layers a step",
}


class EMWithCovariances(Theorem[CovarianceTask]):
    """L steps of EM for mixtures with covariances of one kind.

    States: means (B, L + 1, K, d), weights (B, L + 1, K, 1) and covariances, a row of numbers for each; one
    row where they are tied.
    """

    hypotheses = (
        "points and means are finite, their coordinates at most the radius in size",
        "there are at least as many points as components, and more than coordinates for matrices",
        "starting weights are above the floor and sum to 1",
        "the eigenvalues of all covariances lie in the range of the construction, before and after steps",
        "the products of the coordinates of a point are read in beside it (matrices)",
        "after a step a bound is claimed while all weights are above the floor and EM is defined",
    )
    accuracy = Accuracy("pieces", PIECES, order=2)
    sizes = ({"d": 2, "K": 3, "N": 40}, {"d": 3, "K": 2, "N": 61})

    def __init__(self, kind: Kind) -> None:
        self.kind: Kind = kind
        self.name = f"EM with {kind.replace('_', ' ')} covariances in attention, {LAYERS[kind]}"  # pyright: ignore[reportAttributeAccessIssue]
        self.key = f"em-{kind.replace('_', '-')}"  # pyright: ignore[reportAttributeAccessIssue]
        if kind in ("tied", "full"):
            reason = "of a pair whose score is never negative, as that of a pivot, one head does nothing"
            self.without = {"the_bounds_tell_a_missing_head": reason}  # pyright: ignore[reportAttributeAccessIssue]
        self.source = MATRICES if kind in ("tied", "full") else VARIANCES  # pyright: ignore[reportAttributeAccessIssue]

    @property
    def families(self) -> Mapping[str, Family[CovarianceTask]]:
        """Those of the search, within the radius and the range."""
        return {name: partial(self._drawn, name) for name in families.FAMILIES}

    def _drawn(self, family: str, sizes: Sizes, tasks: int, generator: Generator) -> CovarianceTask:
        space = families.Space(RADIUS, EIGENVALUES)
        size = Size(sizes["d"], sizes["K"], sizes["N"])
        return families.drawn(generator, space, size, family, tasks, self.kind)

    def construct(self, sizes: Sizes, steps: int, accuracy: float | None = None) -> CovarianceEM:
        """``accuracy`` pieces a function, the coarsest unless said."""
        pieces = PIECES[0] if accuracy is None else int(accuracy)
        options: dict[str, Any] = {"covariance_type": self.kind, "eigenvalues": EIGENVALUES}
        return em_construction(sizes["d"], sizes["K"], steps, pieces, FLOOR, RADIUS, **options)

    def check(self, weights: CovarianceEM, instance: CovarianceTask, dtype: torch.dtype) -> None:
        """As :meth:`ConstructedEM.check`."""
        weights.check(instance.X, instance.weights, instance.means, dtype, instance.covariances)

    def embed(
        self, weights: CovarianceEM, instance: CovarianceTask, dtype: torch.dtype
    ) -> tuple[Tensor, Tensor]:
        """The start, read in exactly."""
        tokens = self.tokens(weights, instance, dtype)
        return tokens.dense(), tokens.places.mask

    def tokens(self, weights: CovarianceEM, instance: CovarianceTask, dtype: torch.dtype) -> Tokens:
        """As :meth:`ConstructedEM.tokens`."""
        return weights.tokens(weights.gather(*self._parts(instance), dtype))

    @staticmethod
    def _parts(instance: CovarianceTask) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return instance.X, instance.weights, instance.means, instance.covariances

    def decode(self, weights: CovarianceEM, instance: CovarianceTask, stream: Tensor) -> dict[str, Tensor]:
        """What a state between two steps holds, of any dtype; of the instance its sizes alone are read."""
        X, start, means, covariances = self._parts(instance)
        sizes = weights.max_dim, weights.max_components
        tasks = gather_tasks(X, start, means, *sizes, X.dtype, "cpu", covariances, self.kind)
        state = weights.decode(DenseState(stream, None), tasks)
        if state.covariances is None:
            raise ValueError(f"{self.name}: a state holds covariances, got none")
        rows = self._rows(state.covariances[:, None])[:, 0]
        return {"means": state.means, "weights": state.weights[..., None], "covariances": rows}

    def run(
        self,
        weights: CovarianceEM,
        instance: CovarianceTask,
        dtype: torch.dtype,
        device: str = "cpu",
        steps: int = 1,
        evaluation: Evaluation = "dense",
    ) -> States:
        """The construction's own run; NaN in a task from where its covariances leave the range."""
        on: dict[str, Any] = {"dtype": dtype, "device": device, "steps": steps, "evaluation": evaluation}
        run = weights.run(*self._parts(instance), **on)
        if run.path_covariances is None:
            raise ValueError(f"{self.name}: a run has covariances, got none")
        return {
            "means": run.path_means.cpu(),
            "weights": run.path_weights.cpu()[..., None],
            "covariances": self._rows(run.path_covariances.cpu()),
        }

    def _rows(self, covariances: Tensor) -> Tensor:
        """(B, L + 1, ...) as the kind lays them out -> (B, L + 1, K or 1, numbers)."""
        if self.kind == "full":
            return covariances.flatten(-2)
        if self.kind == "tied":
            return covariances.flatten(-2)[..., None, :]
        if self.kind == "diagonal":
            return covariances
        return covariances[..., None] if self.kind == "spherical" else covariances[..., None, None]

    def reference(self, instance: CovarianceTask, steps: int) -> States:
        """The EM path of ``baselines``; NaN from the step on at which a component is empty or singular."""
        X, weights, means, covariances = self._parts(instance)
        path = reference_path(X, weights, means, steps, covariances, self.kind)
        if path.covariances is None:
            raise ValueError(f"{self.name}: the reference has covariances, got none")
        lost = ~torch.cat([torch.ones_like(path.defined[:, :1]), path.defined], 1)[..., None, None]
        return {
            "means": path.means.masked_fill(lost, torch.nan),
            "weights": path.weights[..., None].masked_fill(lost, torch.nan),
            "covariances": self._rows(path.covariances).masked_fill(lost, torch.nan),
        }

    def exact(self, instance: CovarianceTask, steps: int) -> States:
        """EM's formulas in balls, about its own means."""
        from verify.balls.array import one_task
        from verify.certify.references.em import em_states

        X, weights, means, covariances = (part[0] for part in self._parts(instance))
        return {**one_task(em_states(X, weights, means, steps, covariances, self.kind))}

    def bounds(
        self, weights: CovarianceEM, instance: CovarianceTask, states: States, dtype: torch.dtype
    ) -> dict[str, Bound]:
        """Along the path (constructions.em.covariance_path)."""
        found, means = states["weights"][..., 0].double(), states["means"].double()
        covariances = self._laid_out(states["covariances"].double(), means.shape[-1])
        data = StepData.uniform(instance.X, found[:, 0], means[:, 0], False, covariances[:, 0], self.kind)
        masks = data.component_mask, data.n_features
        on: dict[str, Any] = {"path_covariances": covariances}
        path = path_bound(weights, data.X, data.token_mask, found, means, *masks, dtype, **on)
        if path.covariance is None or path.covariance_approximation is None:
            raise ValueError(f"{self.name}: covariances have a bound, got none")
        return {
            "means": Bound.split(path.mean, path.mean_approximation),
            "weights": Bound.split(path.weight, path.weight_approximation),
            "covariances": Bound.split(path.covariance, path.covariance_approximation),
        }

    def _laid_out(self, rows: Tensor, dim: int) -> Tensor:
        """The other way round."""
        if self.kind == "full":
            return rows.unflatten(-1, (dim, dim))
        if self.kind == "tied":
            return rows[..., 0, :].unflatten(-1, (dim, dim))
        if self.kind == "diagonal":
            return rows
        return rows[..., 0] if self.kind == "spherical" else rows[..., 0, 0]

    def resource_table(self, weights: CovarianceEM) -> str:
        """With the formula for each number."""
        return weights.resource_table()


TIED_SPHERICAL, SPHERICAL, DIAGONAL, TIED, FULL = (
    EMWithCovariances(kind) for kind in ("tied_spherical", "spherical", "diagonal", "tied", "full")
)
EVERY_KIND = (TIED_SPHERICAL, SPHERICAL, DIAGONAL, TIED, FULL)
