"""The options of the EM check as one checked value."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from baselines.starts import STARTS
from console.errors import BadInputError


@dataclass(frozen=True)
class Options:
    """What the command line asked for, checked. None stands for "choose for me"."""

    data: Path | None
    dataset: str | None
    header: bool | None
    columns: str | None
    dims: list[int] | None
    components: list[int] | None
    samples: list[int] | None
    steps: int
    pieces: list[int]
    starts: list[str] | None
    init: Path | None
    trials: int | None
    floor: float
    radius: float | None
    max_dim: int | None
    max_components: int | None
    standardise: bool | None
    pca: int | None
    dtype: torch.dtype
    device: str
    seed: int
    out: Path


def starts_named(text: str) -> list[str]:
    """``"random-points,normal"`` as a list.

    Raises:
        BadInputError: an unknown start.
    """
    names = list(dict.fromkeys(text.split(",")))
    for name in names:
        if name not in STARTS:
            raise BadInputError(f"--start {name}: it is one of {', '.join(STARTS)}")
    return names
