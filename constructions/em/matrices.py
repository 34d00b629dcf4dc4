"""EM for full and tied covariances: softmax attention for E and M, linear ReLU pairs for the matrices.

    score  log pi_k + <x, P_k mu_k> - <x x^T, P_k> / 2 - (mu_k^T P_k mu_k + log det S_k) / 2,   P_k = S_k^-1
    M      mu' = E_k[x],   S' = E_k[x x^T] - mu' mu'^T,   pi' = mean r_k;   tied: S' = sum_k pi'_k S'_k

A point carries x and its products x x^T (a hypothesis on the read-in). K d more tokens carry the rows (k, a)
of all K matrices, side by side in a stream of width K d; the row a = 0 of a component leads: it is the key of
E. All products are exact; what is approximated are the logarithms of responsibilities, weights and pivots.

    sweeps   (t + 3) d layers: S_k -> -s^2 P_k, the pivots on the way (constructions.matrices.sweep)
    inverse  P_k, logarithms of the pivots
    natural  P_k as one vector and P_k mu_k at the leading rows, log det S_k
    norm     mu_k^T P_k mu_k
    E, M     softmax; keys that do not count have their score lowered by ``hide``
    S        E[x x^T] - mu mu^T; the sweeps are made ready
    T        tied only: sum_k pi_k S_k at the rows of all components

so (t + 3) d + 6 layers a step, 7 tied; t Newton steps take 1/p from its chords to the last digits.

Source: ours, paper_notes/theorem_1_covariances.md; SWEEP Goodnight 1979.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch

from constructions.em.constructed import ConstructedEM
from constructions.em.read_in import start_log_weights
from constructions.em.rows import RowTokens
from constructions.em.run import StepState
from constructions.em.shared import (
    check_floor_and_radius,
    eigenvalue_range,
    floored_log,
    mean_head,
    responsibility_head,
    weight_head,
)
from constructions.em.tasks import Range, TaskBatch
from constructions.language import curves
from constructions.language.arguments import check_whole
from constructions.language.assembly import Construction, Layer
from constructions.language.gates import apply_where, contract, pick, place
from constructions.language.heads import linear_pair
from constructions.language.mlp import MLPPart, apply, clear, copy, move
from constructions.language.piecewise import PiecewiseLinear, chords, geometric
from constructions.language.program import Repeat, in_order
from constructions.language.rounding import unit_roundoff
from constructions.language.scores import dot, key_only
from constructions.language.shown import short_repr
from constructions.language.stream import Block, Stream
from constructions.language.structured.evaluation import State
from constructions.language.structured.partitions import Tokens
from constructions.language.tables import text_table
from constructions.matrices.machine import above
from constructions.matrices.newton import Start, start_of
from constructions.matrices.products import scaled, score, times, total
from constructions.matrices.sweep import SweepBlocks, sweep_layers

SOURCE = "EM with unknown covariances, ours: paper_notes/theorem_1_covariances.md (after arXiv 2505.11918)"

MatrixKind = Literal["tied", "full"]

CHORDS = 64
"""Pieces of 1/p where the Newton steps start."""


@dataclass(frozen=True)
class MatrixPieces:
    """Pieces of the logarithms: of responsibilities, of weights, of the pivots of covariances."""

    log_resp: int
    log_pi: int
    log_pivot: int

    @classmethod
    def each(cls, pieces: int) -> MatrixPieces:
        """As many for every function."""
        return cls(pieces, pieces, pieces)

    @property
    def total(self) -> int:
        """All pieces together."""
        return self.log_resp + self.log_pi + self.log_pivot


@dataclass(frozen=True)
class Bounds:
    """Numbers, powers of two, that what the gates read does not exceed.

    Attributes:
        mean: a coordinate of a mean. second: a product of two. covariance, precision, eta: entries of S, of
            P, of P mu.
        hide: by which scores of keys that do not count are lowered: twice the largest form, the largest
            log-determinant, and 2000 for the logs of weights and for exp. scale: of the sweeps.
    """

    mean: float
    second: float
    covariance: float
    precision: float
    eta: float
    hide: float
    scale: float

    @classmethod
    def of(cls, max_dim: int, radius: float, eigenvalues: Range, scale: float | None = None) -> Bounds:
        """For coordinates up to the radius and eigenvalues in the range; a sixteenth is left to rounding.

        ``scale`` is that of the sweeps: a power of two, from the largest eigenvalue on unless said.
        """
        low, high = eigenvalues
        room = 1.0625
        farthest = 4 * max_dim * radius**2 / low
        return cls(
            mean=above(room * radius),
            second=above(room * radius**2),
            covariance=above(room * 2 * radius**2),
            precision=above(room / low),
            eta=above(room * max_dim**0.5 * radius / low),
            hide=above(2 * farthest + max_dim * max(math.log(high), 0.0) + 2000),
            scale=above(high) if scale is None else scale,
        )


def matrix_stream(max_dim: int, max_components: int, kind: MatrixKind) -> Stream:
    """The residual stream, of width O(K0 d0 + d0^2)."""
    d, K = max_dim, max_components
    constants = {"x": d, "xx": d * d, "ids": K * d, "turned": K * d, "axis": d, "member": K, "slot": K}
    flags = dict.fromkeys(("lead", "register", "other", "one"), 1)
    state = {"mu": d, "row": d, "A": K * d, "pi": K, "log_pi": K}
    sweep = dict.fromkeys(("E", "Q", "U", "spare"), K * d)
    scalars = ("turn", "pivots", "entry", "value", "next_turn", "next_pivots")
    natural = {"X": K * d, "logs": 1, "flat": d * d, "precision": d * d, "placed": K * d, "placed_eta": K * d}
    natural |= {"eta": d, "log_det": 1, "norm": 1}
    moments = {"resp": K, "log_resp": K, "new_mu": d, "second": d * d, "moment": d, "column": K}
    pooled = {"weighed": K * d, "pooled": d} if kind == "tied" else {}
    narrow = dict.fromkeys(scalars, 1)
    return Stream(**constants, **flags, **state, **sweep, **narrow, **natural, **moments, **pooled)


def sweep_blocks(s: Stream) -> SweepBlocks:
    """Where the sweeps work."""
    return SweepBlocks(
        s.ids, s.A, s.turn, s.pivots, s.E, s.Q, s.U, s.spare, s.entry, s.value, s.next_turn, s.next_pivots
    )


def inverse_layer(s: Stream, bounds: Bounds, log_pivot: PiecewiseLinear, at_rows: bool) -> Layer:
    """P at the rows, also as parts of one vector; the logarithms of the pivots; mu in the place of k.

    With ``at_rows`` the logarithms stand at the rows alone, and are 0 elsewhere.
    """
    read, write = s.pivots, s.logs
    logs = apply_where(log_pivot, read, s.register, write) if at_rows else apply(log_pivot, read, write)
    return Layer(
        "inverse",
        heads=(scaled(s.ids, s.A, s.X, -(bounds.scale**-2)),),
        mlp=(
            logs,
            contract(s.X, by=s.turned, write=s.flat, bound=bounds.precision),
            place(s.mu, by=s.slot, write=s.placed, bound=bounds.mean),
            *(clear(block) for block in (s.A, s.E, s.turn, s.pivots, s.row)),
        ),
    )


def natural_layer(s: Stream, bounds: Bounds) -> Layer:
    """At the leading row of k: P_k as one vector, ``eta_k = P_k mu_k``, ``log det S_k``."""
    return Layer(
        "natural",
        heads=(
            linear_pair(score(s.slot, s.member), s.flat, s.precision),
            times(s.placed, s.ids, s.X, s.placed_eta),
            linear_pair(score(s.slot, s.member), s.logs, s.log_det),
        ),
        mlp=(
            contract(s.placed_eta, by=s.slot, write=s.eta, bound=bounds.eta),
            *(clear(block) for block in (s.X, s.flat, s.logs)),
        ),
    )


def norm_layer(s: Stream) -> Layer:
    """``mu_k^T P_k mu_k`` at the leading row of k."""
    return Layer(
        "norm",
        heads=(linear_pair(score(s.placed, s.placed_eta), s.lead, s.norm),),
        mlp=(clear(s.placed), clear(s.placed_eta)),
    )


def e_layer(s: Stream, bounds: Bounds, log_resp: PiecewiseLinear) -> Layer:
    """Responsibilities at the points, of the leading rows alone; their log."""
    q, k = s.query, s.key
    fit = dot(q.x, k.eta) - 0.5 * dot(q.xx, k.precision)
    head = responsibility_head(
        s, fit, 0.5 * key_only(k.norm) + 0.5 * key_only(k.log_det), bounds.hide * key_only(k.other)
    )
    emptied = (s.eta, s.precision, s.norm, s.log_det, s.pi, s.log_pi, s.mu)
    return Layer("E", (head,), (apply(log_resp, s.resp, s.log_resp), *(clear(block) for block in emptied)))


def m_layer(s: Stream, bounds: Bounds, log_pi: PiecewiseLinear) -> Layer:
    """Means, second moments and weights; of the latter's matrix each row keeps its own."""
    hidden = bounds.hide * key_only(s.key.register)
    return Layer(
        "M",
        heads=(
            mean_head(s, s.x, s.new_mu, s.query.member, hidden),
            mean_head(s, s.xx, s.second, s.query.member, hidden),
            weight_head(s, hidden),
        ),
        mlp=(
            move(s.new_mu, s.mu),
            pick(s.new_mu, by=s.ids, write=s.column, bound=bounds.mean),
            contract(s.second, by=s.axis, write=s.moment, bound=bounds.second),
            apply(log_pi, s.pi, s.log_pi),
            *(clear(block) for block in (s.second, s.resp, s.log_resp)),
        ),
    )


