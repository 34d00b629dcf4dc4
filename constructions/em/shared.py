"""What EM in attention has in common, whatever the covariances: E head, M heads, logarithms.

E   responsibilities, a softmax over components: score + log pi_k
M   attending with score log r_jk weighs point j by r_jk / sum_j r_jk; a plain average of r_jk gives pi_k
"""

from __future__ import annotations

import torch

from constructions.language import curves
from constructions.language.heads import Head, SoftmaxHead
from constructions.language.piecewise import PiecewiseLinear, chords, geometric
from constructions.language.scores import Score, dot
from constructions.language.stream import Block, Operand, Stream

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
