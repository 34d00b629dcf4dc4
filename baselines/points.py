"""The points of a batch of tasks in the form EM reads them: centred features, whole or a chunk at a time."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from baselines.em_steps import centre_of
from baselines.gaussian import write_features
from baselines.scaling import scaled_weights
from baselines.scratch import Scratch
from baselines.shown import short_repr

POINTS_AT_ONCE = 2**14  # where a pass over the points is made once


@dataclass(frozen=True, eq=False)
class Points:
    """B tasks of N weighted points in R^d.

    X (B, N, d) as given, sample_weight (B, N) or None, the largest of a task from 1 to 2, centre (B, 1, d),
    tasks (B') the rows of X wanted, squares (B, N) |x_n|^2 and extent (B', d) max_n |x_nj|, both about the
    centre.
    `whole` holds the features (B', d + 2, N) of baselines.gaussian about the centre when chunk_size is None;
    otherwise they are made afresh for chunk_size points at a time, so that nothing of the size of X is kept.
    scratch is the memory in which chunk after chunk is computed.
    """

    X: Tensor
    sample_weight: Tensor | None
    centre: Tensor
    tasks: Tensor
    chunk_size: int | None
    squares: Tensor
    extent: Tensor
    whole: Tensor | None
    scratch: Scratch

    __repr__ = short_repr

    def chunks(self) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Features (B', d + 2, n) and sample weights (B', n) or None, covering the N points once in order.

        The next chunk is written over the features of the last.
        """
        if self.whole is not None:
            yield self.whole, self._weights(slice(None))
            return
        n_points = self.X.shape[1]
        step = self.chunk_size or n_points
        for start in range(0, n_points, step):
            part = slice(start, start + step)
            X, squares = self._wanted(self.X[:, part]), self._wanted(self.squares[:, part])
            rows = self.scratch.take("features", (*X.shape[:2], X.shape[2] + 2))
            yield write_features(rows, X, self.centre, squares), self._weights(part)

    def coordinates(self) -> Iterator[Tensor]:
        """Centred coordinates (B', n, d) of the N points once in order, overwritten like the features."""
        if self.whole is not None:
            yield self.whole[:, :-2].mT
            return
        n_points = self.X.shape[1]
        step = self.chunk_size or n_points
        for start in range(0, n_points, step):
            X = self._wanted(self.X[:, start : start + step])
            yield torch.sub(X, self.centre, out=self.scratch.take("coordinates", tuple(X.shape)))

    def total_weight(self) -> Tensor:
        """sum_n a_n of every wanted task, (B')."""
        if self.sample_weight is None:
            return self.centre.new_full((len(self.tasks),), self.X.shape[1])
        return self._wanted(self.sample_weight).sum(-1)

    def take(self, index: Tensor) -> Tensor:
        """Centred coordinates of the points `index` (B', m): (B', m, d)."""
        return self.X[self.tasks.unsqueeze(-1), index] - self.centre

    def rows(self, kept: Tensor) -> "Points":
        """The same points for some of the wanted tasks only; kept holds their positions in 0..B'-1."""
        return replace(
            self,
            centre=self.centre[kept],
            tasks=self.tasks[kept],
            extent=self.extent[kept],
            whole=None if self.whole is None else self.whole[kept],
        )

    def _weights(self, part: slice) -> Tensor | None:
        return None if self.sample_weight is None else self._wanted(self.sample_weight[:, part])

    def _wanted(self, values: Tensor) -> Tensor:
        return values if len(self.tasks) == len(self.X) else values[self.tasks]


def squares_fit(X: Tensor) -> Tensor:
    """(B,) booleans: squared distances of points X (B, N, d) to 0 and their centre, times 2 N, are finite.

    A distance to a centre among the points is at most twice the largest |x|.
    """
    largest = torch.maximum(X.amax((-2, -1)), -X.amin((-2, -1)))  # no copy of a large tensor
    return largest * (8 * X.shape[-2] * X.shape[-1]) ** 0.5 < torch.finfo(X.dtype).max ** 0.5


def prepare(X: Tensor, sample_weight: Tensor | None, chunk_size: int | None) -> Points:
    """Points of X (B, N, d), centred on their (weighted) average. ValueError where squared norms overflow."""
    ones = X.new_ones(1).expand(X.shape[:2])
    if sample_weight is not None:
        sample_weight = scaled_weights(sample_weight)
    centre = centre_of(X, ones if sample_weight is None else sample_weight)
    squares, extent = _norms(X, centre)
    largest = squares.amax().item()
    limit = torch.finfo(X.dtype).max / (2 * X.shape[1])  # a weight is below 2
    if not largest < limit:
        raise ValueError(
            f"a squared distance to the centre of X is {largest}, needs < {limit:.1e} in {X.dtype}"
        )
    tasks = torch.arange(len(X), device=X.device)
    whole = None
    if chunk_size is None:
        whole = write_features(X.new_empty((*squares.shape, X.shape[-1] + 2)), X, centre, squares)
    return Points(X, sample_weight, centre, tasks, chunk_size, squares, extent, whole, Scratch(X))


def _norms(X: Tensor, centre: Tensor) -> tuple[Tensor, Tensor]:
    """|x_n|^2 (B, N) and max_n |x_nj| (B, d) about the centre."""
    squares, extent = X.new_empty(X.shape[:2]), torch.zeros_like(centre[:, 0])
    for start in range(0, X.shape[1], POINTS_AT_ONCE):
        part = slice(start, start + POINTS_AT_ONCE)
        centred = X[:, part] - centre
        extent = torch.maximum(extent, centred.abs().amax(1))
        torch.sum(centred.square_(), -1, out=squares[:, part])
    return squares, extent
