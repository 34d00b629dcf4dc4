"""A short repr for what holds tensors, layers and other long things."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from reprlib import Repr
from typing import Any

LONGEST = 400
"""Characters."""


class _Fields(Repr):
    """Texts of fields: of a tensor dtype and shape, of a dataclass its name, of a list its beginning."""

    def __init__(self) -> None:
        super().__init__()
        self.maxtuple = self.maxlist = self.maxdict = 4
        self.maxstring = self.maxother = 60

    def repr_instance(self, x: Any, level: int) -> str:
        """Of everything but the containers, texts and whole numbers of Python."""
        if getattr(x, "shape", ()) and hasattr(x, "dtype"):
            return f"{str(x.dtype).removeprefix('torch.')}{list(x.shape)}"
        if is_dataclass(x):
            return f"{type(x).__name__}(...)"
        return " ".join(super().repr_instance(x, level).split())


_FIELDS = _Fields()


def short_repr(self: Any) -> str:
    """``Name(field=..., ...)`` of a dataclass or named tuple, on one line of at most LONGEST characters.

    A class takes it by ``__repr__ = short_repr``. A tensor shows as in ``float64[4, 3]``, a list of more than
    four by its first four; what goes beyond the line is cut off.
    """
    names = [f.name for f in fields(self) if f.repr] if is_dataclass(self) else self._fields
    shown = ", ".join(f"{name}={_FIELDS.repr(getattr(self, name))}" for name in names)
    text = f"{type(self).__name__}({shown})"
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 5]} ...)"
