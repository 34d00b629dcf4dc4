"""Checked values of command-line options, and the errors they give.

torch is imported only by the checks that need it: a command reads its options first (console.starting).
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from console.errors import BadInputError
from console.streams import printable

if TYPE_CHECKING:
    import torch

DTYPES = ("float32", "float64")


def usage(doc: str | None, **lists: Iterable[str]) -> str:
    """A module's docstring as ``--help`` shows it: paragraphs refilled, lines that are indented as they are.

    Doubled backticks are for those who read the source. ``lists``: names that an option takes, unbroken.
    """
    paragraphs = (doc or "").replace("``", "").strip().split("\n\n")
    for title, names in lists.items():
        text = f"{title.capitalize()}: {', '.join(names)}."
        lines = textwrap.wrap(text, 70, break_on_hyphens=False)
        paragraphs.append(textwrap.indent("\n".join(lines), "    "))
    return "\n\n".join(f"\b\n{part}" if part.startswith("    ") else part for part in paragraphs)


def whole_numbers(name: str, text: str | None, least: int = 1) -> list[int] | None:
    """``"2,8"`` as [2, 8].

    Raises:
        BadInputError: something else, or a number below ``least``.
    """
    if text is None:
        return None
    try:
        values = [int(part) for part in text.split(",")]
    except ValueError:
        raise BadInputError(
            f"--{name} {text}: whole numbers separated by commas are needed, as in 2,8"
        ) from None
    if min(values) < least:
        raise BadInputError(f"--{name} {text}: {min(values)} is too small; at least {least} is needed")
    return list(dict.fromkeys(values))


def as_typed(values: Iterable[object]) -> str:
    """``[2, 8]`` as ``"2,8"``, the way that an option is written."""
    return ",".join(map(str, values))


def whole(text: str) -> int:
    """A typer parser that names what it was given.

    Raises:
        typer.BadParameter: not a whole number.
    """
    try:
        return int(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a whole number") from None


def real(text: str) -> float:
    """A typer parser that names what it was given.

    Raises:
        typer.BadParameter: not a number.
    """
    try:
        return float(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a number") from None


def folder(text: str | Path) -> Path:
    """A typer parser for the folder that a command writes into.

    Raises:
        typer.BadParameter: an empty name, which would stand for the current folder.
    """
    if not str(text):
        raise typer.BadParameter("is empty; it needs the name of a folder (the current one is .)")
    return Path(text)


def plain_value(value: object) -> object:
    """An option as JSON has it."""
    import torch

    if isinstance(value, Path):
        return printable(str(value))
    return str(value).removeprefix("torch.") if isinstance(value, torch.dtype) else value


def usable_seed(seed: int) -> int:
    """A seed that torch takes.

    Raises:
        BadInputError: another number.
    """
    if not 0 <= seed < 2**63:
        raise BadInputError(f"--seed {seed}: it lies between 0 and 2^63 - 1")
    return seed


def dtype_named(name: str) -> torch.dtype:
    """float32 or float64.

    Raises:
        BadInputError: another name.
    """
    if name not in DTYPES:
        raise BadInputError(f"--dtype {name}: it is one of {', '.join(DTYPES)}")
    import torch

    return getattr(torch, name)


def usable_device(name: str) -> str:
    """The device, tried out with one number.

    Raises:
        BadInputError: an unknown device, or one that this machine has not got.
    """
    import torch

    try:
        float(torch.zeros(1, device=name))
    except (RuntimeError, AssertionError, ImportError) as problem:
        reason = str(problem).splitlines()[0]
        raise BadInputError(f"--device {name}: cannot be used here ({reason}); cpu always can") from None
    return name


def in_open_unit(name: str, value: float) -> float:
    """A number strictly between 0 and 1.

    Raises:
        BadInputError: another number.
    """
    if not 0 < value < 1:
        raise BadInputError(f"--{name} {value:g}: it lies strictly between 0 and 1")
    return value


def at_least_one(name: str, value: int | None) -> int | None:
    """A whole number from 1 on, or None.

    Raises:
        BadInputError: a smaller one.
    """
    if value is not None and value < 1:
        raise BadInputError(f"--{name} {value}: at least 1 is needed")
    return value


DtypeName = Annotated[str, typer.Option(help="float32 or float64, for the layers")]
EvaluationName = Annotated[
    str,
    typer.Option(
        "--evaluation",
        help="dense weights, or structured: from the formulas, for any size",
    ),
]
Certify = Annotated[
    bool | None,
    typer.Option(
        "--certify/--no-certify",
        help="certificates in ball arithmetic of every task, about 0.1 s a task, step and 1,000 numbers",
        show_default="of the first task of small records",
    ),
]
DeviceName = Annotated[str, typer.Option(help="cpu, cuda, ...")]
Seed = Annotated[int, typer.Option(parser=whole, help="of every random draw")]
Out = Annotated[
    Path | None,
    typer.Option(parser=folder, help="folder for the results", show_default="results/..., named by the run"),
]
"""Options that most checks have."""
