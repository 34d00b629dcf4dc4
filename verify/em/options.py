"""The options of the EM check as one checked value."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from baselines.starts import STARTS
from console.errors import BadInputError
from console.options import in_open_unit
from constructions.em.shared import LARGEST_RADIUS
from verify.engine import options


@dataclass(frozen=True)
class Options(options.Options):
    """What the command line asked for, checked. None stands for "choose for me"."""

    data: Path | None
    dataset: str | None
    header: bool | None
    columns: str | None
    dims: list[int] | None
    components: list[int] | None
    samples: list[int] | None
    pieces: list[int]
    starts: list[str] | None
    init: Path | None
    floor: float
    radius: float | None
    max_dim: int | None
    max_components: int | None
    standardise: bool | None
    pca: int | None

    def __post_init__(self) -> None:
        smallest, name = torch.finfo(self.dtype).tiny, str(self.dtype).removeprefix("torch.")
        if 0 < self.floor < smallest:
            raise BadInputError(f"--floor {self.floor!r}: in {name} it is at least {smallest:.2g}")
        in_open_unit("floor", self.floor)
        if self.radius is not None and not 0 < self.radius <= LARGEST_RADIUS:
            raise BadInputError(f"--radius {self.radius:g}: it is positive and at most {LARGEST_RADIUS:g}")


def starts_named(text: str | None) -> list[str] | None:
    """``"random-points,normal"`` as a list.

    Raises:
        BadInputError: an unknown start.
    """
    names = None if text is None else list(dict.fromkeys(text.split(",")))
    for name in names or []:
        if name not in STARTS:
            raise BadInputError(f"--start {name}: it is one of {', '.join(STARTS)}")
    return names
