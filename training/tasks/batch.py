"""Data sets of one number of components, and how they are drawn from a law of mixtures."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from baselines import task_families as families
from baselines.checks import check_count
from baselines.mixture import Mixture
from constructions.language.shown import short_repr
from training.tasks.distribution import TaskDistribution, check_samples
from training.tasks.mixtures import mixtures, rescaled


@dataclass(frozen=True, eq=False)
class TaskBatch:
    """T tasks of one K, padded to the longest.

    X          (T, N, d), N the largest of the batch; padded points are 0.
    n_samples  (T,) integers: task t has the points X[t, :n_samples[t]].
    labels     (T, N): the component each point came from, -1 at padding.
    truth      the mixtures, batch shape (T,).
    """

    X: Tensor
    n_samples: Tensor
    labels: Tensor
    truth: Mixture

    __repr__ = short_repr

    @property
    def mask(self) -> Tensor:
        """(T, N), True at points and False at padding."""
        return torch.arange(self.X.shape[1], device=self.X.device) < self.n_samples.unsqueeze(-1)


def sample_tasks(
    distribution: TaskDistribution,
    n_tasks: int,
    n_components: int,
    n_samples: int | Tensor,
    generator: torch.Generator,
    *,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> TaskBatch:
    """Exactly n_tasks tasks with K = n_components (any K, not only the distribution's), made on the device.

    n_samples is one N for all or a tensor (T,) of integers from 1 to MOST_SAMPLES; `distribution.samples` is
    not read. Draws only from `generator`, which must be one of `device`. Memory: X, the labels and some tens
    of MB. Raises ValueError when the rejection step never accepts, K > d + 1 with a fixed separation, or an
    argument does not fit.
    """
    check_count("n_tasks", n_tasks)
    check_count("n_components", n_components)
    lengths = _lengths(n_samples, n_tasks)
    if dtype not in (torch.float32, torch.float64):
        raise ValueError(f"dtype is {dtype}, needs torch.float32 or torch.float64")
    device = torch.device(device)
    if generator.device.type != device.type:
        raise ValueError(f"generator is on {generator.device}, needs {device} like the tasks")
    truth = mixtures(distribution, n_tasks, n_components, generator, dtype, device)
    X, labels = families.points(truth, int(lengths.max()), generator)
    padded = bool(lengths.min() < lengths.max())
    batch = TaskBatch(X, lengths.to(device), labels, truth)
    if padded:
        padding = ~batch.mask
        X.masked_fill_(padding.unsqueeze(-1), 0)
        labels.masked_fill_(padding, -1)
    return _within_unit_box(batch) if distribution.min_max else batch


def _within_unit_box(batch: TaskBatch) -> TaskBatch:
    """Every coordinate of a task between 0 and 1, its mixture moved along; one that is constant becomes 0."""
    absent = ~batch.mask.unsqueeze(-1)
    least = batch.X.masked_fill(absent, torch.inf).amin(1)
    widths = batch.X.masked_fill(absent, -torch.inf).amax(1) - least
    widths = torch.where(widths > 0, widths, torch.ones_like(widths))
    X = ((batch.X - least[:, None]) / widths[:, None]).masked_fill(absent, 0.0)
    return replace(batch, X=X, truth=rescaled(batch.truth, -least / widths, 1 / widths))


def _lengths(n_samples: int | Tensor, n_tasks: int) -> Tensor:
    """n_samples as (T,) int64."""
    if not isinstance(n_samples, Tensor):
        check_count("n_samples", n_samples)
        check_samples("n_samples", n_samples)
        return torch.full((n_tasks,), n_samples)
    if n_samples.dtype not in (torch.int32, torch.int64) or n_samples.shape != (n_tasks,):
        raise ValueError(
            f"n_samples is {n_samples.dtype} of shape {tuple(n_samples.shape)}, "
            f"needs integers of shape ({n_tasks},), one for each task"
        )
    if (n_samples < 1).any():
        raise ValueError(f"n_samples has {int(n_samples.min())}, needs at least 1")
    check_samples("n_samples", int(n_samples.max()))
    return n_samples.long()
