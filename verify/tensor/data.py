"""Tensors to iterate on: random ones, orthogonally decomposable ones, and a person's own file."""

from __future__ import annotations

import tokenize
import zipfile
import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import Tensor

from console.errors import BadInputError

UNREADABLE = (
    *(ValueError, TypeError, OSError, EOFError, MemoryError, OverflowError, RecursionError, SyntaxError),
    *(zipfile.BadZipFile, zlib.error, tokenize.TokenError),
)
"""What numpy raises for files that are none of its own, or only begin like one."""

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
    values = _load(path, "tensor")
    if values.ndim != 3 or len(set(values.shape)) != 1 or values.size == 0:
        raise BadInputError(f"--tensor {path}: has shape {values.shape}; a cubic one, (d, d, d), is needed")
    return _finite(path, "tensor", values)


def load_start(path: Path, dim: int) -> Tensor:
    """(B, d) starting vectors from a .npy file of shape (d,) or (B, d).

    Raises:
        BadInputError: not such a file, or a vector that is zero, not finite, or outside :data:`START_SIZES`.
    """
    values = _load(path, "start")
    if values.ndim not in (1, 2) or values.shape[-1] != dim or values.size == 0:
        raise BadInputError(f"--start {path}: has shape {values.shape}; ({dim},) or (B, {dim}) is needed")
    starts = _finite(path, "start", np.atleast_2d(values))
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


def _load(path: Path, option: str) -> np.ndarray:
    if path.suffix != ".npy":
        raise BadInputError(f"--{option} {path}: the suffix is {path.suffix!r}; a .npy file is needed")
    try:
        if not path.is_file():
            raise BadInputError(f"--{option} {path}: there is no such file")
        with path.open("rb") as file:
            values = np.load(file, allow_pickle=False)
    except BadInputError:
        raise
    except UNREADABLE as problem:
        reason = str(problem) or type(problem).__name__
        raise BadInputError(f"--{option} {path}: cannot be read ({reason})") from None
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "fiu":
        kind = getattr(values, "dtype", type(values).__name__)
        raise BadInputError(f"--{option} {path}: holds {kind}; real numbers are needed")
    return values


def _finite(path: Path, option: str, values: np.ndarray) -> Tensor:
    with np.errstate(over="ignore"):  # a long double beyond float64 becomes inf, and is refused as that
        as_float = values.astype(np.float64)
    if not np.isfinite(as_float).all():
        place = tuple(int(i[0]) for i in np.nonzero(~np.isfinite(as_float)))
        raise BadInputError(f"--{option} {path}: entry {list(place)} is {as_float[place]}; values are finite")
    return torch.from_numpy(as_float)