def covariance_layer(s: Stream, bounds: Bounds) -> Layer:
    """S: ``E[x x^T] - mu mu^T``, a row a token; of tied covariances also pi for the average to come."""
    outer = linear_pair(score(s.column, s.column), s.axis, s.row, -1.0)
    tied = "pooled" in s
    ready = (place(s.pi, by=s.axis, write=s.weighed, bound=1.0),) if tied else _ready(s, s.row, bounds)
    row = total(times(s.ids, s.ids, s.moment, s.row), outer)
    return Layer("S", (row,), (*ready, clear(s.moment), clear(s.column)))


def pool_layer(s: Stream, bounds: Bounds) -> Layer:
    """T: ``sum_k pi_k S_k``, row a at the rows (k, a) of every k."""
    average = linear_pair(score(s.weighed, s.turned), s.row, s.pooled)
    emptied = (clear(s.row), move(s.pooled, s.row), clear(s.weighed))
    return Layer("T", (average,), (*emptied, *_ready(s, s.pooled, bounds)))


def _ready(s: Stream, row: Block, bounds: Bounds) -> tuple[MLPPart, ...]:
    """The matrices side by side, the turn of the first rows, and no pivot yet: lead times other is 0."""
    return (
        place(row, by=s.member, write=s.A, bound=bounds.covariance),
        place(s.ids, by=s.lead, write=s.E, bound=1.0),
        copy(s.lead, s.turn),
        pick(s.lead, by=s.other, write=s.pivots, bound=1.0),
    )


