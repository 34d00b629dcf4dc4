"""Checks shared by this room: each raises ValueError in one line, naming the value and the range."""

import torch
from torch import Tensor


def first_index(bad: Tensor) -> tuple[int, ...]:
    """Index of the first True entry of a boolean tensor that has one."""
    return tuple(int(i) for i in torch.nonzero(bad)[0])


def check_count(name: str, value: int, least: int = 1) -> None:
    """Refuse anything but an int of at least `least`."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name} is {value!r}, needs an integer of at least {least}")


def check_points(X: Tensor) -> None:
    """Refuse anything but a finite floating tensor (..., N, d) with N, d >= 1."""
    if not isinstance(X, Tensor) or not X.is_floating_point():
        kind = X.dtype if isinstance(X, Tensor) else type(X).__name__
        raise ValueError(f"X is of type {kind}, needs a floating-point tensor")
    if X.dim() < 2 or 0 in X.shape:
        raise ValueError(f"X has shape {tuple(X.shape)}, needs (..., N, d) with every number at least 1")
    check_finite("X", X)


def check_finite(name: str, values: Tensor) -> None:
    """Refuse NaN and infinities, naming the first one and its place."""
    if values.numel() == 0:
        return
    least, most = torch.aminmax(values)  # both NaN if any value is; no copy of a large tensor
    if not (torch.isfinite(least) and torch.isfinite(most)):
        index = first_index(~torch.isfinite(values))
        raise ValueError(f"{name}{list(index)} is {values[index].item()}, needs finite values")


def check_same_kind(name: str, values: Tensor, other_name: str, other: Tensor) -> None:
    """Refuse two tensors of different dtype or device: nothing is converted silently."""
    if values.dtype != other.dtype or values.device != other.device:
        raise ValueError(
            f"{name} is {values.dtype} on {values.device}, needs {other.dtype} on {other.device} "
            f"like {other_name}"
        )


def check_sample_weight(sample_weight: Tensor, X: Tensor) -> None:
    """Refuse sample weights that do not fit X (..., N, d), are negative, or are all zero in a task."""
    check_same_kind("sample_weight", sample_weight, "X", X)
    if sample_weight.dim() < 1 or sample_weight.shape[-1] != X.shape[-2]:
        raise ValueError(
            f"sample_weight has shape {tuple(sample_weight.shape)}, needs (..., N) with N = {X.shape[-2]}"
        )
    check_finite("sample_weight", sample_weight)
    if (sample_weight < 0).any():
        index = first_index(sample_weight < 0)
        raise ValueError(f"sample_weight{list(index)} is {sample_weight[index].item()}, needs >= 0")
    if (sample_weight.sum(-1) == 0).any():
        raise ValueError("sample_weight is 0 for every point of a task, needs at least one positive weight")
