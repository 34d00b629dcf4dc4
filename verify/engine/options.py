"""What the options of every check have in common: they are checked by their names, and written as JSON."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Self, get_args

import torch

from console.errors import BadInputError
from console.options import (
    at_least_one,
    dtype_named,
    plain_value,
    usable_device,
    usable_seed,
    whole_numbers,
)
from constructions.language.structured.evaluation import Evaluation
from verify.engine.certificates import check_certificates

CHECKED: dict[str, Callable[[str, Any], Any]] = {
    **dict.fromkeys(("dims", "components", "samples"), whole_numbers),
    **dict.fromkeys(
        ("steps", "trials", "instances", "max_dim", "max_components", "rounds", "starts"), at_least_one
    ),
    "dtype": lambda _, value: dtype_named(value),
    "device": lambda _, value: usable_device(value),
    "evaluation": lambda _, value: usable_evaluation(value),
    "seed": lambda _, value: usable_seed(value),
    "certify": lambda _, value: usable_certify(value),
}
"""How an option is checked, by its name; others are taken as they are."""


@dataclass(frozen=True)
class Options:
    """Options that every check has, checked; a command adds its own. None stands for "choose for me"."""

    steps: int
    trials: int | None
    dtype: torch.dtype
    device: str
    evaluation: Evaluation
    seed: int
    certify: bool | None = field(default=None, kw_only=True)

    @classmethod
    def checked(cls, typed: Mapping[str, Any], **others: Any) -> Self:
        """The fields from the options of these names as ``typed``; ``others`` are checked already.

        Raises:
            BadInputError: one that cannot be used, or two that do not go together.
        """
        names = [field.name for field in fields(cls) if field.name not in others]
        return cls(**{name: _checked(name, typed[name]) for name in names}, **others)

    def plain(self) -> dict[str, Any]:
        """As JSON has them."""
        return {name: plain_value(value) for name, value in vars(self).items()}


def usable_evaluation(name: str) -> Evaluation:
    """One of the two ways to run weights.

    Raises:
        BadInputError: another name.
    """
    if name not in get_args(Evaluation):
        raise BadInputError(f"--evaluation {name}: it is {' or '.join(get_args(Evaluation))}")
    return name  # pyright: ignore[reportReturnType]


def usable_certify(asked: bool | None) -> bool | None:
    """Certificates as asked for.

    Raises:
        BadInputError: they are asked for and python-flint is not installed.
    """
    if asked:
        check_certificates(["--certify"])
    return asked


def _checked(name: str, value: Any) -> Any:
    return CHECKED[name](name.replace("_", "-"), value) if name in CHECKED else value
