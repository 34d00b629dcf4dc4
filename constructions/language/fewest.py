"""How few pieces are enough: a search over whole numbers."""

from __future__ import annotations

from collections.abc import Callable


def fewest(enough: Callable[[int], bool]) -> int:
    """The least whole number from 1 on for which ``enough`` holds, if it then holds for all larger ones."""
    high = 1
    while not enough(high):
        high *= 2
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high
