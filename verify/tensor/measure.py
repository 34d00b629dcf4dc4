"""Errors of tensor power constructions: one step against exact arithmetic, runs against a float64 path."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from torch import Tensor

from baselines.robust_tensor_power import growth, tensor_power_iteration
from constructions.language.structured.evaluation import Evaluation
from constructions.tensor_power.iteration import PowerIteration
from constructions.tensor_power.relu_bounds import euclidean, natural_scale, reference_bound
from verify.intervals.rounded_up import Evaluated, rounded_up
from verify.tensor.data import TensorProblem


@dataclass(frozen=True)
class Runtime:
    """What the layers run in."""

    dtype: torch.dtype = torch.float64
    device: str = "cpu"
    evaluation: Evaluation = "dense"
    certify: bool | None = False

    @property
    def arguments(self) -> dict[str, Any]:
        """As ``run`` of a construction takes them."""
        return {"dtype": self.dtype, "device": self.device, "evaluation": self.evaluation}


def exact_contract(T: Tensor, v: Tensor) -> list[Fraction]:
    """``T(I, v, v)`` without rounding, in whole numbers times a power of 2: float64 (d, d, d) and (d,)."""
    tensor, tensor_exponent = _as_integers(T)
    vector, vector_exponent = _as_integers(v)
    d = len(v)
    rows = ((tensor.reshape(d * d, d) @ vector).reshape(d, d)) @ vector
    return [Fraction(value) * Fraction(2) ** (tensor_exponent + 2 * vector_exponent) for value in rows]


def _as_integers(x: Tensor) -> tuple[np.ndarray, int]:
    """(n, e) with x = n 2^e exactly, n of Python integers."""
    mantissa, exponent = np.frexp(x.numpy())
    lowest = int(exponent.min()) - 53
    whole = [
        int(m * 2.0**53) << (int(e) - 53 - lowest) for m, e in zip(mantissa.flat, exponent.flat, strict=True)
    ]
    out = np.empty(len(whole), dtype=object)
    out[:] = whole
    return out.reshape(x.shape), lowest


@dataclass(frozen=True, eq=False)
class StepErrors:
    """One plain step, entry by entry, (B, d): error against exact arithmetic, bound, natural scale.

    ``evaluated``: how the bound was.
    """

    error: Tensor
    bound: Tensor
    scale: Tensor
    evaluated: Evaluated = "float64"

    @property
    def relative_error(self) -> float:
        """Largest error over the natural scale."""
        return float(_over(self.error, self.scale).max())

    @property
    def relative_bound(self) -> float:
        """Largest bound over the natural scale, rounded up."""
        return float(above_quotient(self.bound, self.scale).max())

    @property
    def broken(self) -> int:
        """Entries whose error exceeds the bound."""
        return int((~(self.error <= self.bound)).sum())


def above_quotient(top: Tensor, bottom: Tensor) -> Tensor:
    """The float above ``top / bottom``; 0 of 0."""
    found = _over(top, bottom)
    return torch.where(found == 0, found, torch.nextafter(found, torch.full_like(found, torch.inf)))


def _over(top: Tensor, bottom: Tensor) -> Tensor:
    return torch.where(top == 0, 0.0, top / bottom)


def one_step(power: PowerIteration, problem: TensorProblem, on: Runtime) -> StepErrors:
    """One plain step of every tensor in ``problem``, whose T and v are numbers of its dtype."""
    run = power.run(problem.T, problem.v, steps=1, **on.arguments)
    bound, evaluated = rounded_up(
        lambda: power.error_bounds(problem.T, problem.v, run, on.dtype).entries[:, 1]
    )
    found = run.v.to("cpu", torch.float64)
    errors = [
        [float(abs(Fraction(float(a)) - b)) for a, b in zip(row, exact_contract(T, v), strict=True)]
        for row, T, v in zip(found, problem.T, problem.v, strict=True)
    ]
    error = torch.tensor(errors, dtype=torch.float64)
    return StepErrors(error, bound, natural_scale(problem.T, problem.v), evaluated)


@dataclass(frozen=True, eq=False)
class PathErrors:
    """A run against the float64 path from the same start, (B, L + 1).

    Attributes:
        error: Euclidean distance. bound: on it, both sides' rounding included; inf where nothing is claimed.
        length: (B, L + 1) Euclidean length of the reference's vectors. last: (B, d) the run's last vector.
        evaluated: how the bound was.
    """

    error: Tensor
    bound: Tensor
    length: Tensor
    last: Tensor
    evaluated: Evaluated = "float64"


def along_path(power: PowerIteration, problem: TensorProblem, on: Runtime, steps: int) -> PathErrors:
    """``steps`` steps of every tensor in ``problem``, whose T and v are numbers of its dtype."""
    T = problem.T.expand(len(problem.v), -1, -1, -1)
    run = power.run(T, problem.v, steps=steps, **on.arguments)
    path = tensor_power_iteration(T, problem.v, steps, normalise=power.normalised).path

    def both() -> Tensor:
        own = reference_bound(T, path, power.normalised)
        return power.error_bounds(T, problem.v, run, on.dtype).error + own.error

    bound, evaluated = rounded_up(both)
    found = run.path.to("cpu", torch.float64)
    return PathErrors(euclidean(found - path), bound, euclidean(path), found[:, -1], evaluated)


def steps_in_range(problem: TensorProblem, steps: int, dtype: torch.dtype) -> tuple[Tensor, int]:
    """log10 of the plain iteration's lengths (B, steps + 1), and how many steps all of them stay in range.

    In range: every length between sqrt(tiny) / u and max u, so that no product on the way overflows, and none
    that matters underflows.
    """
    levels = growth(problem.T, problem.v, steps)
    info = torch.finfo(dtype)
    low = 0.5 * np.log10(info.tiny) - np.log10(info.eps)
    high = np.log10(info.max) + np.log10(info.eps)
    fine = ((levels > low) & (levels < high)).all(0)
    return levels, max(0, int(fine.long().cumprod(0).sum()) - 1)
