"""One process or several (torchrun): who am I, and the sum over all."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NoReturn

import torch
import typer
from torch import Tensor, distributed

from console.errors import BAD_INPUT


@dataclass(frozen=True)
class Processes:
    """This process is `rank` of `count`, and computes on `device`."""

    rank: int
    count: int
    device: torch.device

    @property
    def first(self) -> bool:
        """The one that prints and writes."""
        return self.rank == 0

    def sum(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its sum over all processes, in one message."""
        if self.count == 1:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        distributed.all_reduce(flat)
        start = 0
        for tensor in tensors:
            tensor.copy_(flat[start : start + tensor.numel()].view_as(tensor))
            start += tensor.numel()

    @contextmanager
    def together(self) -> Iterator[None]:
        """What one process refuses inside, all refuse: the first raises the line, the others end in silence.

        Raises ValueError in the first process; typer.Exit with the code of bad input in the others.
        """
        line = None
        try:
            yield
        except ValueError as problem:
            if self.count == 1:
                raise
            line = str(problem)
        if self.count == 1:
            return
        lines: list[str | None] = [None] * self.count
        distributed.all_gather_object(lines, line)
        said = next((line for line in lines if line is not None), None)
        if said is not None:
            self.refuse(said)

    def refuse(self, line: str) -> NoReturn:
        """End with the code of bad input; only the first process says why."""
        if self.first:
            raise ValueError(line)
        raise typer.Exit(BAD_INPUT)

    def wait(self) -> None:
        """Until all are here."""
        if self.count > 1:
            distributed.barrier()


@contextmanager
def joined(device: str) -> Iterator[Processes]:
    """The processes that torchrun started, else this one alone; `device` is "auto", "cpu" or "cuda".

    Raises ValueError for another device, for "cuda" without a GPU, and for more processes here than GPUs.
    """
    if device not in ("auto", "cpu", "cuda") or (device == "cuda" and not torch.cuda.is_available()):
        alone = Processes(int(os.environ.get("RANK", "0")), 1, torch.device("cpu"))
        alone.refuse(f"--device {device}: it is auto, cpu, or cuda where there is a GPU")
    kind = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    count = int(os.environ.get("WORLD_SIZE", "1"))
    rank = int(os.environ.get("RANK", "0"))
    place = torch.device(kind)
    if kind == "cuda":
        place = torch.device("cuda", _local_gpu())
        torch.cuda.set_device(place)
    if count == 1:
        yield Processes(0, 1, place)
        return
    distributed.init_process_group("nccl" if kind == "cuda" else "gloo")
    try:
        yield Processes(rank, count, place)
    finally:
        distributed.destroy_process_group()


def _local_gpu() -> int:
    """The GPU of this process, one for each that torchrun started on this machine."""
    local, there = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if local >= there:
        raise ValueError(f"LOCAL_RANK is {local}, needs less than {there}, the GPUs here: one a process")
    return local
