"""EM with covariances in the conformance suite: two steps, three tasks of different d, K and N."""

import dataclasses
from collections.abc import Callable

import pytest
import torch
from conformance import Case, ConstructionConformance, with_few_heads
from em_covariances import Task, make_task, plain_path, with_newton_steps
from torch import Tensor

from constructions import em_construction
from constructions.em.constructed import ConstructedEM
from constructions.em.matrices import MatrixEM
from constructions.em.path_bounds import path_bound
from constructions.em.tasks import CovarianceType, TaskBatch
from constructions.language.structured.evaluation import DenseState

STEPS = 2


def built(kind: CovarianceType, radius: float, eigenvalues: tuple[float, float]) -> ConstructedEM:
    """A small range and radius keep the bounds of the gates, and the rounding of a rotated stream, small."""
    return em_construction(2, 2, STEPS, 24, 1e-3, radius, covariance_type=kind, eigenvalues=eigenvalues)  # pyright: ignore


class CovarianceConformance(ConstructionConformance):
    em: ConstructedEM
    sizes = ((2, 2, 12), (1, 2, 9), (2, 1, 7))
    scale, apart = 1.0, 1.5

    def case(self, dtype: torch.dtype) -> Case:
        tasks = [self._task(*size, seed).rounded(dtype) for seed, size in enumerate(self.sizes)]
        batch = self.em.gather(*[[task.parts[i] for task in tasks] for i in range(4)], dtype=dtype)
        found = [self._end_and_bound(task, dtype) for task in tasks]
        tokens = self.em.tokens(batch)
        mask = tokens.places.mask
        order = (~mask).int().argsort(dim=1, stable=True)  # real tokens come first
        return Case(
            self.em.construction,
            _in_order(tokens.dense(), order),
            mask.gather(1, order),
            self._reader(batch, order),
            torch.stack([end for end, _ in found]),
            torch.stack([bound for _, bound in found]),
        )

    def _task(self, d: int, K: int, N: int, seed: int) -> Task:
        task = make_task(
            self.em.covariance_type, d, K, N, seed, condition=2.0, apart=self.apart, least_weight=0.3
        )
        X, means = ((self.scale * v).clamp(-self.em.radius, self.em.radius) for v in (task.X, task.means))
        return Task(task.kind, X, task.weights, means, self.scale**2 * task.covariances)

    def _end_and_bound(self, task: Task, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        run = self.em.run(*task.parts, dtype=dtype)
        held = run.path_covariances
        assert held is not None
        points, components = (torch.ones(1, n, dtype=torch.bool) for n in (len(task.X), len(task.weights)))
        path = [part[None].double() for part in (run.path_weights, run.path_means, held)]
        dims = torch.tensor([task.X.shape[1]])
        states = task.X[None], points, *path[:2], components, dims, dtype
        bound = path_bound(self.em, *states, path_covariances=path[2])
        assert bound.holds.all()
        assert bound.covariance is not None
        end, off = plain_path(task, STEPS)[-1], bound.covariance[0, -1]
        # Each number of a vector or a matrix is at most its norm.
        S = off.reshape(-1, *[1] * max(end.covariances.dim() - 1, 0)) if len(off) > 1 else off.sum()
        limits = bound.weight[0, -1], bound.mean[0, -1, :, None].expand_as(end.means)
        return (
            self._flat(end.weights, end.means, end.covariances),
            self._flat(*limits, S.expand_as(end.covariances)),
        )

    def _flat(self, *parts: Tensor) -> Tensor:
        """Weights (K,), means (K, d), covariances, each padded to K0 and d0; no size is above 2."""
        padded = [part.new_zeros([2] * part.dim()) for part in parts]
        for wide, part in zip(padded, parts, strict=True):
            wide[tuple(slice(n) for n in part.shape)] = part
        return torch.cat([wide.flatten() for wide in padded])

    def _reader(self, batch: TaskBatch, order: Tensor) -> Callable[[Tensor], Tensor]:
        def read(h: Tensor) -> Tensor:
            state = self.em.decode(DenseState(_in_order(h, order.argsort(dim=1)), None), batch)
            assert state.covariances is not None
            return torch.cat(
                [part.flatten(1) for part in (*state[:2], state.covariances.reshape(len(h), -1))], 1
            )

        return read


def _in_order(h: Tensor, order: Tensor) -> Tensor:
    return h.gather(1, order[:, :, None].expand_as(h))


class MatrixConformance(CovarianceConformance):
    """One Newton step: after more, floats forget the chords, and no gradient reaches them. A task has as many
    coordinates as there may be: where it has no turn left, a layer adds nothing, and nothing is compared.
    """

    sizes = ((2, 2, 24), (2, 1, 15), (2, 2, 20))
    scale, apart = 0.7, 0.8
    sharp = 1e-3  # scores are lowered by 4096, whose rounding the tolerance of a rotated stream counts

    def __init_subclass__(cls) -> None:
        kind: CovarianceType = "full" if cls.__name__ == "TestFull" else "tied"
        em = built(kind, 2.5, (1 / 8, 1.0))
        assert isinstance(em, MatrixEM)
        cls.em = dataclasses.replace(with_newton_steps(em, 1), newton_steps=1)

    @pytest.mark.slow
    def test_plots_carry_the_names_of_the_blocks(self) -> None:
        """Of a stream as wide as this a figure shows the blocks that its layer touches."""
        construction = with_few_heads(self.em.construction)
        names = [block.name for block in construction.stream.blocks]
        for layer, figure in zip(construction.layers, construction.plot_weights(), strict=True):
            drawn = [axes for axes in figure.axes if axes.images and axes.get_title()]
            assert len(drawn) == 4 * len(layer.all_heads) + 2 * bool(layer.mlp)
            heads = [
                block for head in layer.all_heads for block in (*head.score.reads, head.read, head.write)
            ]
            parts = [b for part in layer.mlp for b in (*part.reads, *part.writes, *part.clears)]
            used = {block.name for block in (*heads, *parts)}
            if any(term.query is None for head in layer.all_heads for term in head.score.terms):
                used.add("one")
            for axes in drawn:
                labels = [label.get_text() for label in axes.get_yticklabels()]
                assert [label for label in labels if label != "b_1"] == [n for n in names if n in used]


class TestDiagonal(CovarianceConformance):
    em = built("diagonal", 4.0, (0.125, 8.0))

    @pytest.mark.slow
    def test_plots_carry_the_names_of_the_blocks(self) -> None:
        super().test_plots_carry_the_names_of_the_blocks()


class TestTiedSpherical(CovarianceConformance):
    em = built("tied_spherical", 4.0, (0.125, 8.0))

    @pytest.mark.slow
    def test_plots_carry_the_names_of_the_blocks(self) -> None:
        super().test_plots_carry_the_names_of_the_blocks()


class TestFull(MatrixConformance):
    pass


class TestTied(MatrixConformance):
    pass
