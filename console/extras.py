"""What few people need is an extra of the package: one line where it is missing says how to get it."""

from __future__ import annotations

from importlib.util import find_spec

from console.errors import BadInputError
from console.origin import PACKAGE

EXTRAS = {
    "certify": "python-flint",
    "distributed": "distributed",
    "interpretability": "transformer-lens below 4",
    "mamba": "transformers",
    "tables": "pandas, pyarrow and openpyxl",
    "tensorboard": "tensorboard",
}
"""Extras that a command or a function asks for, and what each installs."""


def missing(asked: str, extra: str) -> str:
    """``--dask x needs distributed, which is not installed: pip install 'gmm-theory-toolkit[distributed]'``.

    Args:
        asked: what needs it: the option as it was typed, or the name of a function.
        extra: one of :data:`EXTRAS`.
    """
    held = EXTRAS[extra]
    which = "which are not all" if " and " in held else "which is not"
    return f"{asked} needs {held}, {which} installed: pip install '{PACKAGE}[{extra}]'"


def check_installed(module: str, asked: str, extra: str) -> None:
    """Refuse what needs a module of an extra, before anything else is done.

    Raises:
        BadInputError: it is not installed.
    """
    if find_spec(module) is None:
        raise BadInputError(missing(asked, extra))
