"""What the two tensor power checks ask at the command line, checked, and the problems it names."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from verify.errors import BadInputError
from verify.tensor_data import TensorProblem, gaussian_problem, load_start, load_tensor, unit_vectors

MAX_WEIGHT_BYTES = 4 * 2**30
"""Dense weights beyond it are refused: 2 d heads of d columns on a stream of d^2 take about 64 d^4 bytes."""


@dataclass(frozen=True)
class TensorOptions:
    """Options that both checks have. ``dims`` is None with a tensor of one's own."""

    tensor: Path | None
    start: Path | None
    dims: list[int] | None
    max_dim: int | None
    steps: int
    trials: int | None
    dtype: torch.dtype
    device: str
    seed: int
    out: Path

    def __post_init__(self) -> None:
        if self.tensor is not None and self.dims is not None:
            raise BadInputError("--dims is for random tensors; your --tensor has its own d")
        if self.start is not None and self.tensor is None:
            raise BadInputError(f"--start {self.start}: needs --tensor")
        if self.start is not None and self.trials is not None:
            raise BadInputError(f"--trials {self.trials}: --start brings its own starts")


def problems(
    options: TensorOptions, dims: list[int], trials: int, generator: torch.Generator
) -> list[TensorProblem]:
    """One's own tensor with its starts or ``trials`` random ones, or a random problem for each of ``dims``.

    Raises:
        BadInputError: a d beyond --max-dim, or one whose weights take too much memory.
    """
    count = options.trials or trials
    if options.tensor is not None:
        T = load_tensor(options.tensor)
        d = T.shape[0]
        given = None if options.start is None else load_start(options.start, d)
        v = unit_vectors(count, d, generator) if given is None else given
        symmetric = all(torch.equal(T, T.permute(p)) for p in ((0, 2, 1), (1, 0, 2), (2, 1, 0)))
        kind = "symmetric" if symmetric else "not symmetric"
        name = f"{options.tensor.name}, d={d}, {kind}"
        found = [TensorProblem(name, T.expand(len(v), -1, -1, -1), v)]
    else:
        found = [gaussian_problem(d, count, generator) for d in options.dims or dims]
    for problem in found:
        _check_size(problem, options.max_dim)
    rounded = [problem.rounded(options.dtype) for problem in found]
    for problem in rounded:
        if not bool(problem.T.isfinite().all() and problem.v.isfinite().all()):
            raise BadInputError(f"{problem.name}: a value is beyond the range of {options.dtype}; scale it")
    return rounded


def _check_size(problem: TensorProblem, max_dim: int | None) -> None:
    d0 = max_dim or problem.dim
    if problem.dim > d0:
        raise BadInputError(f"{problem.name}: d is larger than --max-dim {d0}")
    needed = 64 * d0**4
    if needed > MAX_WEIGHT_BYTES:
        most = int((MAX_WEIGHT_BYTES / 64) ** 0.25)
        raise BadInputError(
            f"d = {d0} needs about {needed / 2**30:.1f} GiB of dense weights; at most d = {most} is taken"
        )


def plain_value(value: object) -> object:
    """An option as JSON has it."""
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, torch.dtype):
        return str(value).removeprefix("torch.")
    return value
