"""The options of the EM check as one checked value."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from baselines.starts import STARTS
from console.errors import BadInputError
from console.options import in_open_unit
from constructions.em.weights import LARGEST_RADIUS


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


def usable_floor(floor: float, dtype: torch.dtype) -> float:
    """A floor between 0 and 1 that is a normal number of the layers' dtype.

    Raises:
        BadInputError: another number.
    """
    smallest, name = torch.finfo(dtype).tiny, str(dtype).removeprefix("torch.")
    if 0 < floor < smallest:
        raise BadInputError(f"--floor {floor!r}: in {name} it is at least {smallest:.2g}")
    return in_open_unit("floor", floor)


def usable_radius(radius: float) -> float:
    """A radius for which weights can be written down.

    Raises:
        BadInputError: another number.
    """
    if not 0 < radius <= LARGEST_RADIUS:
        raise BadInputError(f"--radius {radius:g}: it is positive and at most {LARGEST_RADIUS:g}")
    return radius


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
