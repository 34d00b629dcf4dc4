"""EM for full and tied covariances in softmax attention alone: the linear pairs with a sink token.

The layers are those of constructions.em.matrices; each pair of ReLU heads becomes 2 p softmax heads
(constructions.matrices.softmax_form), of step size eps = theta / A, A a bound on the scores of that pair. One
token more, the sink, stands behind the points. What a pair is off by is relative to A, not to its scores, so
these are kept small:

    s      the sweeps' scale, a power of two near sqrt(low high)
    A      from what is read, with kappa = high / low, W = (kappa - 1) / (2 sqrt kappa)

           <E, A>             max(high, s^2 / low, s W)            entries of partly swept matrices
           <Q, A>, <U, Q>     (1 + e) max(sqrt kappa, s / low, s W / low)
           <mu, P>            radius         <mu, P mu>   d radius^2 / low
           <mu, mu>           radius^2       ids, slots, weights: 1

e is the error of the start of 1/p. W bounds ``|A_11^-1 A_12|``: for ``y = (-A_11^-1 A_12 z, z)`` is
``A y = (0, S z)``, S the Schur complement; the cosine of y and A y is at most ``|z| / |y|``, and at least
``2 sqrt kappa / (kappa + 1)`` (Wielandt). Within the swept part entries are at most ``s^2 / low``, within the
rest they are those of a Schur complement.

Source: ours, paper_notes/matrix_machine.md.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from constructions.em.matrices import MatrixEM, MatrixKind, MatrixPieces, matrix_construction
from constructions.em.tasks import Range, TaskBatch
from constructions.language.hypotheses import HypothesisError
from constructions.language.scores import Score
from constructions.language.shown import short_repr
from constructions.language.stream import Block
from constructions.language.structured.partitions import Tokens
from constructions.matrices.machine import above, check_range
from constructions.matrices.softmax_form import softmax_form, with_sink
from constructions.tensor_power.softmax_bounds import Heads, best_epsilon

PAIRS = 4
"""p unless told otherwise."""

SINK = 48.0
"""c: ``n e^-c`` is below the unit roundoff up to 78,000 tokens; all c from 32 to 64 round alike."""

Scores = Mapping[tuple[Block, Block], float]
"""Bounds on scores ``<query, key>``."""


def softmax_heads(pairs: int) -> Heads:
    """theta, p, c: theta as :func:`best_epsilon` has it for scores up to 1 in float64.

    Raises:
        ValueError: ``pairs`` not a whole number from 1 to 8.
    """
    return Heads(best_epsilon(torch.float64, pairs, SINK), pairs, SINK)


def sweep_scale(eigenvalues: Range) -> float:
    """s: the least power of two from ``sqrt(low high)`` on."""
    return above(math.sqrt(eigenvalues.low) * math.sqrt(eigenvalues.high))


def score_bounds(em: MatrixEM, eigenvalues: Range) -> Scores:
    """Bounds on the scores of all pairs, powers of two with a sixteenth left to rounding."""
    s, (low, high) = em.stream, eigenvalues
    radius, kappa, scale = em.radius, high / low, em.bounds.scale
    off = (kappa - 1) / (2 * math.sqrt(kappa))
    entries = max(high, scale**2 / low, scale * off)
    ratios = (1 + em.start.error) * max(math.sqrt(kappa), scale / low, scale * off / low)
    found = {
        (s.E, s.A): entries,
        (s.Q, s.A): ratios,
        (s.U, s.Q): ratios,
        (s.placed, s.ids): radius,
        (s.placed, s.placed_eta): em.max_dim * radius**2 / low,
        (s.column, s.column): radius**2,
    }
    ones = [(s.ids, s.ids), (s.slot, s.member)] + ([(s.weighed, s.turned)] if "weighed" in s else [])
    return {blocks: above(1.0625 * bound) for blocks, bound in found.items()} | dict.fromkeys(ones, 1.0)


def reach_of(bounds: Scores, score: Score) -> float:
    """The bound on a score of the pairs; of several terms there are those of ids alone."""
    term = score.terms[0]
    if term.query is None:
        raise ValueError(f"{score} has no query")
    return bounds[term.query.whole, term.key.whole]


def softmax_matrix_construction(
    kind: MatrixKind,
    max_dim: int,
    max_components: int,
    steps: int,
    pieces: int | MatrixPieces,
    floor: float,
    radius: float,
    eigenvalues: tuple[float, float],
    pairs: int,
) -> SoftmaxMatrixEM:
    """As :func:`constructions.em.weights.em_construction` with ``attention="softmax"``."""
    check_range(*eigenvalues)
    span, heads = Range(*eigenvalues), softmax_heads(pairs)
    scale = sweep_scale(span)
    plain = matrix_construction(
        kind, max_dim, max_components, steps, pieces, floor, radius, eigenvalues, scale, logs_at_rows=True
    )
    bounds = score_bounds(plain, span)
    construction = softmax_form(
        plain.construction, heads, plain.bounds.hide, functools.partial(reach_of, bounds)
    )
    logs = plain.log_resp, plain.log_pi
    fields = plain.pieces, plain.bounds, plain.start, plain.newton_steps, plain.log_pivot
    return SoftmaxMatrixEM(construction, floor, radius, *logs, kind, span, *fields, heads, bounds, plain)


@dataclass(frozen=True, eq=False)
class SoftmaxMatrixEM(MatrixEM):
    """The weights, made by :func:`constructions.em.weights.em_construction`.

    Attributes:
        heads: theta, p and c. scores: A, by query and key. plain: the same layers with linear pairs.
    """

    heads: Heads
    scores: Scores
    plain: MatrixEM

    __repr__ = short_repr

    def reach(self, score: Score) -> float:
        """A of a pair with this score."""
        return reach_of(self.scores, score)

    def _check_dtype(self, dtype: torch.dtype) -> None:
        if dtype != torch.float64:  # e^c leaves no digits
            raise HypothesisError(f"dtype is {dtype}; softmax attention alone takes float64")
        super()._check_dtype(dtype)

    def tokens(self, tasks: TaskBatch, refreshed: bool = False) -> Tokens:
        """As :meth:`MatrixEM.tokens`; the sink stands behind the points."""
        return with_sink(self.stream, super().tokens(tasks, refreshed), tasks.X.shape[1])

    @property
    def _in_words(self) -> tuple[str, str, str]:
        return f"2 p a product, p = {self.heads.pairs}", "N + K d + 1", "e^c alpha / (2 eps)"
