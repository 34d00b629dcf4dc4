"""Arrays of tasks, one, a batch or a list of mixed sizes, checked and padded with zeros to one tensor."""

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
class Gathered:
    """B arrays of one quantity.

    Attributes:
        values: (B, ...) padded with zeros. sizes: (B, axes) the true length of every axis.
        single: the caller gave one array, without a batch dimension.
    """

    values: Tensor
    sizes: Tensor
    single: bool

    __repr__ = short_repr

    def __len__(self) -> int:
        return len(self.values)


def gather(
    name: str, arrays: Arrays, axes: int, dtype: torch.dtype, device: torch.device | str = "cpu"
) -> Gathered:
    """``arrays`` with ``axes`` dimensions each, rounded to ``dtype`` once.

    Raises:
        HypothesisError: an array of other dimensions, none at all, an empty one, or a value that is not
        finite.
    """
    if dtype not in (torch.float32, torch.float64):
        raise HypothesisError(f"dtype is {dtype}; it is torch.float32 or torch.float64")
    single = isinstance(arrays, Tensor | np.ndarray) and arrays.ndim == axes
    try:
        parts = [torch.as_tensor(part).detach() for part in ([arrays] if single else arrays)]
    except (TypeError, ValueError):
        raise HypothesisError(f"{name} is an array, or a list of them; got {type(arrays).__name__}") from None
    if not parts:
        raise HypothesisError(f"{name} holds no task; at least one is needed")
    for part in parts:
        if part.ndim != axes or part.numel() == 0 or part.is_complex():
            raise HypothesisError(
                f"{name} has shape {tuple(part.shape)} of {part.dtype}; {axes} axes of real numbers, none of "
                "them empty, are needed"
            )
    sizes = torch.tensor([list(part.shape) for part in parts], device=device)
    values = torch.zeros(len(parts), *sizes.amax(0).tolist(), dtype=dtype, device=device)
    for row, part in zip(values, parts, strict=True):
        row[tuple(slice(0, n) for n in part.shape)] = part
    if not bool(values.isfinite().all()):
        bad = float(values[~values.isfinite()].flatten()[0])
        raise HypothesisError(f"{name} holds {bad} in {dtype}; every value must be finite")
    return Gathered(values, sizes, single)


def scalars(name: str, given: float | Tensor, like: Gathered) -> Tensor:
    """(B,) one number a task, in the dtype of ``like``.

    Raises:
        HypothesisError: another number of them, or one that is not finite.
    """
    kept = given if isinstance(given, Tensor) else torch.as_tensor(given, dtype=torch.float64)
    values = kept.detach().to(like.values).reshape(-1)
    if len(values) not in (1, len(like)):
        raise HypothesisError(f"{name} has {len(values)} numbers; one, or one for each of {len(like)} tasks")
    if not bool(values.isfinite().all()):
        raise HypothesisError(f"{name} is {float(values[~values.isfinite()][0])}; a finite number is needed")
    return values.expand(len(like))


def numbers(*values: Tensor) -> tuple[Tensor, ...]:
    """Tensors as a bound takes them: in float64, on the CPU."""
    return tuple(value.to("cpu", torch.float64) for value in values)


def check_same(first: str, a: Tensor, second: str, b: Tensor) -> None:
    """Refuse sizes (B,) that are not those of the other.

    Raises:
        HypothesisError: with the first task that differs.
    """
    if len(a) != len(b):
        raise HypothesisError(f"got {len(a)} tasks of {first} and {len(b)} of {second}; as many are needed")
    if bool((a != b).any()):
        task = int((a != b).to(torch.int64).argmax())
        raise HypothesisError(
            f"task {task}: {first} is {int(a[task])}, {second} is {int(b[task])}; they must be the same"
        )


def check_at_most(name: str, sizes: Tensor, most: int, option: str) -> None:
    """Refuse a size above what the weights were built for.

    Raises:
        HypothesisError: with the size and the option that limits it.
    """
    if int(sizes.max()) > most:
        raise HypothesisError(
            f"{name} is {int(sizes.max())}; this construction takes at most {option} = {most}"
        )
