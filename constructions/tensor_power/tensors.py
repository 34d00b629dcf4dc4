"""Tensors and starting vectors handed to a tensor power construction: checked and padded to one batch."""

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
Tensors = Array | Sequence[Array]


@dataclass(frozen=True, eq=False)
class TensorBatch:
    """B cubic tensors and starts, padded with zeros.

    Attributes:
        T: (B, d0, d0, d0). v: (B, d0). dims: (B,) the true d of each.
        single: the caller gave one tensor without a batch dimension.
    """

    T: Tensor
    v: Tensor
    dims: Tensor
    single: bool

    __repr__ = short_repr

    @property
    def tokens(self) -> int:
        """Largest d in the batch: the number of tokens with a slice."""
        return int(self.dims.max())

    @property
    def mask(self) -> Tensor:
        """(B, tokens) bool, True at the coordinates that a tensor has."""
        return torch.arange(self.tokens, device=self.T.device) < self.dims[:, None]


def gather_tensors(
    T: Tensors, v: Tensors, max_dim: int, dtype: torch.dtype, device: torch.device | str
) -> TensorBatch:
    """Pad tensors and starts to ``max_dim``.

    Args:
        T: (d, d, d), (B, d, d, d), or B arrays (d_b, d_b, d_b), symmetric or not; tensors or numpy arrays.
        v: (d,), (B, d), or B arrays (d_b,).
        max_dim: d0.
        dtype, device: of the padded tensors; numbers are rounded to ``dtype`` here, once.

    Raises:
        HypothesisError: shapes that do not fit together, a tensor that is not cubic, d > d0, a value that is
            not finite (in ``dtype``), a start that is zero.
    """
    if dtype not in (torch.float32, torch.float64):
        raise HypothesisError(f"dtype is {dtype}; it is torch.float32 or torch.float64")
    single = isinstance(T, Tensor | np.ndarray) and T.ndim == 3
    tensors, starts = (_as_list(part, single) for part in (T, v))
    if len(tensors) != len(starts) or not tensors:
        raise HypothesisError(f"got {len(tensors)} tensors and {len(starts)} starts; need one start each")
    padded = torch.zeros(len(tensors), max_dim, max_dim, max_dim, dtype=dtype, device=device)
    padded_v = padded.new_zeros(len(tensors), max_dim)
    for i, (tensor, start) in enumerate(zip(tensors, starts, strict=True)):
        _check_shapes(tensor, start, max_dim)
        d = len(start)
        padded[i, :d, :d, :d] = tensor
        padded_v[i, :d] = start
    for name, values in (("T", padded), ("v", padded_v)):
        if not bool(values.isfinite().all()):
            bad = values[~values.isfinite()].flatten()[0]
            raise HypothesisError(f"{name} holds {float(bad)} in {dtype}; every value must be finite")
    for i, start in enumerate(padded_v):
        if not bool(start.any()):
            raise HypothesisError(f"start {i} is the zero vector in {dtype}; a start is not 0")
    dims = torch.tensor([len(start) for start in starts], device=padded.device)
    return TensorBatch(padded, padded_v, dims, single)


def slices(batch: TensorBatch) -> Tensor:
    """(B, d0, d0, N): entry [m, i, j] is ``T_ijm``, so that row m of token j is the column ``T[:, j, m]``."""
    return batch.T[:, :, : batch.tokens].permute(0, 3, 1, 2)


def _as_list(part: Tensors, single: bool) -> list[Tensor]:
    try:
        return [torch.as_tensor(entry).detach() for entry in ([part] if single else part)]
    except (TypeError, ValueError):
        kind = type(part).__name__
        raise HypothesisError(f"tensors and starts are arrays, or lists of them; got {kind}") from None


def _check_shapes(tensor: Tensor, start: Tensor, max_dim: int) -> None:
    if tensor.is_complex() or start.is_complex():
        raise HypothesisError(
            f"a tensor is {tensor.dtype}, its start {start.dtype}; complex numbers are not taken"
        )
    if tensor.ndim != 3 or len(set(tensor.shape)) != 1:
        raise HypothesisError(f"a tensor has shape {tuple(tensor.shape)}; it must be cubic, (d, d, d)")
    if start.shape != tensor.shape[:1]:
        raise HypothesisError(
            f"a start has shape {tuple(start.shape)}; its tensor needs ({tensor.shape[0]},)"
        )
    if not 1 <= len(start) <= max_dim:
        raise HypothesisError(
            f"a tensor has d = {len(start)}; this construction takes 1 <= d <= d0 = {max_dim}"
        )
