"""What the two tensor power checks ask at the command line, checked, and the problems it names."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from baselines.robust_tensor_power import tensor_power_iteration
from console.errors import BadInputError, checking_input
from console.folder import file_digest
from console.memory import check_fits
from console.options import as_typed
from console.streams import printable
from constructions.language.rounding import gamma, unit_roundoff
from verify.engine.options import Options
from verify.tensor.data import TensorProblem, gaussian_problem, load_start, load_tensor, unit_vectors
from verify.tensor.measure import Runtime

MAX_WEIGHT_BYTES = 4 * 2**30
"""Dense weights beyond it are refused: 2 d heads of d columns on a stream of d^2 take about 64 d^4 bytes."""

MAX_BATCH_BYTES = 8 * 2**30
"""Batches beyond it are refused: what the heads of one instance read takes about 64 d^3 bytes."""


ROW = 1000
"""Bytes of what is reported of a step."""


@dataclass(frozen=True)
class TensorOptions(Options):
    """Options that both checks have. ``dims`` is None with a tensor of one's own."""

    tensor: Path | None
    start: Path | None
    dims: list[int] | None
    max_dim: int | None

    @property
    def runtime(self) -> Runtime:
        """Of the layers."""
        return Runtime(self.dtype, self.device, self.evaluation, self.certify)

    def run(self, **others: Any) -> dict[str, Any]:
        """What decides the figures, with the contents of files."""
        files = {"tensor": file_digest(self.tensor), "start": file_digest(self.start)}
        return self.plain() | others | files

    @property
    def source(self) -> str:
        """What brought the tensors, for a message about one of them."""
        if self.tensor is None:
            return f"random tensors, --seed {self.seed}"
        return f"--tensor {self.tensor}" + ("" if self.start is None else f", --start {self.start}")

    @property
    def own(self) -> bool:
        """Whether the tensor is a person's, or of their points."""
        return self.tensor is not None

    def __post_init__(self) -> None:
        if self.tensor is not None and self.dims is not None:
            raise BadInputError(
                f"--dims {as_typed(self.dims)}: is for random tensors; --tensor {self.tensor} has its own d"
            )
        if self.start is not None and self.tensor is None:
            raise BadInputError(f"--start {self.start}: needs --tensor")
        if self.start is not None and self.trials is not None:
            raise BadInputError(f"--trials {self.trials}: --start brings its own starts")


def problems(
    options: TensorOptions,
    dims: list[int],
    trials: int,
    generator: torch.Generator,
    weights: int = 1,
    own: tuple[str, Tensor] | None = None,
) -> list[TensorProblem]:
    """One's own tensor with its starts or ``trials`` random ones, or a random problem for each of ``dims``.

    ``weights`` says how many times 2 d heads there are. ``own``: name and tensor in place of --tensor.

    Raises:
        BadInputError: a d beyond --max-dim, weights or a batch that take too much memory, or numbers that are
            0 or infinite in the dtype of the layers; a tensor of one's own with T(I, v, v) = 0 on the way.
    """
    count = options.trials or trials
    if own is None and options.tensor is not None:
        T = load_tensor(options.tensor)
        own = f"{printable(options.tensor.name)}, d={len(T)}, {symmetry(T)}", T
    if own is not None:
        name, T = own
        d = len(T)
        given = None if options.start is None else load_start(options.start, d)
        _check_size(options, options.source, d, count if given is None else len(given), weights)
        v = unit_vectors(count, d, generator) if given is None else given
        found = [TensorProblem(name, T.expand(len(v), -1, -1, -1), v)]
    else:
        for d in options.dims or dims:
            _check_size(options, "--dims", d, count, weights)
        found = [gaussian_problem(d, count, generator) for d in options.dims or dims]
    for problem in found:
        if not problem.fits(options.dtype):
            raise BadInputError(
                f"{problem.name}: T or a start is 0 in {options.dtype}, or beyond its range; scale it"
            )
    found = [problem.rounded(options.dtype) for problem in found]
    if own is not None:
        with checking_input(options.source):
            tensor_power_iteration(found[0].T, found[0].v, options.steps)
    return found


def _check_size(options: TensorOptions, option: str, dim: int, count: int, weights: int) -> None:
    d0, option = options.max_dim or dim, option if options.max_dim is None else "--max-dim"
    if dim > d0:
        raise BadInputError(f"--max-dim {d0}: is smaller than d = {dim} of the tensors")
    most = int((MAX_WEIGHT_BYTES / 64 / weights) ** 0.25)
    if d0 > most and options.evaluation == "dense":
        raise BadInputError(
            f"{option}: d = {d0} needs more than {MAX_WEIGHT_BYTES // 2**30} GiB of dense weights; "
            f"at most d = {most} is taken, more with --evaluation structured"
        )
    most = MAX_BATCH_BYTES // (64 * d0**3)
    if count > most:
        raise BadInputError(
            f"--trials {count}: tensors or starts with d = {d0} need more than "
            f"{MAX_BATCH_BYTES // 2**30} GiB; at most {most} are taken"
        )
    check_fits("trials", count, 64 * d0**3)
    # The path, its reference and their bounds, entry by entry, and a row of plain values for each step.
    check_fits("steps", options.steps, 64 * count * dim + ROW)


def symmetry(T: Tensor) -> str:
    """Whether (d, d, d) T is symmetric: exactly, up to the rounding of an average, or not."""
    turned = [T.permute(p) for p in ((0, 2, 1), (1, 0, 2), (2, 1, 0))]
    if all(torch.equal(T, other) for other in turned):
        return "symmetric"
    # A sum of six terms, in any order, and a division: gamma_6 of the largest entry on either side.
    room = 2 * gamma(6, unit_roundoff(torch.float64)) * T.abs().max()
    near = all(bool(((T - other).abs() <= room).all()) for other in turned)
    return "symmetric up to rounding" if near else "not symmetric"
