"""Theorem 1 as an object of the engine: EM in softmax attention, its families, reference and bounds."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import torch
from torch import Generator, Tensor

from baselines.em_paths import reference_path
from constructions.em.path_bounds import path_bound
from constructions.em.shared import SOURCE
from constructions.em.step_rounding import StepData
from constructions.em.tasks import HYPOTHESES, TaskBatch, check_hypotheses, gather_tasks
from constructions.em.unit import EMConstruction
from constructions.em.weights import em_construction
from constructions.language.rounding import unit_roundoff
from constructions.language.structured.partitions import Tokens
from verify.em import families
from verify.em.problems import Problem
from verify.engine.theorem import Accuracy, Bound, Family, Sizes, States, Theorem

FLOOR, RADIUS = 1e-8, 8.0
PIECES = (32, 128, 512, 2048)


class EM(Theorem[Problem]):
    """L steps of EM for a mixture with unit covariances, two layers a step.

    States: means (B, L + 1, K, d) and weights (B, L + 1, K, 1).
    """

    name, key = "EM in softmax attention, two layers a step", "em"
    source = SOURCE
    hypotheses = HYPOTHESES
    accuracy = Accuracy("pieces", PIECES, order=2)
    sizes = ({"d": 2, "K": 3, "N": 40}, {"d": 5, "K": 4, "N": 103})

    @property
    def families(self) -> Mapping[str, Family[Problem]]:
        """Those of both searches, within the radius and with weights down to one in a thousand."""
        return {name: partial(_problem, name) for name in families.WITHIN | families.EDGES}

    def construct(self, sizes: Sizes, steps: int, accuracy: float | None = None) -> EMConstruction:
        """``accuracy`` pieces a function on average, the coarsest unless said."""
        pieces = PIECES[0] if accuracy is None else int(accuracy)
        return em_construction(sizes["d"], sizes["K"], steps, pieces, FLOOR, RADIUS)

    def check(self, weights: EMConstruction, instance: Problem, dtype: torch.dtype) -> None:
        """As :meth:`EMConstruction.check`."""
        weights.check(instance.X, instance.weights, instance.means, dtype)

    def embed(self, weights: EMConstruction, instance: Problem, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """As :meth:`EMConstruction.embed`, the start read in exactly."""
        tasks = self._gathered(weights, instance, dtype)
        return weights.embed(tasks), tasks.token_mask

    def tokens(self, weights: EMConstruction, instance: Problem, dtype: torch.dtype) -> Tokens:
        """As :meth:`EMConstruction.tokens`."""
        return weights.tokens(self._gathered(weights, instance, dtype))

    def _gathered(self, weights: EMConstruction, instance: Problem, dtype: torch.dtype) -> TaskBatch:
        parts = instance.X, instance.weights, instance.means
        tasks = gather_tasks(*parts, weights.max_dim, weights.max_components, dtype, "cpu")
        return check_hypotheses(tasks, weights.radius, weights.floor)

    def decode(self, weights: EMConstruction, instance: Problem, stream: Tensor) -> dict[str, Tensor]:
        """Token k < K holds the mean of component k, and every token all weights."""
        d, K, _ = instance.sizes
        s = weights.stream
        return {"means": stream[:, :K, s.mu.slice][..., :d], "weights": stream[:, 0, s.pi.slice][:, :K, None]}

    def reference(self, instance: Problem, steps: int) -> States:
        """The EM path of ``baselines``; NaN in a task from the step on at which a component has no points."""
        path = reference_path(instance.X, instance.weights, instance.means, steps)
        lost = ~torch.cat([torch.ones_like(path.defined[:, :1]), path.defined], 1)[..., None, None]
        return {
            "means": path.means.masked_fill(lost, torch.nan),
            "weights": path.weights[..., None].masked_fill(lost, torch.nan),
        }

    def exact(self, instance: Problem, steps: int) -> States:
        """EM's formulas in balls, about its own means."""
        from verify.balls.array import one_task
        from verify.certify.references.em import em_states

        return {**one_task(em_states(instance.X[0], instance.weights[0], instance.means[0], steps))}

    def bounds(
        self, weights: EMConstruction, instance: Problem, states: States, dtype: torch.dtype
    ) -> dict[str, Bound]:
        """Lemma 7 along the path (constructions.em.path_bounds).

        The layers start from ``p_k = w_k (1 + e_k) / W``, W the rounded sum of the given weights and
        ``|e_k| <= u``. EM does not see the factor W, so the reference might have started from ``w_k / W``:
        the two starts are ``r_0 = -log(1 - u) (sum_k p_k)^(1/2)`` apart at most in the norm of the path.
        """
        found, means = states["weights"][..., 0].double(), states["means"].double()
        u = torch.tensor(unit_roundoff(dtype), dtype=torch.float64)
        apart = -torch.log1p(-u) * found[:, 0].sum(-1).sqrt()
        data = StepData.uniform(instance.X, found[:, 0], means[:, 0], refreshed=False)
        masks = data.component_mask, data.n_features
        path = path_bound(weights, data.X, data.token_mask, found, means, *masks, dtype, start=apart)
        return {
            "means": Bound.split(path.mean, path.mean_approximation),
            "weights": Bound.split(path.weight, path.weight_approximation),
        }

    def resource_table(self, weights: EMConstruction) -> str:
        """With the formula for each number and what the theorem promises."""
        return weights.resource_table()


def _problem(family: str, sizes: Sizes, tasks: int, generator: Generator) -> Problem:
    place = families.Place(FLOOR, RADIUS, torch.float32)
    size = families.Size(sizes["d"], sizes["K"], sizes["N"])
    return families.drawn(generator, place, size, family, tasks, within=True)


THEOREM_1 = EM()
