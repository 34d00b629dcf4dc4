"""Cubic tensor power iteration in softmax attention: no ReLU attention is needed.

A softmax head shares one unit of attention among its keys. Beside a *sink* token with the score c and the
value 0, the data tokens get ``exp(score_j)`` each, times a nearly constant ``exp(-c)``; so for a pair of
heads with scores ``+eps a_j`` and ``-eps a_j``

    (e^c / (2 eps)) (softmax(+)_j - softmax(-)_j) = sinh(eps a_j)/eps + O(n e^-c) = a_j + O(eps^2 + n e^-c)

and p pairs at eps, .., p eps leave ``O(eps^(2p))`` (constructions/sinh_pairs.py). With ``a_j = v_m s_j`` that
is the product which Theorem 2 takes from ReLU attention: 2 p d0 heads where ReLU takes 2 d0.

Data token j carries ``id``, ``v``, ``s = v_j``, ``T[:, j, :]``; the sink carries ``sink = 1`` and v. One
layer is a step: the heads write ``w = T(I, v, v)``, and the MLP makes it v and picks ``s_j = <id_j, w>``,
which is exact for ``|w_k| <= bound``. (A pair of heads could fetch s too, in a layer and with an error of its
own.)

Source: an open question of arXiv 2505.11918 (is ReLU needed in Theorem 2?), answered in
paper_notes/softmax_is_enough.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from constructions.construction import Construction, Layer
from constructions.heads import Head, HeadSum, SoftmaxHead
from constructions.hypotheses import HypothesisError
from constructions.mlp import clear, move, pick
from constructions.power_iteration import PowerIteration
from constructions.rounding import gamma, unit_roundoff
from constructions.scores import dot, key_only
from constructions.sinh_pairs import pair_weights
from constructions.softmax_tensor_bounds import Heads, SoftmaxError, picked_slack, step_bound
from constructions.stream import Stream
from constructions.tensor_power_bounds import StepError, contract, norm_resolved, rms_entries
from constructions.tensor_tasks import TensorBatch

SOURCE = "open question of arXiv 2505.11918: Theorem 2 with softmax instead of ReLU attention"

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


def step_layer(s: Stream, heads: HeadSum, bound: float, unit_output: bool) -> Layer:
    """``v = T(I, v, v)``, or ``v / |v|`` with ``unit_output``, and ``s_j = v_j``."""
    mlp = (clear(s.v), move(s.w, s.v), clear(s.s), pick(s.w, by=s.id, write=s.s, bound=bound))
    return Layer("step", heads=(heads,), mlp=mlp, unit_output=unit_output)


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
        max_dim: d0. steps: L; one layer a step, one block of weights applied L times.
        epsilon: step of the difference quotient; see
            :func:`constructions.softmax_tensor_bounds.best_epsilon`.
        pairs: p, from 1 to 8.
        sink: c, the score of the sink token; 0 is allowed and shows what the sink is for.
        normalise: "rms" by an RMS norm of what the heads write, or "none".
        bound: largest |v_k| that a step may meet; 2 unless said with the norm, needed without.

    Raises:
        ValueError: a number outside these ranges, named in the message.
    """
    for name, value in (("max_dim", max_dim), ("steps", steps)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"{name} is {value!r}; a whole number, at least 1, is needed")
    if normalise not in ("none", "rms"):
        raise ValueError(f"normalise is {normalise!r}; it is none or rms")
    if not 0 < epsilon <= 1:
        raise ValueError(f"epsilon is {epsilon!r}; it lies in (0, 1]")
    if not 0 <= sink <= 300:
        raise ValueError(f"sink is {sink!r}; it lies between 0 and 300")
    if bound is None:
        if normalise == "none":
            raise ValueError("bound is needed without a norm: the largest |v_k| that a step may meet")
        bound = UNIT_BOUND
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
        layers=(step_layer(s, heads, bound, normalise == "rms"),),
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

    def embed(self, batch: TensorBatch) -> tuple[Tensor, Tensor]:
        """The tokens (B, 1 + N, D), the sink first, and which are real; all of them hold v."""
        s, n = self.construction.stream, batch.tokens
        h = batch.T.new_zeros(len(batch.T), 1 + n, s.width)
        h[..., s.v.slice] = batch.v[:, None]
        h[..., s.one.start] = 1.0
        h[:, 0, s.sink.start] = 1.0
        data = h[:, 1:]
        data[..., s.id.slice] = torch.eye(n, self.max_dim).to(h) * batch.mask[:, :, None]
        data[..., s.s.start] = batch.v[:, :n]
        data[..., s.T.slice] = batch.T[:, :, :n].permute(0, 2, 3, 1).flatten(2)
        return h, torch.cat([torch.ones_like(batch.mask[:, :1]), batch.mask], 1)

    def step_error(self, T: Tensor, v: Tensor, dtype: torch.dtype, first: bool) -> StepError:
        """Approximation, leakage and rounding; see :class:`StepError`."""
        u, d = unit_roundoff(dtype), v.shape[-1]
        slack = 0.0 if first else picked_slack(v, self.bound, dtype)
        heads = self.one_step_error(T, v, dtype, slack).total
        entries, length = 0.0, torch.zeros_like(v[:, 0])
        after = torch.ones_like(v) if self.normalised else contract(T, v).abs() + heads
        moved = gamma(5, u) * (v.abs() + after)
        if self.normalised:
            entries = rms_entries(d, dtype)
            resolved = norm_resolved(contract(T, v).norm(dim=-1), d, dtype)
            length = torch.where(resolved, entries + moved.norm(dim=-1), math.inf)
        return StepError(heads, entries, moved, length)

    def one_step_error(
        self, T: Tensor, v: Tensor, dtype: torch.dtype, slack: Tensor | float = 0.0
    ) -> SoftmaxError:
        """The parts of the error of one step before the norm; see :func:`step_bound`."""
        heads = Heads(self.epsilon, self.pairs, self.sink)
        return step_bound(T, v, heads, self.max_dim, dtype, slack)

    def _decode(self, h: Tensor) -> Tensor:
        return h[:, 0, self.construction.stream.v.slice]

    def _check_before(self, h: Tensor, step: int) -> None:
        largest = h[:, 0, self.construction.stream.v.slice].abs().amax(1)
        for task, value in enumerate(largest.tolist()):
            if not value <= self.bound:
                raise HypothesisError(
                    f"step {step} of tensor {task}: |v_k| reaches {value:.6g}; the bound is {self.bound:.6g}"
                )
        highest = highest_sink(h.dtype, self.epsilon, self.pairs)
        if self.sink > highest:
            raise HypothesisError(
                f"sink {self.sink:g} with epsilon {self.epsilon:g} leaves the range of {h.dtype}; "
                f"at most {highest:.4g} is possible"
            )

    def _check_within(self, states: list[Tensor], step: int) -> None:
        """The MLP picks s from w: it must be within the bound, as v must be at the next step."""
        largest = states[0][:, 0, self.construction.stream.v.slice].abs().amax(1)
        for task, value in enumerate(largest.tolist()):
            if value > self.bound:
                raise HypothesisError(
                    f"step {step} of tensor {task} ends with |v_k| = {value:.6g}; "
                    f"the bound is {self.bound:.6g}"
                )
