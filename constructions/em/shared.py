"""What EM in attention has in common, whatever the covariances: E head, M heads, logarithms.

E   responsibilities, a softmax over components: score + log pi_k
M   attending with score log r_jk weighs point j by r_jk / sum_j r_jk; a plain average of r_jk gives pi_k
"""

from __future__ import annotations

import math

import torch

from constructions.em.tasks import Range
from constructions.language import curves
from constructions.language.heads import Head, SoftmaxHead
from constructions.language.hypotheses import HypothesisError
from constructions.language.piecewise import PiecewiseLinear, chords, geometric
from constructions.language.scores import Score, dot
from constructions.language.stream import Block, Operand, Stream
from constructions.matrices.machine import check_range

SOURCE = "arXiv 2505.11918, Theorem 1 (EM in softmax attention)"

LARGEST_RADIUS = 1e30
"""Beyond it squares of squares of coordinates leave float64; the pieces are spent long before."""


def check_floor_and_radius(floor: float, radius: float) -> None:
    """Refuse what is no floor of responsibilities, or no radius of data.

    Raises:
        ValueError: with the value and what is accepted.
    """
    smallest = torch.finfo(torch.float64).tiny
    if not smallest <= floor < 1:
        raise ValueError(f"floor is {floor!r}; it lies strictly between 0 and 1 (from {smallest:.2g} on)")
    if not 0 < radius <= LARGEST_RADIUS:
        raise ValueError(f"radius is {radius!r}; it is positive and finite, at most {LARGEST_RADIUS:g}")


def largest_number(max_dim: int, radius: float, eigenvalues: Range) -> float:
    """What no weight and no number of a step exceeds while covariances lie in the range.

    ``16 d R^2 / low + 2 d log high`` is above every score and what lowers it, ``8 high^2 / low`` above the
    sweeps with their scale below ``2 high``, ``2 / low^2`` above the slopes of 1/x.
    """
    low, high = eigenvalues
    scores = 16 * max_dim * radius * radius / low + 4000 + 2 * max_dim * max(math.log(high), 0.0)
    return max(scores, 8 * high * high / low, 2 / low / low, 2 * high)


def eigenvalue_range(eigenvalues: tuple[float, float], max_dim: int, radius: float) -> Range:
    """The range, if float64 holds what follows from it.

    Raises:
        ValueError: with the value and what is accepted.
    """
    try:
        low, high = (float(end) for end in eigenvalues)
    except (TypeError, ValueError):
        raise ValueError(f"eigenvalues is {eigenvalues!r}; it is two numbers, 0 < low <= high") from None
    check_range(low, high)
    largest = largest_number(max_dim, radius, Range(low, high))
    if not largest <= torch.finfo(torch.float64).max:
        raise ValueError(
            f"eigenvalues in [{low:g}, {high:g}] and the radius {radius:g} give numbers beyond float64; "
            "a narrower range is needed"
        )
    return Range(low, high)


def check_numbers(max_dim: int, radius: float, eigenvalues: Range, dtype: torch.dtype) -> None:
    """Refuse a dtype that does not hold the numbers of a step.

    Raises:
        HypothesisError: with the numbers and what the dtype holds.
    """
    largest, most = largest_number(max_dim, radius, eigenvalues), torch.finfo(dtype).max
    if largest > most:
        raise HypothesisError(
            f"eigenvalues in [{eigenvalues.low:g}, {eigenvalues.high:g}] and the radius {radius:g} give "
            f"numbers up to {largest:.3g}; {dtype} holds those up to {most:.3g}"
        )


def floored_log(floor: float, pieces: int) -> PiecewiseLinear:
    """Chords of log on [floor, 1]; held at log(floor) below."""
    return chords(curves.log, geometric(floor, 1.0, pieces), inputs=(0.0, 1.0))


def responsibility_head(s: Stream, fit: Score, norm: Score | Operand, less: Score | Operand) -> Head:
    """``resp = softmax_k(fit + log pi_k - norm)`` at every token.

    ``log_pi`` stands on the query side and ``slot`` on the key side: that picks ``log pi_k(j)`` without a
    gate. ``less`` is the log of the number of tokens that hold a slot: every component counts once.
    """
    score = fit + dot(s.query.log_pi, s.key.slot) - norm - less
    return SoftmaxHead(score, read=s.slot, write=s.resp)


def mean_head(s: Stream, read: Block, write: Block, of: Operand, hidden: Score | None = None) -> Head:
    """``write = sum_j r_jk read_j / sum_j r_jk`` at the tokens whose block ``of`` points at k.

    ``hidden`` is taken off the score: large at keys that are no points.
    """
    score = dot(of, s.key.log_resp)
    return SoftmaxHead(score if hidden is None else score - hidden, read=read, write=write)


def weight_head(s: Stream, hidden: Score | None = None) -> Head:
    """``pi = mean_j r_j`` at every token, over the points."""
    return SoftmaxHead(Score() if hidden is None else -hidden, read=s.resp, write=s.pi)
