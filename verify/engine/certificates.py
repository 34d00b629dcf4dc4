"""Whether certificates can be made here: they need python-flint, which is an extra."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec

from console.errors import BadInputError

HOW_TO_CERTIFY = "certificates need python-flint: pip install 'gmm-theory-toolkit[certify]'"


def can_certify() -> bool:
    """Whether python-flint is installed."""
    return find_spec("flint") is not None


def check_certificates(asked: Iterable[str]) -> None:
    """Refuse what needs them, each named as it was asked for, where they cannot be made.

    Raises:
        BadInputError: python-flint is not installed.
    """
    for name in asked:
        if not can_certify():
            raise BadInputError(f"{name}: {HOW_TO_CERTIFY}")
