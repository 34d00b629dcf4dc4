"""A random search for a softmax step that breaks its bound: awkward tensors, starts and weights."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from constructions.tensor_power.sinh_pairs import MAX_PAIRS
from constructions.tensor_power.softmax import highest_sink
from verify.tensor.data import TensorProblem, orthogonal_problem, unit_vectors
from verify.tensor.softmax_rows import one_step_construction, step_errors

GROUP = 50
"""Instances that share one set of weights."""

CYCLE = 30
"""Groups after which d and the family of tensors would meet again: then one of them is moved on by one."""

MAX_SEARCHED_DIM, SMALLEST_LOG_EPSILON, LARGEST_SINK = 10, -6.0, 60.0
TENSORS = ("gaussian", "symmetric", "orthogonal", "sparse", "skew", "positive")
STARTS = ("unit", "basis", "equal", "sparse", "long")


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
        T = _tensors(tensors, dim, generator) * 10 ** (12 * uniform[4] - 6)
        problem = TensorProblem("search", T, _starts(starts, dim, generator)).rounded(dtype)
        power = one_step_construction(problem, dim + number // CYCLE % 2, epsilon, pairs, sink, dtype)
        error, bound = step_errors(power, problem, dtype, "cpu")
        parts = power.one_step_error(problem.T, problem.v, dtype)
        share = parts.rounding.norm(dim=-1) / parts.total.norm(dim=-1)
        yield Draw(pairs, epsilon, sink, tensors, starts, error, bound, share)


def _tensors(kind: str, dim: int, generator: torch.Generator) -> Tensor:
    T = torch.randn(GROUP, dim, dim, dim, generator=generator, dtype=torch.float64)
    if kind == "symmetric":
        return sum((T.permute(0, *p) for p in ((1, 2, 3), (2, 3, 1), (3, 1, 2))), torch.zeros_like(T)) / 3
    if kind == "orthogonal":
        return orthogonal_problem(dim, dim, generator).T.expand(GROUP, -1, -1, -1)
    if kind == "sparse":
        return T * (torch.rand(T.shape, generator=generator) < 0.3)
    if kind == "skew":  # the part that v v does not see
        return T - T.transpose(2, 3)
    if kind == "positive":
        return T.abs()
    return T


def _starts(kind: str, dim: int, generator: torch.Generator) -> Tensor:
    v = unit_vectors(GROUP, dim, generator)
    if kind == "basis":
        return torch.eye(dim, dtype=torch.float64)[torch.arange(GROUP) % dim]
    if kind == "equal":
        return v.sign() / dim**0.5
    if kind == "sparse":
        kept = torch.rand(v.shape, generator=generator) < 0.5
        kept[torch.arange(GROUP), torch.arange(GROUP) % dim] = True
        return v * kept
    if kind == "long":
        return 3 * v
    return v
