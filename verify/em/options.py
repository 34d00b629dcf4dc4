"""The options of the EM check as one checked value."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import torch

from baselines.starts import STARTS
from console.errors import BadInputError
from console.options import as_typed, in_open_unit
from constructions.em.shared import LARGEST_RADIUS
from constructions.em.tasks import COVARIANCE_TYPES, CovarianceType, Range
from verify.em.own_data import DataOptions


@dataclass(frozen=True)
class Options(DataOptions):
    """What the command line asked for, checked. None stands for "choose for me"."""

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
    covariance: CovarianceType = "unit"
    eigenvalues: Range | None = None

    def __post_init__(self) -> None:
        smallest, name = torch.finfo(self.dtype).tiny, str(self.dtype).removeprefix("torch.")
        if 0 < self.floor < smallest:
            raise BadInputError(f"--floor {self.floor!r}: in {name} it is at least {smallest:.2g}")
        in_open_unit("floor", self.floor)
        if self.radius is not None and not 0 < self.radius <= LARGEST_RADIUS:
            raise BadInputError(f"--radius {self.radius:g}: it is positive and at most {LARGEST_RADIUS:g}")
        if self.eigenvalues is not None and self.covariance == "unit":
            raise BadInputError(
                f"--eigenvalues {as_typed(f'{end:g}' for end in self.eigenvalues)}: unit ones "
                f"are 1; --covariance is one of {', '.join(COVARIANCE_TYPES[1:])}"
            )


def covariance_named(text: str) -> CovarianceType:
    """A kind of covariance.

    Raises:
        BadInputError: none that there is.
    """
    if text not in COVARIANCE_TYPES:
        raise BadInputError(f"--covariance {text}: it is one of {', '.join(COVARIANCE_TYPES)}")
    return text


def eigenvalues_named(text: str | None) -> Range | None:
    """``"0.01,100"`` as the range of eigenvalues.

    Raises:
        BadInputError: not two numbers, ``0 < low <= high`` and finite.
    """
    if text is None:
        return None
    try:
        low, high = map(float, text.split(","))
    except ValueError:
        raise BadInputError(f"--eigenvalues {text}: two numbers are needed, as in 0.01,100") from None
    if not 0 < low <= high < math.inf:
        raise BadInputError(f"--eigenvalues {text}: 0 < LOW <= HIGH are needed, both finite")
    return Range(low, high)


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
