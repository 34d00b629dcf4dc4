"""Data handed to the spectral construction: checked for shape and padded to one batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from constructions.language.hypotheses import HypothesisError
from constructions.language.shown import short_repr

Array = Tensor | NDArray[np.floating]
Arrays = Array | Sequence[Array]


@dataclass(frozen=True, eq=False)
class SpectralBatch:
    """B tasks padded with zeros.

    Attributes:
        X: (B, N, d0) points. variance: (B,) s, in squared units of the points, or None to estimate it.
        directions: (B, S, d0) the starts g of the power iteration, in the space of the points.
        basis: (B, K0, d0) rows from which the iteration for the space of the means starts.
        n_samples, n_components, n_features: (B,) the true sizes of each task.
        single: the caller gave one task without a batch dimension.
    """

    X: Tensor
    variance: Tensor | None
    directions: Tensor
    basis: Tensor
    n_samples: Tensor
    n_components: Tensor
    n_features: Tensor
    single: bool

    __repr__ = short_repr

    def present(self, sizes: Tensor, number: int) -> Tensor:
        """(B, number) bool, True below the size of each task."""
        return torch.arange(number, device=self.X.device) < sizes[:, None]


def gather_tasks(
    X: Arrays,
    n_components: int | Sequence[int],
    variance: float | Sequence[float] | None,
    directions: Arrays,
    basis: Arrays,
    largest: tuple[int, int, int],
    dtype: torch.dtype,
    device: torch.device | str,
) -> SpectralBatch:
    """Pad tasks to ``(max(N), d0)`` points, ``(S, d0)`` directions and ``(K0, d0)`` rows.

    Args:
        X: (N, d), (B, N, d), or B arrays (N_b, d_b).
        n_components, variance: of all tasks, or one number a task.
        directions: (S, d), (B, S, d), or B arrays (S, d_b). basis: (K, d), (B, K, d), or B arrays (K_b, d_b).
        largest: d0, K0 and S.
        dtype, device: of the padded tensors; numbers are rounded to ``dtype`` here, once.

    Raises:
        HypothesisError: shapes that do not fit together, d > d0, K > K0, K > d, a value that is not finite.
    """
    max_dim, max_components, starts = largest
    single = isinstance(X, Tensor | np.ndarray) and X.ndim == 2
    parts = [_as_list(part, single) for part in (X, directions, basis)]
    batch = len(parts[0])
    if not batch or any(len(part) != batch for part in parts):
        counts = ", ".join(str(len(part)) for part in parts)
        raise HypothesisError(f"got {counts} data sets, directions and bases; one of each a task is needed")
    K = _each("n_components", n_components, batch, whole=True)
    s = None if variance is None else _each("variance", variance, batch)
    for x, g, y, k in zip(*parts, K, strict=True):
        _check(x, g, y, int(k), largest)
    if s is not None and (not all(np.isfinite(s)) or min(s) < 0):
        raise HypothesisError(f"variance is {min(s)}; finite numbers from 0 on are needed")
    samples = max(len(x) for x in parts[0])
    options = {"dtype": dtype, "device": device}
    padded = [torch.zeros(batch, n, max_dim, **options) for n in (samples, starts, max_components)]
    for target, given in zip(padded, parts, strict=True):
        for i, rows in enumerate(given):
            target[i, : rows.shape[0], : rows.shape[1]] = rows
    for name, numbers in zip(("X", "directions", "basis"), padded, strict=True):
        if not bool(numbers.isfinite().all()):
            raise HypothesisError(f"{name} holds a number that is not finite in {dtype}")
    if bool((padded[1] == 0).all(-1).any()):
        raise HypothesisError("directions hold a row of zeros; every start needs a direction")

    def sizes(values: list[int]) -> Tensor:
        return torch.tensor(values, device=device)

    return SpectralBatch(
        padded[0],
        None if s is None else torch.tensor(s, **options),
        padded[1],
        padded[2],
        sizes([len(x) for x in parts[0]]),
        sizes([int(k) for k in K]),
        sizes([x.shape[1] for x in parts[0]]),
        single,
    )


def _each(name: str, value: object, batch: int, whole: bool = False) -> list[float]:
    """One number a task."""
    try:
        numbers = np.atleast_1d(np.asarray(value))
        found = numbers.astype(np.float64).tolist()
    except (TypeError, ValueError):
        raise HypothesisError(f"{name} is {value!r}; a number is needed, or one a task") from None
    if numbers.dtype.kind not in ("iu" if whole else "iuf"):
        kind = "whole number" if whole else "number"
        raise HypothesisError(f"{name} is {value!r}; a {kind} is needed, or one a task")
    if len(found) == 1:
        return found * batch
    if len(found) != batch:
        raise HypothesisError(f"{name} has {len(found)} numbers; one, or one for each of {batch} tasks")
    return found


def _as_list(part: Arrays, single: bool) -> list[Tensor]:
    try:
        return [torch.as_tensor(entry) for entry in ([part] if single else part)]
    except (TypeError, ValueError):
        kind = type(part).__name__
        raise HypothesisError(f"tasks are tensors, numpy arrays, or lists of them; got {kind}") from None


def _check(x: Tensor, g: Tensor, y: Tensor, K: int, largest: tuple[int, int, int]) -> None:
    max_dim, max_components, starts = largest
    if x.ndim != 2 or not len(x) or g.ndim != 2 or y.ndim != 2:
        shapes = ", ".join(str(tuple(part.shape)) for part in (x, g, y))
        raise HypothesisError(f"a task has X (N, d), directions (S, d) and basis (K, d); got {shapes}")
    d = x.shape[1]
    if not 1 <= d <= max_dim:
        raise HypothesisError(f"data has d = {d} columns; this construction takes 1 <= d <= d0 = {max_dim}")
    if not 1 <= K <= max_components:
        raise HypothesisError(
            f"got K = {K} components; this construction takes 1 <= K <= K0 = {max_components}"
        )
    if d < K:
        raise HypothesisError(f"got K = {K} components in d = {d}: more means than d are linearly dependent")
    if tuple(g.shape) != (starts, d) or tuple(y.shape) != (K, d):
        raise HypothesisError(
            f"directions are {tuple(g.shape)} and the basis is {tuple(y.shape)}; "
            f"needed are {(starts, d)} and {(K, d)}"
        )
