"""Attention scores written as the formula they compute.

A score is a sum of bilinear terms ``coefficient * <query block, key block>`` and of key-only terms
``coefficient * key scalar``. Nothing else can be written: a term in the query alone shifts every score of
a row alike, softmax does not see it, and so it is refused.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from constructions.language.shown import short_repr
from constructions.language.stream import Block, Operand


@dataclass(frozen=True)
class Term:
    """``coefficient * <query, key>``; ``query`` is None for a term in the key alone."""

    coefficient: float
    query: Block | None
    key: Block

    @property
    def rank(self) -> int:
        """Head dimensions the term takes."""
        return self.key.width

    def __str__(self) -> str:
        body = f"k.{self.key.name}" if self.query is None else f"<q.{self.query.name}, k.{self.key.name}>"
        size = abs(self.coefficient)
        return body if size == 1 else f"{size:g} {body}"


@dataclass(frozen=True)
class Score:
    """A bilinear score ``s(i, j)``, built with ``+``, ``-``, scalar ``*`` and :func:`dot` alone.

    ``Score()`` is the zero score: softmax attention with it is a plain average.
    """

    terms: tuple[Term, ...] = ()

    __repr__ = short_repr

    @property
    def rank(self) -> int:
        """Head dimensions that the score takes: the sum of the ranks of its terms."""
        return sum(term.rank for term in self.terms)

    @property
    def has_key_only_terms(self) -> bool:
        """Whether a term needs the constant block on the query side."""
        return any(term.query is None for term in self.terms)

    @property
    def reads(self) -> tuple[Block, ...]:
        """Every block that the score reads, each once."""
        found = [b for term in self.terms for b in (term.query, term.key) if b is not None]
        return tuple(dict.fromkeys(found))

    def __add__(self, other: Score | Operand) -> Score:
        return Score(self.terms + _as_score(other).terms)

    def __radd__(self, other: Score | Operand) -> Score:
        return _as_score(other) + self

    def __neg__(self) -> Score:
        return -1.0 * self

    def __sub__(self, other: Score | Operand) -> Score:
        return self + (-_as_score(other))

    def __rsub__(self, other: Score | Operand) -> Score:
        return _as_score(other) + (-self)

    def __mul__(self, factor: float) -> Score:
        if isinstance(factor, bool) or not isinstance(factor, int | float) or not math.isfinite(factor):
            raise ValueError(f"a score is scaled by a finite number, not by {factor!r}")
        return Score(tuple(Term(factor * t.coefficient, t.query, t.key) for t in self.terms))

    __rmul__ = __mul__

    def __str__(self) -> str:
        if not self.terms:
            return "0"
        text = ""
        for term in self.terms:
            sign = "-" if term.coefficient < 0 else "+"
            text += f" {sign} {term}" if text else (f"-{term}" if sign == "-" else f"{term}")
        return text


def dot(a: Operand, b: Operand) -> Score:
    """``<a_i, b_j>``: one operand from the query side, the other from the key side.

    Raises:
        ValueError: the widths differ, or both operands come from one side.
    """
    if {a.role, b.role} != {"query", "key"}:
        raise ValueError(f"dot({a!r}, {b!r}) needs one query block and one key block")
    query, key = (a, b) if a.role == "query" else (b, a)
    if query.block.width != key.block.width:
        raise ValueError(f"dot({a!r}, {b!r}) joins widths {query.block.width} and {key.block.width}")
    return Score((Term(1.0, query.block, key.block),))


def key_only(operand: Operand) -> Score:
    """The key-only term ``operand_j`` as a score.

    Raises:
        ValueError: the operand is of the query side (softmax cannot see it) or is not a scalar.
    """
    if operand.role == "query":
        raise ValueError(f"{operand!r} alone is the same for every key, so softmax cannot see it; use dot()")
    if operand.block.width != 1:
        raise ValueError(f"{operand!r} has width {operand.block.width}; a key-only term has width 1")
    return Score((Term(1.0, None, operand.block),))


def _as_score(value: Score | Operand) -> Score:
    if isinstance(value, Score):
        return value
    if isinstance(value, Operand):
        return key_only(value)
    raise ValueError(f"a score is made of dot() and key blocks, not of {value!r}")
