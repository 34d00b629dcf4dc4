"""Cubic tensor power iteration in softmax attention: no ReLU attention is needed.

A softmax head shares one unit of attention among its keys. Beside a *sink* token with the score c and the
value 0, the data tokens get ``exp(score_j)`` each, times a nearly constant ``exp(-c)``; so for a pair of
heads with scores ``+eps a_j`` and ``-eps a_j``

    (e^c / (2 eps)) (softmax(+)_j - softmax(-)_j) = sinh(eps a_j)/eps + O(n e^-c) = a_j + O(eps^2 + n e^-c)

and p pairs at eps, .., p eps leave ``O(eps^(2p))`` (sinh_pairs.py). With ``a_j = v_m s_j`` that
is the product which Theorem 2 takes from ReLU attention: 2 p d0 heads where ReLU takes 2 d0.

Data token j carries ``id``, ``v``, ``s = v_j``, ``T[:, j, :]``; the sink carries ``sink = 1`` and v. A step
is two layers. In *contract* the heads write ``w = T(I, v, v)``. In *broadcast* one sharp head copies the
sink's w to every token as v, and the MLP picks ``s_j = <id_j, v>``, exactly for ``|v_k| <= bound``. (Were s_j
picked from the w of token j itself, one layer would do; but each token rounds its own w in its own way, and a
T that is not symmetric can blow that difference up from step to step.)

Source: an open question of arXiv 2505.11918 (is ReLU needed in Theorem 2?), answered in
paper_notes/softmax_is_enough.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from constructions.language.arguments import check_number, check_whole
from constructions.language.assembly import Construction, Layer
from constructions.language.gates import pick
from constructions.language.heads import Head, HeadSum, SoftmaxHead
from constructions.language.hypotheses import HypothesisError
from constructions.language.mlp import clear
from constructions.language.scores import dot, key_only
from constructions.language.shown import short_repr
from constructions.language.stream import Stream
from constructions.language.structured.evaluation import State
from constructions.language.structured.partitions import Places, Tokens, Value
from constructions.tensor_power.iteration import PowerIteration
from constructions.tensor_power.relu import contract_layer
from constructions.tensor_power.relu_bounds import StepError, contract, euclidean, norm_resolved, rms_entries
from constructions.tensor_power.sinh_pairs import pair_weights
from constructions.tensor_power.softmax_bounds import Heads, SoftmaxError, pick_rounding, step_bound
from constructions.tensor_power.tensors import TensorBatch, slices

SOURCE = "open question of arXiv 2505.11918: Theorem 2 with softmax instead of ReLU attention"

SHARPNESS = 1000.0
"""Score of the sink in the broadcast head."""

UNIT_BOUND = 2.0
"""Bound of the coordinates of a normalised vector: they are at most 1 up to rounding."""


def softmax_stream(max_dim: int) -> Stream:
    """The residual stream, of width ``d0^2 + 3 d0 + 3``."""
    d = max_dim
    return Stream(id=d, v=d, s=1, T=d * d, w=d, sink=1, one=1)


def product_heads(s: Stream, epsilon: float, pairs: int, sink: float) -> HeadSum:
    """``w_i = sum_jm v_m(i) s_j T[:, j, m]`` up to the error of the pairs, by 2 p d0 heads."""
    q, k, d = s.query, s.key, s.v.width
    heads: list[Head] = []
    for m in range(d):
        for number, alpha in enumerate(pair_weights(pairs), 1):
            scale = math.exp(sink) * float(alpha) / (2 * epsilon)
            for sign in (1.0, -1.0):
                score = sign * number * epsilon * dot(q.v.part(m), k.s) + sink * key_only(k.sink)
                heads.append(SoftmaxHead(score, read=s.T.part(m, d), write=s.w, scale=sign * scale))
    return HeadSum(tuple(heads))


def broadcast_layer(s: Stream, bound: float) -> Layer:
    """``v`` = the sink's w at every token, and ``s_j = v_j``.

    All other weights are ``e^-SHARPNESS``, below the smallest number of float64: in floats the copy is exact.
    """
    copied = SoftmaxHead(SHARPNESS * key_only(s.key.sink), read=s.w, write=s.v)
    return Layer("broadcast", heads=(copied,), mlp=(pick(s.v, by=s.id, write=s.s, bound=bound), clear(s.w)))


def softmax_tensor_power_construction(
    max_dim: int,
    steps: int,
    epsilon: float,
    pairs: int = 1,
    sink: float = 36.0,
    normalise: Literal["none", "rms"] = "rms",
    bound: float | None = None,
) -> SoftmaxTensorPower:
    """Build L steps of ``v <- T(I, v, v)``, or ``v <- T(I, v, v) / |T(I, v, v)|``, for every d <= max_dim.

    Args:
        max_dim: d0. steps: L; two layers a step, one block of weights applied L times.
        epsilon: step of the difference quotient; see
            :func:`constructions.tensor_power.softmax_bounds.best_epsilon`.
        pairs: p, from 1 to 8.
        sink: c, the score of the sink token; 0 is allowed and shows what the sink is for. It is rounded to
            float32, so that it is the same number in every dtype.
        normalise: "rms" by an RMS norm of what the heads write, or "none".
        bound: largest |v_k| that a step may meet; 2 unless said with the norm, needed without.

    Raises:
        ValueError: a number outside these ranges, named in the message.
    """
    check_whole(max_dim=max_dim, steps=steps)
    check_number(epsilon=epsilon, sink=sink)
    if normalise not in ("none", "rms"):
        raise ValueError(f"normalise is {normalise!r}; it is none or rms")
    if not 0 < epsilon <= 1:
        raise ValueError(f"epsilon is {epsilon!r}; it lies in (0, 1]")
    if not 0 <= sink <= 300:
        raise ValueError(f"sink is {sink!r}; it lies between 0 and 300")
    sink = float(torch.tensor(sink, dtype=torch.float32))
    if sink > highest_sink(torch.float64, epsilon, pairs):
        raise ValueError(f"epsilon is {epsilon!r} with sink {sink!r}; e^sink / epsilon is beyond float64")
    if bound is None:
        if normalise == "none":
            raise ValueError("bound is needed without a norm: the largest |v_k| that a step may meet")
        bound = UNIT_BOUND
    check_number(bound=bound)
    if not 0 < bound < math.inf:
        raise ValueError(f"bound is {bound!r}; it is positive and finite")
    s = softmax_stream(max_dim)
    heads = product_heads(s, epsilon, pairs, sink)
    name = f"softmax tensor power iteration, {steps} step{'s' if steps > 1 else ''}"
    construction = Construction(
        name=f"{name}, d <= {max_dim}, p = {pairs}",
        source=SOURCE,
        stream=s,
        inputs=(s.id, s.v, s.s, s.T, s.sink, s.one),
        layers=(contract_layer(s, heads, normalise == "rms"), broadcast_layer(s, bound)),
        loops=steps,
    )
    return SoftmaxTensorPower(construction, max_dim, normalise == "rms", epsilon, pairs, sink, bound)


def highest_sink(dtype: torch.dtype, epsilon: float, pairs: int) -> float:
    """Largest c whose ``e^-c`` is a normal number of ``dtype`` and whose head scales are finite."""
    info = torch.finfo(dtype)
    largest = max(abs(float(alpha)) for alpha in pair_weights(pairs))
    return min(-math.log(info.tiny), math.log(info.max) - math.log(largest / (2 * epsilon)))


@dataclass(frozen=True, eq=False)
class SoftmaxTensorPower(PowerIteration):
    """The weights, made by :func:`softmax_tensor_power_construction`; attributes as given there."""

    epsilon: float
    pairs: int
    sink: float
    bound: float

    __repr__ = short_repr

    def tokens(self, batch: TensorBatch) -> Tokens:
        """1 + N tokens, the sink first; all of them hold v."""
        s, n = self.construction.stream, batch.tokens
        like, sink_is_real = batch.T, torch.ones_like(batch.mask[:, :1])
        places = Places(torch.cat([sink_is_real, batch.mask], 1))
        data = places.first_and_rest()
        at_sink = torch.tensor([1.0, 0.0]).to(like).expand(len(like), 1, 2)
        real = batch.mask[:, None].to(like)

        def behind_the_sink(numbers: Tensor) -> Value:
            return Value(places.each, torch.cat([torch.zeros_like(numbers[..., :1]), numbers], -1))

        values = {
            s.id: behind_the_sink(torch.eye(self.max_dim, n).to(like) * real),
            s.v: Value(places.same, batch.v[:, :, None]),
            s.s: behind_the_sink(batch.v[:, None, :n]),
            s.T: behind_the_sink(slices(batch).flatten(1, 2)),
            s.sink: Value(data, at_sink),
            s.one: Value(places.same, like.new_ones(len(like), 1, 1)),
        }
        return Tokens(s, places, values)

    def step_error(
        self, T: Tensor, v: Tensor, dtype: torch.dtype, first: Tensor | bool, dims: Tensor | None = None
    ) -> StepError:
        """Approximation, leakage and rounding; see :class:`StepError`."""
        d = v.shape[-1]
        read_in = torch.as_tensor(first)[..., None]
        gap = torch.where(read_in, torch.zeros_like(v), pick_rounding(v, self.bound, dtype))
        parts = self.one_step_error(T, v, dtype, gap, dims)
        heads = parts.total
        if not self.normalised:
            return StepError(heads, 0.0, torch.zeros_like(v[:, 0]))
        entries = rms_entries(d, dtype)
        resolved = norm_resolved(euclidean(contract(T, v)) - euclidean(heads), d, dtype)
        return StepError(heads, entries, torch.where(resolved, entries, math.inf), parts.exact, parts.run)

    def step_approximation(self, T: Tensor, v: Tensor, dims: Tensor | None = None) -> StepError:
        """The pairs' error and what leaks to the sink, at exact products: the same in every dtype."""
        parts = self.one_step_error(T, v, torch.float64, dims=dims)
        heads = parts.approximation + parts.leakage
        return StepError(heads, 0.0, torch.zeros_like(v[:, 0]), parts.exact)

    def _promises(self) -> dict[str, tuple[str, str]]:
        d0, p = f"d0 = {self.max_dim}", f"p = {self.pairs}"
        return {
            "layers": (f"2 L, L = {self.steps}", "left open"),
            "heads a layer": (f"2 p d0, {p}", "left open"),
            "width": (f"d0^2 + 3 d0 + 3, {d0}", "left open"),
            "hidden units": ("(2 d0 + 2) + 4 d0", "left open"),
            "largest weight": ("e^c |alpha| / (2 eps), or the sharpness of the copy", "left open"),
        }

    def one_step_error(
        self,
        T: Tensor,
        v: Tensor,
        dtype: torch.dtype,
        gap: Tensor | None = None,
        dims: Tensor | None = None,
    ) -> SoftmaxError:
        """The parts of the error of one step before the norm; see :func:`step_bound`."""
        heads = Heads(self.epsilon, self.pairs, self.sink)
        return step_bound(T, v, heads, self.max_dim, dtype, gap, dims)

    def _check_dtype(self, dtype: torch.dtype) -> None:
        highest = highest_sink(dtype, self.epsilon, self.pairs)
        if self.sink > highest:
            raise HypothesisError(
                f"sink {self.sink:g} with epsilon {self.epsilon:g} leaves the range of {dtype}; "
                f"at most {highest:.4g} is possible"
            )
        if not 4 * self.bound < torch.finfo(dtype).max:  # the pick adds v, B and -B
            raise HypothesisError(
                f"bound {self.bound:g} leaves the range of {dtype}; a smaller one is needed"
            )

    def _check_before(self, state: State, step: int) -> None:
        self._check_entries(state, f"step {step} starts")

    def _check_within(self, states: list[State], step: int) -> None:
        """The MLP picks s from v, which must be within the bound."""
        self._check_entries(states[-1], f"step {step} ends")

    def _check_entries(self, state: State, where: str) -> None:
        for task, value in enumerate(self.vector(state).abs().amax(1).tolist()):
            if value > self.bound:
                raise HypothesisError(
                    f"{where} with |v_k| = {value:.6g} in tensor {task}; the bound is {self.bound:.6g}"
                )

    def explain(self) -> str:
        """The layer table, and what it does not say."""
        return (
            f"{super().explain()}\nEach row is computed as written. That the pairs of heads add up to "
            "T(I, v, v) holds up to the\nerrors of paper_notes/softmax_is_enough.md, lemmas 2 to 4 "
            "(one_step_error)."
        )
