"""Tensors and starts of many kinds, random and hostile, for searches and for the theorems."""

from __future__ import annotations

import torch
from torch import Tensor

from verify.tensor.data import orthogonal_problem, unit_vectors

TENSORS = ("gaussian", "symmetric", "orthogonal", "sparse", "skew", "positive")
STARTS = ("unit", "basis", "equal", "sparse", "long")
VANISHING = ("sparse", "skew")
"""Tensors whose T(I, v, v) can be 0: at some v, or at every one."""

LONG = 3.0
"""Length of a long start."""


def hostile_tensors(kind: str, count: int, dim: int, generator: torch.Generator) -> Tensor:
    """(count, d, d, d) with entries of size 1."""
    T = torch.randn(count, dim, dim, dim, generator=generator, dtype=torch.float64)
    if kind == "symmetric":
        return sum((T.permute(0, *p) for p in ((1, 2, 3), (2, 3, 1), (3, 1, 2))), torch.zeros_like(T)) / 3
    if kind == "orthogonal":
        return orthogonal_problem(dim, dim, generator).T.expand(count, -1, -1, -1)
    if kind == "sparse":
        return T * (torch.rand(T.shape, generator=generator) < 0.3)
    if kind == "skew":  # the part that v v does not see
        return T - T.transpose(2, 3)
    if kind == "positive":
        return T.abs()
    return T


def hostile_starts(kind: str, count: int, dim: int, generator: torch.Generator) -> Tensor:
    """(count, d), of length 1 unless the kind says otherwise; none is 0."""
    v, rows = unit_vectors(count, dim, generator), torch.arange(count)
    if kind == "basis":
        return torch.eye(dim, dtype=torch.float64)[rows % dim]
    if kind == "equal":
        return v.sign() / dim**0.5
    if kind == "sparse":
        kept = torch.rand(v.shape, generator=generator) < 0.5
        kept[rows, rows % dim] = True
        return v * kept
    return LONG * v if kind == "long" else v
