"""The best of S candidates: one ReLU head compares all pairs, the MLP makes a selection of it.

    r_s = sum_s' relu(theta_s' - theta_s)             0 at the best, and only there
    selected_s = relu(1 - r_s / m)                    1 at the best, 0 where r_s >= m

Candidates hold their theta in a column and 1 in ``member``; other tokens hold 0 in both and select nothing.
Where the best is ahead of all others by the margin m, a power of two, the selection is an exact one-hot, in
floating point too: ``theta_s' - theta_s`` is one correctly rounded difference, 0 or below at the best and at
least m elsewhere. Within the margin the selection is no one-hot; a read-in ``bias``, a column that differs by
m or more from candidate to candidate, added to theta by :func:`biased`, decides ties.

The same by softmax attention at inverse temperature beta leaves to the others at most

    x / (1 + x),      x = (S - 1) e^(-beta m)

Source: ours; paper_notes/matrix_machine.md.
"""

from __future__ import annotations

import math

from constructions.language import curves
from constructions.language.arguments import check_number, check_whole
from constructions.language.assembly import Layer
from constructions.language.gates import place
from constructions.language.heads import Head, HeadSum, ReluHead
from constructions.language.mlp import apply, clear
from constructions.language.piecewise import chords, uniform
from constructions.language.scores import Score
from constructions.language.stream import Block
from constructions.matrices.machine import above
from constructions.matrices.products import scaled, score, total


def behind(member: Block, theta: Block) -> Score:
    """``theta_j - theta_i`` between candidates; 0 where one of the two tokens is none."""
    return score(member, theta) - score(theta, member)


def regret(member: Block, theta: Block, write: Block, scale: float = 1.0) -> Head:
    """``write_i = scale sum_j relu(theta_j - theta_i)`` over the candidates j; 0 at other tokens."""
    return ReluHead(behind(member, theta), member, write, scale)


def biased(ids: Block, theta: Block, bias: Block, write: Block) -> HeadSum:
    """``write = theta + bias``, one sum a candidate, so that equal numbers stay equal: 4 heads.

    ``ids`` is one-hot over the candidates.
    """
    return total(scaled(ids, theta, write), scaled(ids, bias, write))


def largest_margin(margin: float) -> float:
    """The power of two that the step is built for: the largest up to ``margin``.

    Raises:
        ValueError: a margin that is not positive and finite.
    """
    check_number(margin=margin)
    if not 0 < margin < math.inf:
        raise ValueError(f"margin is {margin!r}; it is positive and finite")
    return 1.0 / above(1.0 / margin)


def argmax_layers(
    member: Block,
    theta: Block,
    selected: Block,
    regrets: Block,
    step: Block,
    margin: float,
) -> list[Layer]:
    """``selected`` = 1 at the candidate with the largest theta, 0 at all others: two layers, one head.

    Args:
        member: 1 at the candidates, else 0. theta: 0 at other tokens. selected: empty.
        regrets, step: empty before and after; all of width 1.
        margin: by which the best is ahead.

    Raises:
        ValueError: a margin that is not positive and finite.
    """
    inverse = 1.0 / largest_margin(margin)
    falling = chords(curves.complement, uniform(0.0, 1.0, 1))
    return [
        Layer(
            "regret",
            (regret(member, theta, regrets, inverse),),
            (apply(falling, regrets, step), clear(regrets)),
        ),
        # The step is 1 where nothing is compared; member keeps it to the candidates.
        Layer("select", mlp=(place(step, by=member, write=selected, bound=1.0), clear(step))),
    ]


def chosen(asking: Block, selected: Block, read: Block, write: Block) -> Head:
    """``write`` = what the selected token holds in ``read``, at every token with ``asking`` = 1: one head.

    ``selected >= 0``, so its ReLU is itself.
    """
    return ReluHead(score(asking, selected), read, write)


def softmax_leakage(candidates: int, margin: float, beta: float) -> float:
    """Largest weight that softmax at inverse temperature beta leaves to all but the best.

    The others hold at most ``e^(-beta margin)`` each beside 1, and ``x / (1 + x)`` grows with x.

    Raises:
        ValueError: no candidate, a negative margin, or beta not positive and finite.
    """
    check_whole(candidates=candidates)
    check_number(margin=margin, beta=beta)
    if not 0 <= margin < math.inf:
        raise ValueError(f"margin is {margin!r}; it is finite and not negative")
    if not 0 < beta < math.inf:
        raise ValueError(f"beta is {beta!r}; it is positive and finite")
    x = (candidates - 1) * math.exp(-beta * margin)
    return x / (1 + x)


def sharpness_needed(candidates: int, margin: float, leakage: float) -> float:
    """The least beta with :func:`softmax_leakage` at most ``leakage``: ``log((S - 1)(1/leakage - 1)) / m``.

    Raises:
        ValueError: fewer than two candidates, a margin that is not positive, or a leakage outside (0, 1).
    """
    check_whole(candidates=candidates)
    check_number(margin=margin, leakage=leakage)
    if candidates < 2 or not 0 < margin < math.inf or not 0 < leakage < 1:
        raise ValueError(
            f"candidates, margin and leakage are {candidates}, {margin!r} and {leakage!r}; "
            "at least 2, positive, and between 0 and 1 are needed"
        )
    return max(math.log((candidates - 1) * (1 / leakage - 1)), 0.0) / margin
