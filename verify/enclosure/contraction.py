"""``einsum`` by products of matrices, in an arithmetic that has these."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from torch import Tensor

from verify.enclosure.evaluation import shape_of


def contraction(
    product: Callable[[Any, Any], Any], total: Callable[[Any, list[int]], Any], made: Callable[[Tensor], Any]
) -> Callable[..., Any]:
    """``einsum(equation, *operands)`` of letters that stand once in an operand, from left to right.

    Args:
        product: of matrices, leading dimensions as in torch. total: a sum over dimensions.
        made: an ordinary tensor as a tensor of the arithmetic.
    """

    def found(equation: str, *operands: Tensor) -> Any:
        given, wanted = equation.split("->")
        names = given.split(",")
        found, have = made(operands[0]), names[0]
        for place, (other, name) in enumerate(zip(operands[1:], names[1:], strict=True), 1):
            later = set(wanted).union(*names[place + 1 :])
            both = [letter for letter in have if letter in name]
            shared, gone = ([x for x in both if (x in later) == kept] for kept in (True, False))
            left, right = ([x for x in side if x not in both] for side in (have, name))
            sizes = dict(zip(have + name, shape_of(found) + shape_of(other), strict=True))
            first = grouped(found, have, [shared, left, gone])
            found = product(first, grouped(made(other), name, [shared, gone, right]))
            have = "".join((*shared, *left, *right))
            found = found.reshape([sizes[letter] for letter in have])
        summed = [place for place, letter in enumerate(have) if letter not in wanted]
        found = total(found, summed) if summed else found
        have = "".join(letter for letter in have if letter in wanted)
        return made(found.permute([have.index(letter) for letter in wanted]))

    return found


def grouped(x: Tensor, names: str, order: list[list[str]]) -> Tensor:
    """x with the dimensions of these letters, each group as one."""
    sizes = dict(zip(names, shape_of(x), strict=True))
    moved = x.permute([names.index(letter) for part in order for letter in part])
    return moved.reshape([math.prod(sizes[letter] for letter in part) for part in order])
