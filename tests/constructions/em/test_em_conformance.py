"""The EM construction in the conformance suite: three steps, three tasks of different d, K and N."""

import torch
from conformance import Case, ConstructionConformance
from constructed_em import bound_of_path, em_path, make_task
from torch import Tensor

from constructions import em_construction
from constructions.em.tasks import gather_tasks

STEPS = 3
SIZES = [(3, 4, 23), (2, 3, 16), (1, 1, 7)]


class TestEM(ConstructionConformance):
    # A floor of 1e-3 keeps the slopes of the logarithm, and so the rounding of a rotated stream, small.
    em = em_construction(3, 4, STEPS, pieces=24, floor=1e-3, radius=8.0)

    def case(self, dtype: torch.dtype) -> Case:
        tasks = [
            make_task(d, K, N, seed=i, kind="far apart", start="truth", radius=8.0).rounded(dtype)
            for i, (d, K, N) in enumerate(SIZES)
        ]
        parts = [[getattr(t, name) for t in tasks] for name in ("X", "weights", "means")]
        batch = gather_tasks(*parts, self.em.max_dim, self.em.max_components, dtype, "cpu")
        references, bounds = [], []
        for task in tasks:
            weights, means = em_path(task, STEPS)
            run = self.em.run(task.X, task.weights, task.means, dtype=dtype)
            bound = bound_of_path(self.em, task, run, dtype)
            assert bound.holds.all()
            references.append(self._flat(weights[-1], means[-1]))
            each = bound.mean[0, -1, :, None].expand_as(means[-1])  # |a_j| <= |a|_2
            bounds.append(self._flat(bound.weight[0, -1], each))
        return Case(
            self.em.construction,
            self.em.embed(batch),
            batch.token_mask,
            self._read,
            torch.stack(references),
            torch.stack(bounds),
        )

    def _flat(self, weights: Tensor, means: Tensor) -> Tensor:
        K, d = means.shape
        padded = means.new_zeros(self.em.max_components, self.em.max_dim + 1)
        padded[:K, 0], padded[:K, 1 : d + 1] = weights, means
        return padded.flatten()

    def _read(self, h: Tensor) -> Tensor:
        s, rows = self.em.stream, []
        for state, (d, K, _) in zip(h, SIZES, strict=True):
            rows.append(self._flat(state[0, s.pi.slice][:K], state[:K, s.mu.slice][:, :d]))
        return torch.stack(rows)
