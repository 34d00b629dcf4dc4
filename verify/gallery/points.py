"""Point clouds that the theorems of the gallery share: plain ones, and those on which an error would grow."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Generator, Tensor


def normal(generator: Generator, *shape: int) -> Tensor:
    """Standard normal numbers in float64."""
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def uniform(generator: Generator, low: float, high: float, *shape: int) -> Tensor:
    """Numbers between ``low`` and ``high`` in float64."""
    return low + (high - low) * torch.rand(*shape, generator=generator, dtype=torch.float64)


def _plain(X: Tensor, generator: Generator) -> Tensor:
    return X


def _one_large_coordinate(X: Tensor, generator: Generator) -> Tensor:
    return X * 1e-3 ** (torch.arange(X.shape[-1]) > 0)


def _twice(X: Tensor, generator: Generator) -> Tensor:
    return torch.cat([X[:, ::2], X[:, ::2]], 1)[:, : X.shape[1]]


def _far_point(X: Tensor, generator: Generator) -> Tensor:
    return torch.cat([100 * X[:, :1], X[:, 1:]], 1)


def _nearly_on_a_line(X: Tensor, generator: Generator) -> Tensor:
    return X[..., :1] + 1e-3 * X


def _cancelling(X: Tensor, generator: Generator) -> Tensor:
    half = X[:, : X.shape[1] // 2]
    return torch.cat([half, -half, X[:, 2 * half.shape[1] :]], 1)


def _scaled(X: Tensor, generator: Generator) -> Tensor:
    return X * 10 ** uniform(generator, -3, 3, len(X), 1, 1)


def _integers(X: Tensor, generator: Generator) -> Tensor:
    return (2 * X).round()


CLOUDS: Mapping[str, Callable[[Tensor, Generator], Tensor]] = {
    "normal": _plain,
    "one large coordinate": _one_large_coordinate,
    "half of the points twice": _twice,
    "one point far away": _far_point,
    "nearly on a line": _nearly_on_a_line,
    "each point and its opposite": _cancelling,
    "of any scale": _scaled,
    "integers": _integers,
}
