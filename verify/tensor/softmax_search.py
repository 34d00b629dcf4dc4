"""A random search for a softmax step that breaks its bound: awkward tensors, starts and weights."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from constructions.tensor_power.sinh_pairs import MAX_PAIRS
from constructions.tensor_power.softmax import highest_sink
from constructions.tensor_power.softmax_bounds import Heads
from verify.tensor.data import TensorProblem
from verify.tensor.families import STARTS, TENSORS, hostile_starts, hostile_tensors
from verify.tensor.measure import Runtime
from verify.tensor.softmax_rows import one_step_construction, step_errors

GROUP = 50
"""Instances that share one set of weights."""

CYCLE = 30
"""Groups after which d and the family of tensors would meet again: then one of them is moved on by one."""

MAX_SEARCHED_DIM, SMALLEST_LOG_EPSILON, LARGEST_SINK = 10, -6.0, 60.0


@dataclass(frozen=True, eq=False)
class Draw:
    """One group of instances with one set of weights.

    Attributes:
        pairs, epsilon, sink: of the weights. tensors, starts: the families drawn from.
        error, bound: (B, d). rounding: (B,) share of the bound that is rounding.
    """

    pairs: int
    epsilon: float
    sink: float
    tensors: str
    starts: str
    error: Tensor
    bound: Tensor
    rounding: Tensor


def search(instances: int, seed: int, dtype: torch.dtype) -> Iterator[Draw]:
    """At least ``instances`` instances in groups: d 1..10, p 1..8, eps 1e-6..1, c 0..60, every family.

    Tensors are scaled by 10^-6 to 10^6. float32 keeps the sink in its range.
    """
    generator = torch.Generator().manual_seed(seed)
    for number in range(-(-instances // GROUP)):
        uniform = torch.rand(5, generator=generator, dtype=torch.float64).tolist()
        dim = 1 + number % MAX_SEARCHED_DIM
        pairs = 1 + min(MAX_PAIRS - 1, int(-2.5 * torch.tensor(1 - uniform[0]).log()))
        epsilon = 10 ** (SMALLEST_LOG_EPSILON * uniform[1])
        highest = min(LARGEST_SINK, 0.8 * highest_sink(dtype, epsilon, pairs))
        sink = highest * uniform[2] ** 0.5
        tensors = TENSORS[(number + number // CYCLE) % len(TENSORS)]
        starts = STARTS[int(uniform[3] * len(STARTS))]
        T = hostile_tensors(tensors, GROUP, dim, generator) * 10 ** (12 * uniform[4] - 6)
        problem = TensorProblem("search", T, hostile_starts(starts, GROUP, dim, generator)).rounded(dtype)
        power = one_step_construction(problem, dim + number // CYCLE % 2, Heads(epsilon, pairs, sink), dtype)
        error, bound, _ = step_errors(power, problem, Runtime(dtype), printed=False)
        parts = power.one_step_error(problem.T, problem.v, dtype)
        share = parts.rounding.norm(dim=-1) / parts.total.norm(dim=-1)
        yield Draw(pairs, epsilon, sink, tensors, starts, error, bound, share)