def newton_steps_for(start: Start) -> int:
    """How many steps take 1/p from its chords to below half an ulp of float64: ``e -> e^2``."""
    error, steps = start.error, 0
    while error > unit_roundoff(torch.float64):
        error, steps = error * error, steps + 1
    return max(steps, 1)


def matrix_construction(
    kind: MatrixKind,
    max_dim: int,
    max_components: int,
    steps: int,
    pieces: int | MatrixPieces,
    floor: float,
    radius: float,
    eigenvalues: tuple[float, float],
    scale: float | None = None,
    logs_at_rows: bool = False,
) -> MatrixEM:
    """As :func:`constructions.em.weights.em_construction` of these kinds.

    The last two are :meth:`Bounds.of`'s and :func:`inverse_layer`'s: what the softmax form wants otherwise.
    """
    check_whole(max_dim=max_dim, max_components=max_components, steps=steps)
    check_floor_and_radius(floor, radius)
    span = eigenvalue_range(eigenvalues, max_dim, radius)
    counts = pieces if isinstance(pieces, MatrixPieces) else MatrixPieces.each(pieces)
    log_resp, log_pi = floored_log(floor, counts.log_resp), floored_log(floor, counts.log_pi)
    start = start_of("1/x", span.low, span.high, CHORDS)
    log_pivot = chords(
        curves.log, geometric(span.low, start.high, counts.log_pivot), inputs=(0.0, 2 * start.high)
    )
    bounds, newton = Bounds.of(max_dim, radius, span, scale), newton_steps_for(start)
    s = matrix_stream(max_dim, max_components, kind)
    once = sweep_layers(sweep_blocks(s), start, bounds.scale, max_dim, newton)
    layers, order = in_order(
        Repeat(max_dim, tuple(once)),
        inverse_layer(s, bounds, log_pivot, logs_at_rows),
        natural_layer(s, bounds),
        norm_layer(s),
        e_layer(s, bounds, log_resp),
        m_layer(s, bounds, log_pi),
        covariance_layer(s, bounds),
        *((pool_layer(s, bounds),) if kind == "tied" else ()),
    )
    constants = (s.x, s.xx, s.ids, s.turned, s.axis, s.member, s.slot, s.lead, s.register, s.other, s.one)
    construction = Construction(
        name=f"EM, {kind}, {steps} step{'s' if steps > 1 else ''}, d <= {max_dim}, K <= {max_components}",
        source=SOURCE,
        stream=s,
        inputs=(*constants, s.mu, s.row, s.A, s.pi, s.log_pi, s.turn, s.E, s.pivots),
        layers=layers,
        loops=steps,
        order=order,
    )
    fields = counts, bounds, start, newton, log_pivot
    return MatrixEM(construction, floor, radius, log_resp, log_pi, kind, span, *fields)


