"""Within ``ball_arithmetic(bits)`` every torch formula is evaluated in balls: no rounding is lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

from torch.overrides import TorchFunctionMode

from verify.balls.flint import precision
from verify.balls.functions import evaluated


class BallArithmetic(TorchFunctionMode):
    """Each torch function of floating-point numbers, ordinary or balls, gives balls.

    A number that a formula takes from Python, as in ``2 * x``, is the exact double that it is: what Python
    itself computed before stays rounded, so formulas compute with ``number``
    (constructions.language.rounding).
    """

    def __init__(self) -> None:
        super().__init__()
        self._known: WeakKeyDictionary[Any, dict[str, Any]] = WeakKeyDictionary()

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """As :func:`verify.balls.functions.evaluated`; what an owner computes once is remembered."""
        if func.__name__ == "remembered":
            owner, name, compute = args
            known = self._known.setdefault(owner, {})
            if name not in known:
                with self:
                    known[name] = compute(owner)
            return known[name]
        return evaluated(func, args, kwargs or {})


_AT: dict[int, BallArithmetic] = {}


@contextmanager
def ball_arithmetic(bits: int) -> Iterator[None]:
    """Torch formulas in balls of ``bits`` bits."""
    with precision(bits), _AT.setdefault(bits, BallArithmetic()):
        yield
