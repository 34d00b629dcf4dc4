"""Tasks handed to the EM construction: checked against its hypotheses and padded to one batch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from constructions.language.hypotheses import HypothesisError

WEIGHT_SUM_TOLERANCE = 1e-6
"""|sum of weights - 1| accepted: six typed decimals. EM does not see the factor, which is divided out."""

Array = Tensor | NDArray[np.floating]
Tasks = Array | Sequence[Array]


@dataclass(frozen=True, eq=False)
class TaskBatch:
    """B tasks padded with zeros to common sizes.

    Attributes:
        X: (B, N, d0) points. weights: (B, K0). means: (B, K0, d0).
        n_samples, n_components, n_features: (B,) the true sizes of each task.
        single: the caller gave one task without a batch dimension.
    """

    X: Tensor
    weights: Tensor
    means: Tensor
    n_samples: Tensor
    n_components: Tensor
    n_features: Tensor
    single: bool

    @property
    def token_mask(self) -> Tensor:
        """(B, N) bool, True at real points."""
        return torch.arange(self.X.shape[1], device=self.X.device) < self.n_samples[:, None]

    @property
    def component_mask(self) -> Tensor:
        """(B, K0) bool, True at components that the task has."""
        return torch.arange(self.weights.shape[1], device=self.X.device) < self.n_components[:, None]


def gather_tasks(
    X: Tasks,
    weights: Tasks,
    means: Tasks,
    max_dim: int,
    max_components: int,
    dtype: torch.dtype,
    device: object,
) -> TaskBatch:
    """Pad tasks to ``(max(N), max_components, max_dim)``.

    Args:
        X: (N, d), (B, N, d), or B arrays (N_b, d_b); tensors or numpy arrays.
        weights: (K,), (B, K), or B arrays (K_b,).
        means: (K, d), (B, K, d), or B arrays (K_b, d_b).
        max_dim, max_components: d0 and K0.
        dtype, device: of the padded tensors; numbers are rounded to ``dtype`` here, once.

    Raises:
        HypothesisError: shapes that do not fit together, more than d0 columns or K0 components.
    """
    single = isinstance(X, Tensor | np.ndarray) and X.ndim == 2
    points, priors, centres = (_as_list(part, single) for part in (X, weights, means))
    if not len(points) == len(priors) == len(centres) or not points:
        raise HypothesisError(
            f"got {len(points)} data sets, {len(priors)} weights and {len(centres)} means; need one each"
        )
    for x, w, m in zip(points, priors, centres, strict=True):
        _check_shapes(x, w, m, max_dim, max_components)
    samples = max(len(x) for x in points)
    batch = len(points)
    padded = torch.zeros(batch, samples, max_dim, dtype=dtype, device=device)  # pyright: ignore[reportArgumentType]
    padded_weights = padded.new_zeros(batch, max_components)
    padded_means = padded.new_zeros(batch, max_components, max_dim)
    for i, (x, w, m) in enumerate(zip(points, priors, centres, strict=True)):
        padded[i, : x.shape[0], : x.shape[1]] = x
        padded_weights[i, : len(w)] = w
        padded_means[i, : m.shape[0], : m.shape[1]] = m

    def sizes(values: list[int]) -> Tensor:
        return torch.tensor(values, device=padded.device)

    return TaskBatch(
        padded,
        padded_weights,
        padded_means,
        sizes([len(x) for x in points]),
        sizes([len(w) for w in priors]),
        sizes([x.shape[1] for x in points]),
        single,
    )


def _as_list(part: Tasks, single: bool) -> list[Tensor]:
    try:
        return [torch.as_tensor(entry) for entry in ([part] if single else part)]
    except (TypeError, ValueError):
        kind = type(part).__name__
        raise HypothesisError(f"tasks are tensors, numpy arrays, or lists of them; got {kind}") from None


def _check_shapes(x: Tensor, w: Tensor, m: Tensor, max_dim: int, max_components: int) -> None:
    if x.ndim != 2 or w.ndim != 1 or m.ndim != 2 or m.shape != (len(w), x.shape[1]):
        raise HypothesisError(
            f"a task has X (N, d), weights (K,), means (K, d); "
            f"got {tuple(x.shape)}, {tuple(w.shape)}, {tuple(m.shape)}"
        )
    if not 1 <= x.shape[1] <= max_dim:
        raise HypothesisError(
            f"data has d = {x.shape[1]} columns; this construction takes 1 <= d <= d0 = {max_dim}"
        )
    if not 1 <= len(w) <= max_components:
        raise HypothesisError(
            f"got K = {len(w)} components; this construction takes 1 <= K <= K0 = {max_components}"
        )
    if len(x) < len(w):
        raise HypothesisError(f"got N = {len(x)} points for K = {len(w)} components; N >= K is needed")


def largest_radius(dim: int, dtype: torch.dtype) -> float:
    """``sqrt(max / (8 d))``: up to it scores, squares and their partial sums stay finite in ``dtype``.

    A score is at most ``d R^2 + d R^2 / 2`` in size, the hidden units of ``half_norm2`` add up to at most
    ``d (2 R)^2``, and logs and counts are small beside them.
    """
    return math.sqrt(torch.finfo(dtype).max / (8 * dim))


def check_hypotheses(tasks: TaskBatch, radius: float, floor: float) -> TaskBatch:
    """Refuse what the theorem does not cover; return the tasks with weights divided by their sum.

    Raises:
        HypothesisError: a floor below the smallest normal number of the tasks' dtype; a radius whose squares
            leave that dtype; a value that is not finite; a coordinate of a point or mean beyond ``radius``;
            weights that are not above ``floor`` or do not sum to 1.
    """
    smallest = torch.finfo(tasks.X.dtype).tiny
    if floor < smallest:
        raise HypothesisError(f"floor is {floor:g}; in {tasks.X.dtype} it must be at least {smallest:.2g}")
    widest = largest_radius(tasks.X.shape[-1], tasks.X.dtype)
    if radius > widest:
        raise HypothesisError(
            f"the radius is {radius:g}; in {tasks.X.dtype} with d0 = {tasks.X.shape[-1]} it is at most "
            f"{widest:.3g}, so that its squares stay finite"
        )
    for name, values in (("X", tasks.X), ("weights", tasks.weights), ("means", tasks.means)):
        if not bool(values.isfinite().all()):
            bad = values[~values.isfinite()].flatten()[0]
            raise HypothesisError(f"{name} holds {float(bad)}; every value must be finite")
    for name, values in (("point", tasks.X), ("mean", tasks.means)):
        largest = float(values.abs().max())
        if largest > radius:
            digits = next(n for n in (6, 9, 17) if f"{largest:.{n}g}" != f"{radius:.{n}g}")
            raise HypothesisError(
                f"a {name} has a coordinate of size {largest:.{digits}g}; the radius is {radius:.{digits}g}"
                + _rounded(radius, tasks.X.dtype, largest)
            )
    real = tasks.weights[tasks.component_mask]
    if bool((real <= floor).any()):
        raise HypothesisError(
            f"a weight is {float(real.min()):.6g}; weights must be above the floor {floor:g}"
        )
    total = tasks.weights.sum(-1)
    worst = total[(total - 1).abs().argmax()]
    if abs(float(worst) - 1) > WEIGHT_SUM_TOLERANCE:
        raise HypothesisError(
            f"weights sum to {float(worst):.9g}; they must sum to 1 within {WEIGHT_SUM_TOLERANCE:g}"
        )
    return replace(tasks, weights=tasks.weights / total[:, None])


def _rounded(radius: float, dtype: torch.dtype, largest: float) -> str:
    """What to do where ``largest`` is beyond the radius only because ``dtype`` rounds the radius up."""
    on_the_radius = float(torch.tensor(radius, dtype=torch.float64).to(dtype))
    return f", {on_the_radius!r} in {dtype}: build with that" if largest <= on_the_radius else ""
