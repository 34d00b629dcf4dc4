"""A torch function meets an arithmetic: which of its evaluations it gets, by name."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from verify.enclosure.kinds import EXACT, MADE, MOVES, PLAIN
from verify.enclosure.refusals import NotEnclosedError

Function = Callable[..., Any]


def plain(func: Function, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """As torch does it."""
    with torch._C.DisableTorchFunction():
        return func(*args, **kwargs)


def shape_of(x: Tensor) -> tuple[int, ...]:
    """The shape, without a way through torch functions."""
    with torch._C.DisableTorchFunction():
        return tuple(x.shape)


@functools.lru_cache(maxsize=4096)
def nothing_of(shape: tuple[int, ...]) -> Tensor:
    """NaN in that shape, one number stored: what lies beneath enclosures, and is never written."""
    with torch._C.DisableTorchFunction():
        return torch.tensor(torch.nan, dtype=torch.float64).expand(shape)


@dataclass(frozen=True, eq=False)
class Arithmetic:
    """Numbers that enclose, and what torch's functions of them are.

    Attributes:
        kind: the tensor class. moved: (function, args, kwargs) -> its value, of what only moves entries.
        table: by the name of the function or method, without underscores.
        refused: what is raised for any other function of floating-point numbers. place: as in "in balls".
    """

    kind: type[Tensor]
    moved: Function
    table: Mapping[str, Function]
    refused: type[NotEnclosedError]
    place: str

    def evaluated(self, func: Function, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        """The function of these arguments; what involves no floating-point number, as torch does it.

        Raises:
            NotEnclosedError: a function of floating-point numbers that is not known here.
            Undecided: a comparison of enclosures that overlap.
        """
        name = name_of(func)
        if name in MOVES:
            return self.moved(func, args, kwargs)
        if name in PLAIN:
            return plain(func, args, kwargs)
        kinds: set[type] = set()
        self._collect((*args, *kwargs.values()) if kwargs else args, kinds)
        if self.kind not in kinds and (name in EXACT or (name not in MADE and float not in kinds)):
            return plain(func, args, kwargs)
        if name in self.table:
            return self.table[name](*args, **kwargs)
        raise self.refused(f"torch's {name} has no evaluation {self.place}")

    def _collect(self, values: Sequence[Any], kinds: set[type]) -> None:
        """Whether enclosures stand anywhere in the arguments, or other floating-point numbers."""
        for value in values:
            if isinstance(value, self.kind):
                kinds.add(self.kind)
            elif isinstance(value, Tensor):
                with torch._C.DisableTorchFunction():
                    if value.dtype.is_floating_point:
                        kinds.add(float)
            elif isinstance(value, float):
                kinds.add(float)
            elif isinstance(value, (tuple, list)):
                self._collect(value, kinds)

    def holds(self, value: Any) -> bool:
        """Whether an enclosure stands anywhere in the value."""
        if isinstance(value, dict):
            return any(map(self.holds, value.values()))
        if isinstance(value, (tuple, list)):
            return any(map(self.holds, value))
        return isinstance(value, self.kind)


def name_of(func: Function) -> str:
    """As in "add" for ``+`` too; "shape" for the attribute."""
    name = func.__name__
    if name in ("__get__", "__set__"):
        return func.__self__.__name__  # pyright: ignore[reportFunctionMemberAccess]
    return name.strip("_")


class FormulaMode(TorchFunctionMode):
    """Each torch function of floating-point numbers, ordinary or enclosed, gives enclosures.

    A number that a formula takes from Python, as in ``2 * x``, is the exact double that it is: what Python
    itself computed before stays rounded, so formulas compute with ``number``
    (constructions.language.rounding).
    """

    def __init__(self, arithmetic: Arithmetic) -> None:
        super().__init__()
        self._arithmetic = arithmetic
        self._known: WeakKeyDictionary[Any, dict[str, Any]] = WeakKeyDictionary()

    def __torch_function__(
        self, func: Function, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """As :meth:`Arithmetic.evaluated`; what an owner computes once is remembered."""
        if func.__name__ == "remembered":
            owner, name, compute = args
            known = self._known.setdefault(owner, {})
            if name not in known:
                with self:
                    known[name] = compute(owner)
            return known[name]
        return self._arithmetic.evaluated(func, args, kwargs or {})
