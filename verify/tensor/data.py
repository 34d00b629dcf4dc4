"""Tensors to iterate on: random ones, orthogonally decomposable ones, and a person's own file."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import Tensor

from console.errors import BadInputError
from console.npy_file import as_finite, read_npy

START_SIZES = (1e-4, 1e4)
"""Least and largest size of the largest entry of a start: powers of the products ``v_j v_m`` are taken."""


@dataclass(frozen=True, eq=False)
class TensorProblem:
    """Tensors and starts of one size.

    Attributes:
        name: for people. T: (B, d, d, d), v: (B, d), float64, v of length 1 unless a person's own.
    """

    name: str
    T: Tensor
    v: Tensor

    def __len__(self) -> int:
        return len(self.v)

    @property
    def dim(self) -> int:
        """d."""
        return self.v.shape[-1]

    def rounded(self, dtype: torch.dtype) -> Self:
        """The same with T and v rounded to ``dtype``, so that this rounding is no part of any error."""
        T, v = (x.to(dtype).to(torch.float64) for x in (self.T, self.v))
        return replace(self, T=T, v=v)

    def fits(self, dtype: torch.dtype) -> bool:
        """Whether the largest entry of every T and v is a normal number of ``dtype``."""
        info, T = torch.finfo(dtype), self.T.flatten(1)
        largest = torch.cat([torch.maximum(T.amax(1), -T.amin(1)), self.v.abs().amax(1)])
        return bool(((largest >= info.tiny) & (largest <= info.max)).all())


@dataclass(frozen=True, eq=False)
class OrthogonalProblem(TensorProblem):
    """One tensor ``T = sum_k lambda_k u_k (x) u_k (x) u_k``, (1, d, d, d), with a start for each component.

    Attributes:
        components: (K, d) the orthonormal u_k. eigenvalues: (K,) the lambda_k.
    """

    components: Tensor
    eigenvalues: Tensor


def unit_vectors(count: int, dim: int, generator: torch.Generator) -> Tensor:
    """(count, dim), uniform on the sphere."""
    v = torch.randn(count, dim, generator=generator, dtype=torch.float64)
    return v / v.norm(dim=-1, keepdim=True)


def gaussian_problem(dim: int, trials: int, generator: torch.Generator) -> TensorProblem:
    """T_ijm independent N(0, 1/d), not symmetric: then E |T(I, v, v)|^2 = 1 for every unit v."""
    shape = (trials, dim, dim, dim)
    T = torch.randn(shape, generator=generator, dtype=torch.float64) / dim**0.5
    return TensorProblem(f"Gaussian, d={dim}", T, unit_vectors(trials, dim, generator))


def orthogonal_problem(dim: int, components: int, generator: torch.Generator) -> OrthogonalProblem:
    """u_k random orthonormal, lambda_k uniform in [1, 2], K random starts."""
    U = torch.linalg.qr(torch.randn(dim, dim, generator=generator, dtype=torch.float64)).Q.mT[:components]
    weights = 1 + torch.rand(components, generator=generator, dtype=torch.float64)
    T = torch.einsum("k,ki,kj,km->ijm", weights, U, U, U)
    starts = unit_vectors(components, dim, generator)
    name = f"orthogonal, d={dim}, K={components}"
    return OrthogonalProblem(name, T[None], starts, U, weights)


def load_tensor(path: Path) -> Tensor:
    """A (d, d, d) tensor from a .npy file, as float64.

    Raises:
        BadInputError: not such a file, or a value that is not a finite number.
    """
    values = read_npy(path, "--tensor")
    if values.ndim != 3 or len(set(values.shape)) != 1 or values.size == 0:
        raise BadInputError(f"--tensor {path}: has shape {values.shape}; a cubic one, (d, d, d), is needed")
    return torch.from_numpy(as_finite(path, "--tensor", values))


def load_start(path: Path, dim: int) -> Tensor:
    """(B, d) starting vectors from a .npy file of shape (d,) or (B, d).

    Raises:
        BadInputError: not such a file, or a vector that is zero, not finite, or outside :data:`START_SIZES`.
    """
    values = read_npy(path, "--start")
    if values.ndim not in (1, 2) or values.shape[-1] != dim or values.size == 0:
        raise BadInputError(f"--start {path}: has shape {values.shape}; ({dim},) or (B, {dim}) is needed")
    starts = torch.from_numpy(as_finite(path, "--start", np.atleast_2d(values)))
    if not bool(starts.any(dim=1).all()):
        raise BadInputError(f"--start {path}: holds the zero vector; a start is not 0")
    low, high = START_SIZES
    for row, size in enumerate(starts.abs().amax(1).tolist()):
        if not low <= size <= high:
            raise BadInputError(
                f"--start {path}: the largest entry of vector {row} is {size:.3g}; "
                f"it lies between {low:g} and {high:g}: scale it"
            )
    return starts
