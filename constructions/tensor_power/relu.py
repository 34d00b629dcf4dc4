"""Theorem 2: L steps of cubic tensor power iteration as ReLU attention, exactly.

    v <- T(I, v, v),        T(I, v, v)_i = sum_jm T_ijm v_j v_m        (T symmetric or not)

Token j carries its one-hot ``id``, the whole vector ``v``, the scalar ``s = v_j``, the slice ``T[:, j, :]``
(part m of the block ``T`` is the column ``T[:, j, m]``), and ``unit``, which is 1 at the first token and 0
elsewhere. One step is a *contract* layer, head pair m weighing ``T[:, j, m]`` by ``v_m s_j``, and a *copy*
layer, which moves the result to ``v`` and refreshes ``s_j = <id_j, v>``. Two layers a step; one set of
weights serves every d <= d0, since absent coordinates are zeros and absent tokens add nothing.

The normalised iteration divides by |w|: by an RMS norm of what the contract layer writes, or, in three
layers a step, by a piecewise-linear 1/sqrt.

Attention that divides by the number N of tokens needs no other weights: the tokens then hold ``s = N v_j``,
``id = N e_j`` (``N^2 e_j`` with the piecewise norm) and ``unit = N`` at the first token, and every factor 1/N
is met by one N.

Source: arXiv 2505.11918, Theorem 2. The construction is ours; paper_notes/theorem_2_tensor_power.md proves
it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from constructions.language import curves
from constructions.language.arguments import check_number, check_whole
from constructions.language.assembly import Construction, Layer
from constructions.language.heads import HeadSum, ReluHead, linear_pair
from constructions.language.hypotheses import HypothesisError
from constructions.language.mlp import apply, clear, move
from constructions.language.piecewise import PiecewiseLinear, chords, geometric
from constructions.language.rounding import gamma, unit_roundoff
from constructions.language.scores import dot, key_only
from constructions.language.shown import short_repr
from constructions.language.stream import Stream
from constructions.language.structured.evaluation import State
from constructions.language.structured.partitions import Places, Tokens, Value
from constructions.tensor_power.iteration import PowerIteration
from constructions.tensor_power.relu_bounds import (
    StepError,
    contract,
    euclidean,
    norm_resolved,
    offset_rounding,
    pair_rounding,
    piecewise_length_error,
    relative_chord_error,
    rms_entries,
)
from constructions.tensor_power.tensors import TensorBatch, slices

Normalise = Literal["none", "rms", "piecewise"]

SMALLEST_NORM, LARGEST_NORM = 1e-102, 1e150
"""Of a norm range: beyond them the slopes low^-3 / 2 or the squares leave float64."""

SOURCE = "arXiv 2505.11918, Theorem 2 (cubic tensor power iteration in ReLU attention)"


def tensor_stream(max_dim: int, offset: bool, piecewise: bool) -> Stream:
    """The residual stream, of width ``d0^2 + 3 d0 + 2``, and what the two options add."""
    d = max_dim
    widths = {"id": d, "v": d, "s": 1, "T": d * d, "w": d, "unit": 1}
    if offset:
        widths |= {"T_sum": d, "one": 1}
    if piecewise:
        widths |= {"n2": 1, "r": 1}
    return Stream(**widths)


def pair_heads(s: Stream) -> HeadSum:
    """``w_i = sum_jm v_m(i) s_j T[:, j, m]`` by 2 d0 heads: ``relu(a) - relu(-a) = a`` for every m."""
    q, k, d = s.query, s.key, s.v.width
    pairs = [linear_pair(dot(q.v.part(m), k.s), read=s.T.part(m, d), write=s.w) for m in range(d)]
    return HeadSum(tuple(head for pair in pairs for head in pair.heads))


def offset_heads(s: Stream, bound: float) -> HeadSum:
    """The same by d0 + 1 heads where ``|v_m s_j| <= B``: ``relu(a + B) = a + B``, and one head subtracts B.

    That head reads ``T_sum = sum_m T[:, j, m]``, a linear map of the token.
    """
    q, k, d = s.query, s.key, s.v.width
    shifted = [
        ReluHead(dot(q.v.part(m), k.s) + bound * key_only(k.one), read=s.T.part(m, d), write=s.w)
        for m in range(d)
    ]
    return HeadSum((*shifted, ReluHead(bound * key_only(k.one), read=s.T_sum, write=s.w, scale=-1.0)))


def contract_layer(s: Stream, heads: HeadSum, unit_output: bool) -> Layer:
    """``w = T(I, v, v)`` at every token that holds v; with ``unit_output``, ``w / |w|``."""
    return Layer("contract", heads=(heads,), mlp=(clear(s.v), clear(s.s)), unit_output=unit_output)


def copy_layer(s: Stream) -> Layer:
    """``s_j = <id_j, w>``, read off the first token alone; then w becomes v, exactly."""
    refresh = linear_pair(dot(s.query.id, s.key.w), read=s.unit, write=s.s)
    return Layer("copy", heads=(refresh,), mlp=(move(s.w, s.v),))


def norm_layer(s: Stream, inverse_sqrt: PiecewiseLinear) -> Layer:
    """``r = 1/|w|`` at the first token, by one head, ``relu(|w|^2) = |w|^2``, and the MLP."""
    head = ReluHead(dot(s.query.w, s.key.w), read=s.unit, write=s.n2)
    return Layer("norm", heads=(head,), mlp=(apply(inverse_sqrt, read=s.n2, write=s.r), clear(s.n2)))


def scale_layer(s: Stream) -> Layer:
    """``s_j = <id_j, w> r`` and ``v = r w``; only the first token holds a w that is not 0."""
    refresh = linear_pair(dot(s.query.id, s.key.w), read=s.r, write=s.s)
    scaled = ReluHead(dot(s.query.unit, s.key.r), read=s.w, write=s.v)
    return Layer("scale", heads=(refresh, scaled), mlp=(clear(s.w), clear(s.r)))


def tensor_power_construction(
    max_dim: int,
    steps: int,
    offset: float | None = None,
    normalise: Normalise = "none",
    pieces: int = 1024,
    norm_range: tuple[float, float] = (1e-4, 1e2),
    divide_by_tokens: bool = False,
) -> TensorPowerConstruction:
    """Build L steps of ``v <- T(I, v, v)`` for every d <= max_dim.

    Args:
        max_dim: d0.
        steps: L; two layers a step, three with the piecewise norm; one block of weights applied L times.
        offset: None for 2 d0 heads that need no bound, or a B >= |v_m s_j| for d0 + 1 heads; in every step,
            so ``max_j v_j^2`` (times d where attention divides by the number of tokens). See
            :func:`constructions.tensor_power.relu_bounds.required_offset`.
        normalise: "none"; "rms", ``v / |v|`` by an RMS norm, exact; "piecewise", by a piecewise-linear
            ``1/sqrt(|v|^2)``: the direction is exact and the length is 1 up to the error of its chords. It
            takes pairs of heads: a token without v must write exactly 0, which offset heads round.
        pieces, norm_range: of the piecewise norm: number of linear pieces; least and largest |T(I, v, v)|.
        divide_by_tokens: the attention is relu(scores)/N instead of relu(scores).

    Raises:
        ValueError: a number outside these ranges, named in the message.
    """
    check_whole(max_dim=max_dim, steps=steps)
    if offset is not None:
        check_number(offset=offset)
    if normalise not in ("none", "rms", "piecewise"):
        raise ValueError(f"normalise is {normalise!r}; it is none, rms or piecewise")
    if offset is not None and not 0 < offset < math.inf:
        raise ValueError(f"offset is {offset!r}; it is positive and finite, or None for pairs of heads")
    if offset is not None and normalise == "piecewise":
        raise ValueError(f"offset is {offset!r}; the piecewise norm takes pairs of heads, offset=None")
    if not isinstance(norm_range, tuple | list) or len(norm_range) != 2:
        raise ValueError(f"norm_range is {norm_range}; two numbers, 0 < low < high, are needed")
    low, high = norm_range
    check_number(low=low, high=high)
    if not SMALLEST_NORM <= low < high <= LARGEST_NORM:
        raise ValueError(
            f"norm_range is {norm_range}; 0 < low < high are needed, between {SMALLEST_NORM:g} and "
            f"{LARGEST_NORM:g}"
        )
    piecewise = normalise == "piecewise"
    s = tensor_stream(max_dim, offset is not None, piecewise)
    heads = pair_heads(s) if offset is None else offset_heads(s, offset)
    first = contract_layer(s, heads, unit_output=normalise == "rms")
    inverse_sqrt = chords(curves.inverse_sqrt, geometric(low**2, high**2, pieces)) if piecewise else None
    layers = (first, copy_layer(s))
    if inverse_sqrt is not None:
        layers = (first, norm_layer(s, inverse_sqrt), scale_layer(s))
    inputs = [s.id, s.v, s.s, s.T, s.unit]
    construction = Construction(
        name=f"tensor power iteration, {steps} step{'s' if steps > 1 else ''}, d <= {max_dim}",
        source=SOURCE,
        stream=s,
        inputs=tuple(inputs if offset is None else [*inputs, s.T_sum, s.one]),
        layers=layers,
        loops=steps,
        divide_by_tokens=divide_by_tokens,
    )
    return TensorPowerConstruction(
        construction, max_dim, normalise != "none", normalise, offset, inverse_sqrt
    )


@dataclass(frozen=True, eq=False)
class TensorPowerConstruction(PowerIteration):
    """The weights of Theorem 2. Made by :func:`tensor_power_construction`.

    Attributes:
        normalise, offset: as given. inverse_sqrt: the function of the piecewise norm, else None.
    """

    normalise: Normalise
    offset: float | None
    inverse_sqrt: PiecewiseLinear | None

    __repr__ = short_repr

    def tokens(self, batch: TensorBatch) -> Tokens:
        """N tokens, N the largest d.

        With the piecewise norm the first token alone holds v; otherwise every token does, so that no token
        has a zero vector to normalise.
        """
        s, n = self.construction.stream, batch.tokens
        places, like = Places(batch.mask), batch.T
        N = batch.dims.to(like) if self.construction.divide_by_tokens else like.new_ones(len(like))
        first = places.first_and_rest()
        at_first = torch.tensor([1.0, 0.0]).to(like)
        vector = batch.v[:, :, None]
        # A factor 1/N for each head on the way from id to s: copy has one, the piecewise norm and scale two.
        id_scale = N if self.inverse_sqrt is None else N.square()
        real = batch.mask[:, None].to(like)
        values = {
            s.id: Value(places.each, torch.eye(self.max_dim, n).to(like) * id_scale[:, None, None] * real),
            s.v: Value(places.same, vector) if self.inverse_sqrt is None else Value(first, vector * at_first),
            s.s: Value(places.each, (N[:, None] * batch.v[:, :n])[:, None]),
            s.T: Value(places.each, slices(batch).flatten(1, 2)),
            s.unit: Value(first, N[:, None, None] * at_first),
        }
        if self.offset is not None:
            values[s.T_sum] = Value(places.each, slices(batch).sum(1))
            values[s.one] = Value(places.same, like.new_ones(len(like), 1, 1))
        return Tokens(s, places, values)

    def step_error(
        self, T: Tensor, v: Tensor, dtype: torch.dtype, first: Tensor | bool, dims: Tensor | None = None
    ) -> StepError:
        """Rounding, and the chords of the piecewise norm; see :class:`StepError`."""
        d = v.shape[-1]
        if self.offset is None:
            heads = pair_rounding(T, v, d, self.max_dim, dtype)
        else:
            heads = offset_rounding(T, v, self.offset, d, self.max_dim, dtype)
        entries, length = 0.0, torch.zeros_like(v[:, 0])
        if self.normalised:
            norm = euclidean(contract(T, v))
            if self.inverse_sqrt is None:
                entries = rms_entries(d, dtype)
                length = torch.full_like(norm, entries)
            else:
                entries = gamma(6, unit_roundoff(dtype))
                length = piecewise_length_error(self.inverse_sqrt, norm, euclidean(heads), d, dtype)
            length = torch.where(norm_resolved(norm - euclidean(heads), d, dtype), length, math.inf)
        return StepError(heads, entries, length)

    def step_approximation(self, T: Tensor, v: Tensor, dims: Tensor | None = None) -> StepError:
        """Nothing but the chords of the piecewise norm, which lengthen v and leave its direction."""
        chord = 0.0 if self.inverse_sqrt is None else relative_chord_error(self.inverse_sqrt)
        return StepError(torch.zeros_like(v), 0.0, torch.zeros_like(v[:, 0]) + chord)

    def _promises(self) -> dict[str, tuple[str, str]]:
        piecewise = self.inverse_sqrt
        width, hidden, most = "d0^2 + 3 d0 + 2", "(2 d0 + 2) + 4 d0", "1"
        if piecewise is not None:
            width, hidden = f"{width} + 2", f"(2 d0 + 2) + ({piecewise.units} + 2) + (2 d0 + 2)"
            most = "slope of 1/sqrt at the low end"
        if self.offset is not None:
            width, most = f"{width} + d0 + 1", "the offset, or 1"
        return {
            "layers": (f"{len(self.construction.layers)} L, L = {self.steps}", "2 L"),
            "heads a layer": ("2 d0" if self.offset is None else "d0 + 1", "about d"),
            "width": (f"{width}, d0 = {self.max_dim}", "polynomial in d"),
            "hidden units": (hidden, "-"),
            "largest weight": (most, "-"),
        }

    def _check_dtype(self, dtype: torch.dtype) -> None:
        if self.inverse_sqrt is None:
            return
        steepest, most = float(abs(self.inverse_sqrt.hinge_weights).max()), torch.finfo(dtype).max
        if steepest > most or self.inverse_sqrt.domain[0] < torch.finfo(dtype).tiny:
            low = self.inverse_sqrt.domain[0] ** 0.5
            raise HypothesisError(
                f"a norm_range from {low:g} on has slopes beyond {dtype}; raise its low end, or scale T"
            )

    def _check_before(self, state: State, step: int) -> None:
        if self.offset is None:
            return
        s = self.construction.stream
        largest = state.read(s.v).abs().amax((1, 2)) * state.read(s.s).abs().amax((1, 2))
        task = int(largest.argmax())
        if not float(largest[task]) <= self.offset:
            raise HypothesisError(
                f"step {step} of tensor {task}: |v_m s_j| reaches {float(largest[task]):.6g}; "
                f"the offset is {self.offset:.6g}, and must be at least that"
            )

    def _check_within(self, states: list[State], step: int) -> None:
        if self.inverse_sqrt is None:
            return
        low, high = (value**0.5 for value in self.inverse_sqrt.domain)
        norms = states[0].read(self.stream.w, first=1)[:, 0].norm(dim=-1)
        for task, norm in enumerate(norms.tolist()):
            if not low <= norm <= high:
                raise HypothesisError(
                    f"step {step} of tensor {task}: |T(I, v, v)| is {norm:.6g}; "
                    f"the piecewise norm covers {low:.6g} to {high:.6g}"
                )