@dataclass(frozen=True, eq=False)
class MatrixEM(ConstructedEM):
    """The weights, made by :func:`constructions.em.weights.em_construction`.

    Attributes:
        pieces: of the logarithms. bounds: of what the gates read.
        start: of 1/p. newton_steps: t. log_pivot: the logarithm of the pivots.
    """

    eigenvalues: Range
    pieces: MatrixPieces
    bounds: Bounds
    start: Start
    newton_steps: int
    log_pivot: PiecewiseLinear

    __repr__ = short_repr

    def tokens(self, tasks: TaskBatch, refreshed: bool = False) -> Tokens:
        """What the first layer sees; ``log_pi`` is exact, or with ``refreshed`` as M leaves it."""
        log_weights = start_log_weights(tasks, self.floor, self.log_pi if refreshed else None)
        S = tasks.covariances
        if S is None:
            raise ValueError("the tasks have no covariances")
        if self.covariance_type == "tied":
            S = S[:, None].expand(-1, self.max_components, -1, -1)
        return RowTokens(self.stream, tasks).tokens(log_weights, S)

    def decode(self, state: State, tasks: TaskBatch) -> StepState:
        """The rows (k, a) hold the mean of k and row a of its covariance."""
        s, rows = self.stream, RowTokens(self.stream, tasks)
        present = tasks.component_mask
        read = rows.of_rows(state.read(s.mu))[:, :, 0]
        means = read.new_zeros(tasks.means.shape)
        means[:, : rows.K] = read
        held = rows.of_rows(state.read(s.row))
        S = held.new_zeros(*means.shape, means.shape[-1])
        S[:, : rows.K, : rows.d] = held
        shown = (tasks.feature_mask[:, :, None] & tasks.feature_mask[:, None])[:, None]
        S = torch.where(shown & present[:, :, None, None], S, 0.0)
        weights = state.read(s.pi, first=1)[:, 0] * present
        return StepState(
            weights, means * present[:, :, None], S[:, 0] if self.covariance_type == "tied" else S
        )

    def resource_table(self) -> str:
        """What the weights take, and the formula for it."""
        found, d, K, t = self.resources(), self.max_dim, self.max_components, self.newton_steps
        rest = 7 if self.covariance_type == "tied" else 6
        entry = max(entry for entry, _ in found.norms.values())
        heads, tokens, largest = self._in_words
        rows = (
            ("layers", f"{found.layers:,}", f"((t + 3) d0 + {rest}) L, t = {t}, L = {self.steps}"),
            ("layers stored", f"{len(self.construction.layers)}", "whatever d0 and L"),
            ("heads a layer", f"{found.heads}", heads),
            ("width", f"{found.width:,}", f"O(d0^2 + d0 K0), d0 = {d}, K0 = {K}"),
            ("hidden units", f"{found.hidden:,}", "O(d0^2 K0 + K0 M), M pieces a function"),
            ("tokens", tokens, ""),
            ("parameters", f"{found.parameters:,}", "one block, whatever L"),
            ("of them not 0", f"{found.nonzeros:,}", ""),
            ("largest weight", f"{entry:.3g}", largest),
        )
        return text_table(("resource", "here", "formula"), rows)

    @property
    def _in_words(self) -> tuple[str, str, str]:
        """Of the resource table: the number of heads, that of tokens, and what the largest weight is."""
        return "whatever d, K and N", "N + K d", "by which the scores of other keys are lowered"
