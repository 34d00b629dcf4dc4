"""python-flint's real balls: the only place that imports it, and how many bits they are worked with.

A ball is a midpoint and a radius; the result of an operation on balls holds every result of the operation on
numbers of theirs (Johansson, Arb, 2017). A float is a dyadic rational, so ``arb(x)`` of a float is exact.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from console.extras import missing

try:
    from flint import acb_mat, arb, arb_mat, ctx, fmpq
except ImportError as problem:
    raise ImportError(missing("verify.balls", "certify"), name="flint") from problem

from verify.enclosure.refusals import Undecided

__all__ = ["FIRST_BITS", "MOST_BITS", "Undecided", "acb_mat", "arb", "arb_mat", "fmpq", "precision"]

FIRST_BITS, MOST_BITS = 128, 4096
"""Bits that a comparison is tried with first, and last."""


@contextmanager
def precision(bits: int) -> Iterator[None]:
    """Within it, balls are rounded to ``bits`` bits."""
    before = ctx.prec
    ctx.prec = bits
    try:
        yield
    finally:
        ctx.prec = before
