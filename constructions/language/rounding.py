"""The unit roundoff and the constant gamma_n of floating-point error analysis; lengths of any size."""

from __future__ import annotations

import torch
from torch import Tensor


def unit_roundoff(dtype: torch.dtype) -> float:
    """Largest relative error of one correctly rounded operation: 2^-53 for float64, 2^-24 for float32."""
    return torch.finfo(dtype).eps / 2


def gamma(n: float, u: float) -> float:
    """``gamma_n = n u / (1 - n u)``: n operations in sequence keep their result within a factor 1 +- gamma_n.

    Source: Higham, Accuracy and Stability of Numerical Algorithms, Lemma 3.1. It holds for any order of
    summation and with or without fused multiply-add.

    Raises:
        ValueError: ``n u >= 1``, where the analysis says nothing.
    """
    if not n * u < 1:
        raise ValueError(f"{n:g} operations at unit roundoff {u:g} exceed the range n u < 1 of the analysis")
    return n * u / (1 - n * u)


def length(v: Tensor) -> Tensor:
    """``|v|_2`` over the last axis, (..., d) -> (...): no square of an entry under- or overflows.

    Entries are divided by the largest one first; what is then flushed is below 1e-154 of the result.
    """
    largest = v.abs().amax(-1, keepdim=True)
    return (v / torch.where(largest > 0, largest, 1.0)).norm(dim=-1) * largest[..., 0]
