"""Checks of arguments that several constructions share: one line naming the value and what is accepted."""

from __future__ import annotations

from numbers import Integral, Real


def check_whole(**values: int) -> None:
    """Refuse anything but a whole number from 1 on.

    Raises:
        ValueError: names the first that is not.
    """
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
            raise ValueError(f"{name} is {value!r}; a whole number, at least 1, is needed")


def check_number(**values: float) -> None:
    """Refuse anything but a number.

    Raises:
        ValueError: names the first that is not.
    """
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, Real):
            raise ValueError(f"{name} is {value!r}; a number is needed")
