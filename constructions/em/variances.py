"""EM for diagonal, spherical and tied spherical covariances as softmax attention, three layers a step.

    score  log pi_k - (1/2) sum_a (x_a - mu_ka)^2 / s_ka - (1/2) sum_a log s_ka
    M      mu' = E_k[x],   s' = E_k[(x - mu)^2] - (mu' - mu)^2,   pi' = mean r_k

with the OLD mean in the squares, so that nothing cancels: near convergence the correction is small of second
order, and all errors are relative to the scale of the component.

    P   gathers all means at every token; squares (x - mu_k)^2, 1/s and log s by the MLP
    E   responsibilities: the products of squares and 1/s are the score, exactly; their log
    M   means, mean squares and weights; s' is a difference of them
    T   tied only: the average of the s' weighted by pi

Token i carries x_i, the one-hot slot of component i mod K, the mean and variance of that slot. Means gathered
from all slots come as an average over K of them; so the tokens carry ``K x`` too, and what is averaged is
K mu. Spherical kinds hold ``v = d s``, of which P makes ``d / v`` by a gate for every d.

Source: ours, paper_notes/theorem_1_covariances.md; the unit case is arXiv 2505.11918, Theorem 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from constructions.em.constructed import ConstructedEM
from constructions.em.read_in import of_slots, slot_state, slot_tokens, start_log_weights
from constructions.em.run import StepState
from constructions.em.scale_free import ScaleFree, least_difference, reciprocals, squares
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
from constructions.language.gates import apply_where, contract, place
from constructions.language.heads import SoftmaxHead
from constructions.language.mlp import apply, clear, move, summed
from constructions.language.piecewise import PiecewiseLinear, chords, geometric
from constructions.language.scores import dot
from constructions.language.shown import short_repr
from constructions.language.stream import Stream
from constructions.language.structured.evaluation import State
from constructions.language.structured.partitions import Tokens, Value
from constructions.language.tables import text_table
from constructions.matrices.machine import above

SOURCE = "EM with unknown variances, ours: paper_notes/theorem_1_covariances.md (after arXiv 2505.11918)"

VarianceKind = Literal["tied_spherical", "spherical", "diagonal"]


@dataclass(frozen=True)
class VariancePieces:
    """Pieces of the functions that a step approximates.

    Attributes:
        log_resp, log_pi: logs of responsibilities and weights. square: of differences. reciprocal,
            log_variance: of the variances.
    """

    log_resp: int
    log_pi: int
    square: int
    reciprocal: int
    log_variance: int

    @classmethod
    def each(cls, pieces: int) -> VariancePieces:
        """As many for every function."""
        return cls(*[pieces] * 5)

    @property
    def total(self) -> int:
        """All pieces together."""
        return self.log_resp + self.log_pi + self.square + self.reciprocal + self.log_variance


@dataclass(frozen=True, eq=False)
class Functions:
    """The five functions of a step, one attribute each."""

    log_resp: PiecewiseLinear
    log_pi: PiecewiseLinear
    square: ScaleFree
    reciprocal: ScaleFree
    log_variance: PiecewiseLinear

    __repr__ = short_repr


def variance_stream(kind: VarianceKind, max_dim: int, max_components: int) -> Stream:
    """The residual stream; ``v``, ``squares`` and ``second`` hold one number a coordinate, or one in all."""
    d, K = max_dim, max_components
    each = d if kind == "diagonal" else 1
    constants = {"x": d, "wide_x": d, "slot": K, "log_count": 1, "one": 1}
    if kind != "diagonal":
        constants |= {"slot_dim": K * d, "dim": 1}
    state = {"mu": d, "placed": K * d, "v": each, "pi": K, "log_pi": K}
    natural = {"centres": K * d, "squares": K * each, "precision": K * each, "log_det": 1}
    moments = {"resp": K, "log_resp": K, "new_mu": d, "wide_mu": d, "second": K * each}
    pooled = {"pooled": 1} if kind == "tied_spherical" else {}
    return Stream(**constants, **state, **natural, **moments, **pooled)


def natural_layer(s: Stream, f: Functions) -> Layer:
    """P: squares of all differences at every token, 1/s behind its slot, log s."""
    spherical = "dim" in s
    by, factors = (s.slot_dim, tuple(range(1, s.x.width + 1))) if spherical else (s.slot, (1,))
    scaled = tuple(f.reciprocal.scale * factor for factor in factors)
    return Layer(
        "P",
        heads=(SoftmaxHead(-1.0 * dot(s.query.one, s.key.log_count), read=s.placed, write=s.centres),),
        mlp=(
            apply(f.square.function, s.x, s.squares, f.square.scale, minus=s.centres),
            apply_where(f.reciprocal.function, s.v, by, s.precision, scaled),
            apply(f.log_variance, s.v, s.log_det),
            *(clear(block) for block in (s.centres, s.placed, s.v)),
        ),
    )


def e_layer(s: Stream, f: Functions) -> Layer:
    """Responsibilities and their log."""
    q, k = s.query, s.key
    log_det = dot(q.dim, k.log_det) if "dim" in s else dot(q.one, k.log_det)
    fit = -0.5 * dot(q.squares, k.precision)
    return Layer(
        "E",
        heads=(responsibility_head(s, fit, 0.5 * log_det, k.log_count),),
        mlp=(
            apply(f.log_resp, read=s.resp, write=s.log_resp),
            *(clear(block) for block in (s.precision, s.log_det, s.pi, s.log_pi)),
        ),
    )


def m_layer(s: Stream, f: Functions, radius: float) -> Layer:
    """Means, variances and weights by four heads."""
    largest = above(1.0625 * (s.x.width // s.v.width) * (2 * radius) ** 2)
    widest = above(1.0625 * s.slot.width * radius)
    return Layer(
        "M",
        heads=(
            mean_head(s, s.x, s.new_mu, s.query.slot),
            mean_head(s, s.wide_x, s.wide_mu, s.query.slot),
            mean_head(s, s.squares, s.second, s.query.slot),
            weight_head(s),
        ),
        mlp=(
            summed(
                contract(s.second, by=s.slot, write=s.v, bound=largest),
                apply(f.square.function, s.new_mu, s.v, -f.square.scale, minus=s.mu),
            ),
            place(s.wide_mu, by=s.slot, write=s.placed, bound=widest),
            apply(f.log_pi, read=s.pi, write=s.log_pi),
            clear(s.mu),
            move(s.new_mu, s.mu),
            *(clear(block) for block in (s.wide_mu, s.second, s.squares, s.resp, s.log_resp)),
        ),
    )


def pool_layer(s: Stream) -> Layer:
    """T: ``v = sum_k pi_k v_k``, with the weights that log pi has."""
    weigh = dot(s.query.log_pi, s.key.slot) - s.key.log_count
    head = SoftmaxHead(weigh, read=s.v, write=s.pooled)
    return Layer("T", heads=(head,), mlp=(clear(s.v), move(s.pooled, s.v)))


def variance_construction(
    kind: VarianceKind,
    max_dim: int,
    max_components: int,
    steps: int,
    pieces: int | VariancePieces,
    floor: float,
    radius: float,
    eigenvalues: tuple[float, float],
) -> VarianceEM:
    """As :func:`constructions.em.weights.em_construction` of these kinds."""
    check_whole(max_dim=max_dim, max_components=max_components, steps=steps)
    check_floor_and_radius(floor, radius)
    low, high = eigenvalue_range(eigenvalues, max_dim, radius)
    counts = pieces if isinstance(pieces, VariancePieces) else VariancePieces.each(pieces)
    logs = floored_log(floor, counts.log_resp), floored_log(floor, counts.log_pi)
    top = high if kind == "diagonal" else max_dim * high  # v is up to d s
    top = top if top > low else 2 * low  # knots must increase
    least = least_difference(low, counts.square)
    if not least < 2 * radius:
        raise ValueError(
            f"eigenvalues from {low:g} on and the radius {radius:g}: no two coordinates are {least:g} apart, "
            f"where the {counts.square} pieces of squares begin; more pieces or a lower range is needed"
        )
    f = Functions(
        *logs,
        squares(least, 2 * radius, counts.square),
        reciprocals(low, top, counts.reciprocal),
        chords(curves.log, geometric(low, top, counts.log_variance), inputs=(0.0, 2 * top)),
    )
    s = variance_stream(kind, max_dim, max_components)
    constants = ("x", "wide_x", "slot", "slot_dim", "dim", "log_count", "one")
    inputs = (*constants, "mu", "placed", "v", "pi", "log_pi")
    layers = [natural_layer(s, f), e_layer(s, f), m_layer(s, f, radius)]
    construction = Construction(
        name=f"EM, {kind}, {steps} step{'s' if steps > 1 else ''}, d <= {max_dim}, K <= {max_components}",
        source=SOURCE,
        stream=s,
        inputs=tuple(getattr(s, name) for name in inputs if name in s),
        layers=(*layers, pool_layer(s)) if kind == "tied_spherical" else tuple(layers),
        loops=steps,
    )
    return VarianceEM(construction, floor, radius, *logs, kind, Range(low, high), counts, f)


@dataclass(frozen=True, eq=False)
class VarianceEM(ConstructedEM):
    """The weights, made by :func:`constructions.em.weights.em_construction`.

    Attributes:
        pieces: of each function. functions: the five of them.
    """

    eigenvalues: Range
    pieces: VariancePieces
    functions: Functions

    __repr__ = short_repr

    def tokens(self, tasks: TaskBatch, refreshed: bool = False) -> Tokens:
        """What the first layer sees; ``log_pi`` is exact, or with ``refreshed`` as M leaves it."""
        s, like = self.stream, tasks.X
        log_weights = start_log_weights(tasks, self.floor, self.log_pi if refreshed else None)
        counts = tasks.n_components.to(like)[:, None, None]
        dims = tasks.n_features.to(like)[:, None, None]
        own = torch.eye(s.slot.width).to(like)[None, :, None, :]  # component k, and that of the slot
        placed = (own * (counts * tasks.means).mT[:, None]).flatten(1, 2)
        per_slot = {s.placed: placed, s.v: self._held(tasks)}
        if "dim" in s:
            by_dim = torch.nn.functional.one_hot(tasks.n_features - 1, s.x.width).to(like)
            per_slot[s.slot_dim] = (own * by_dim[:, None, :, None]).flatten(1, 2)
        tokens = slot_tokens(s, tasks, log_weights, per_slot)
        places = tokens.places
        values = tokens.values | {s.wide_x: Value(places.each, (counts * tasks.X).mT)}
        if "dim" in s:
            values |= {s.dim: Value(places.same, dims)}
        return Tokens(s, places, values)

    def _held(self, tasks: TaskBatch) -> Tensor:
        """(B, width of v, K0) what the slots hold of the variances."""
        S = tasks.covariances
        if S is None:
            raise ValueError("the tasks have no covariances")
        if self.covariance_type == "diagonal":
            return S.mT
        each = S[:, None] if self.covariance_type == "spherical" else S[:, None, None]
        return each.expand(-1, 1, self.max_components) * tasks.n_features.to(S)[:, None, None]

    def decode(self, state: State, tasks: TaskBatch) -> StepState:
        """Token k < K holds the mean and the variances of component k."""
        s = self.stream
        weights, means = slot_state(s, state, tasks)
        held = of_slots(s.v, state, tasks)
        if self.covariance_type == "diagonal":
            present = tasks.feature_mask[:, None].to(held)
            return StepState(weights, means, held * present)
        variances = held[..., 0] / tasks.n_features.to(held)[:, None]
        return StepState(
            weights, means, variances if self.covariance_type == "spherical" else variances[:, 0]
        )

    def resource_table(self) -> str:
        """What the weights take, and the formula for it."""
        found, d, K = self.resources(), self.max_dim, self.max_components
        entry = max(entry for entry, _ in found.norms.values())
        layers = len(self.construction.layers)
        rows = (
            ("layers", f"{found.layers:,}", f"{layers} L, L = {self.steps}"),
            ("heads a layer", f"{found.heads}", "1 in P and E, 4 in M"),
            ("width", f"{found.width:,}", f"O(d0 K0), d0 = {d}, K0 = {K}"),
            ("hidden units", f"{found.hidden:,}", "O(K0 d0 M), M pieces a function"),
            ("parameters", f"{found.parameters:,}", "one block, whatever L"),
            ("of them not 0", f"{found.nonzeros:,}", ""),
            ("largest weight", f"{entry:.3g}", "slope of 1/x at the least variance, or of log at the floor"),
        )
        return text_table(("resource", "here", "formula"), rows)
