"""Theorem 1: L steps of EM for a unit-covariance mixture as 2L layers of softmax attention.

    w_ik ~ pi_k exp(-|x_i - mu_k|^2 / 2),   mu_k <- sum_i w_ik x_i / sum_i w_ik,   pi_k <- mean_i w_ik

Token i carries the point ``x``, the one-hot ``slot`` of component ``i mod K``, the mean ``mu`` of that slot,
the whole vectors ``pi`` and ``log_pi``, ``half_norm2 = |mu|^2/2``, ``log_count`` (log of the number of tokens
with its slot), and the constant ``one``; ``resp`` and ``log_resp`` are filled by the E layer and emptied by
the M layer.

Source: arXiv 2505.11918, Theorem 1. The construction is ours; paper_notes/theorem_1_em.md proves it.
"""

from __future__ import annotations

from dataclasses import dataclass

from constructions.em.constructed import ConstructedEM
from constructions.em.pieces import Pieces, Split, split_pieces
from constructions.em.read_in import slot_state, slot_tokens, start_half_norms, start_log_weights
from constructions.em.run import StepState
from constructions.em.shared import (
    SOURCE,
    check_floor_and_radius,
    floored_log,
    mean_head,
    responsibility_head,
    weight_head,
)
from constructions.em.tasks import TaskBatch
from constructions.language import curves
from constructions.language.arguments import check_whole
from constructions.language.assembly import Construction, Layer
from constructions.language.mlp import apply, clear
from constructions.language.piecewise import PiecewiseLinear, chords, uniform
from constructions.language.scores import dot
from constructions.language.shown import short_repr
from constructions.language.stream import Stream
from constructions.language.structured.evaluation import State
from constructions.language.structured.partitions import Tokens
from constructions.language.tables import text_table


def em_stream(max_dim: int, max_components: int) -> Stream:
    """The residual stream, of width ``2 d0 + 5 K0 + 3``."""
    d, K = max_dim, max_components
    return Stream(x=d, slot=K, mu=d, pi=K, log_pi=K, half_norm2=1, log_count=1, one=1, resp=K, log_resp=K)


def e_layer(s: Stream, log_resp: PiecewiseLinear) -> Layer:
    """Responsibilities by one head; the MLP takes their log and empties what the M layer will fill."""
    return Layer(
        "E",
        heads=(responsibility_head(s, dot(s.query.x, s.key.mu), s.key.half_norm2, s.key.log_count),),
        mlp=(
            apply(log_resp, read=s.resp, write=s.log_resp),
            clear(s.mu),
            clear(s.pi),
            clear(s.log_pi),
            clear(s.half_norm2),
        ),
    )


def m_layer(s: Stream, log_pi: PiecewiseLinear, square: PiecewiseLinear) -> Layer:
    """Means and weights by two heads; the MLP refreshes ``log_pi`` and ``half_norm2``."""
    return Layer(
        "M",
        heads=(mean_head(s, s.x, s.mu, s.query.slot), weight_head(s)),
        mlp=(
            apply(log_pi, read=s.pi, write=s.log_pi),
            apply(square, read=s.mu, write=s.half_norm2, scale=0.5),
            clear(s.resp),
            clear(s.log_resp),
        ),
    )


def unit_construction(
    max_dim: int,
    max_components: int,
    steps: int,
    pieces: int | Pieces,
    floor: float,
    radius: float,
    split: Split,
) -> EMConstruction:
    """As :func:`constructions.em.weights.em_construction` of unit covariances."""
    check_whole(max_dim=max_dim, max_components=max_components, steps=steps)
    check_floor_and_radius(floor, radius)
    counts = pieces if isinstance(pieces, Pieces) else split_pieces(pieces, split, floor, radius, max_dim)
    log_resp, log_pi = floored_log(floor, counts.log_resp), floored_log(floor, counts.log_pi)
    square = chords(curves.square, uniform(-radius, radius, counts.square), anchor=counts.square // 2)
    s = em_stream(max_dim, max_components)
    construction = Construction(
        name=f"EM, {steps} step{'s' if steps > 1 else ''}, d <= {max_dim}, K <= {max_components}",
        source=SOURCE,
        stream=s,
        inputs=(s.x, s.slot, s.mu, s.pi, s.log_pi, s.half_norm2, s.log_count, s.one),
        layers=(e_layer(s, log_resp), m_layer(s, log_pi, square)),
        loops=steps,
    )
    return EMConstruction(construction, floor, radius, log_resp, log_pi, "unit", None, counts, square)


@dataclass(frozen=True, eq=False)
class EMConstruction(ConstructedEM):
    """The weights of Theorem 1 with read-in, read-out and error budget.

    Made by :func:`constructions.em.weights.em_construction`.

    Attributes:
        pieces: as given. square: the third approximated function.
    """

    pieces: Pieces
    square: PiecewiseLinear

    __repr__ = short_repr

    def resource_table(self) -> str:
        """What the weights take, the formula for it, and what the theorem and earlier work promise."""
        found = self.resources()
        d, K = self.max_dim, self.max_components
        h1, h2, h3 = (f.units for f in (self.log_resp, self.log_pi, self.square))
        e_hidden, m_hidden = (layer.shape.hidden for layer in self.construction.layers)
        entry = max(entry for entry, _ in found.norms.values())
        rows = (
            ("layers", f"{found.layers:,}", f"2 L, L = {self.steps}", "O(L)", "O(K L)"),
            ("heads a layer", f"{found.heads}", "1 in E, 2 in M", "O(1)", "unbounded"),
            (
                "width",
                f"{found.width:,}",
                f"2 d0 + 5 K0 + 3, d0 = {d}, K0 = {K}",
                "polynomial in d",
                "exponential in d",
            ),
            (
                "hidden units, E",
                f"{e_hidden:,}",
                f"K0 {h1} + 2 (d0 + 2 K0 + 1)",
                "polynomial in d",
                "exponential in d",
            ),
            (
                "hidden units, M",
                f"{m_hidden:,}",
                f"K0 {h2} + d0 {h3} + 4 K0",
                "polynomial in d",
                "exponential in d",
            ),
            ("parameters", f"{found.parameters:,}", "one block, whatever L", "-", "-"),
            ("of them not 0", f"{found.nonzeros:,}", "", "-", "-"),
            ("largest weight", f"{entry:.3g}", "slope of log at the floor", "-", "-"),
        )
        return text_table(("resource", "here", "formula", "theorem", "earlier work"), rows)

    def tokens(self, tasks: TaskBatch, refreshed: bool = False) -> Tokens:
        """What the first layer sees, block by block.

        ``log_pi`` and ``half_norm2`` of the start are exact, or, with ``refreshed``, what an M layer would
        have left: the piecewise functions of the weights and means.
        """
        log_weights = start_log_weights(tasks, self.floor, self.log_pi if refreshed else None)
        half_norm2 = start_half_norms(tasks, self.square if refreshed else None)
        return slot_tokens(self.stream, tasks, log_weights, {self.stream.half_norm2: half_norm2[:, None]})

    def decode(self, state: State, tasks: TaskBatch) -> StepState:
        """Token k < K holds slot k, since k mod K = k and N >= K."""
        weights, means = slot_state(self.stream, state, tasks)
        return StepState(weights, means)
