"""Shared by the tests of the constructed spectral algorithm: weights, small tasks, and the baseline."""

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from baselines.spectral import SpectralResult, second_moment, smallest_variance, spectral, whiten
from constructions.language.rounding import gamma, unit_roundoff
from constructions.language.stream import Stream
from constructions.language.structured.evaluation import Evaluation
from constructions.language.structured.partitions import Tokens
from constructions.spectral.bounds import SpectralBound, spectral_bounds
from constructions.spectral.exact import Problem
from constructions.spectral.hypotheses import SpectralError
from constructions.spectral.power_bounds import Arithmetic
from constructions.spectral.read_in import ReadTasks
from constructions.spectral.run import SpectralRun
from constructions.spectral.tasks import SpectralBatch
from constructions.spectral.weights import SpectralConstruction, spectral_construction
from verify.spectral.families import draw

ESTIMATED = {
    "variance": "estimated",
    "inverse_steps": 10,
    "squarings": 6,
    "inversions": 20,
    "largest_variance": 3.0,
}
U64 = unit_roundoff(torch.float64)
VARIANTS = {
    "products": {},
    "squares": {"read_in": "squares"},
    "products, estimated": ESTIMATED,
    "squares, estimated": {"read_in": "squares"} | ESTIMATED,
}
SMALL = {
    "rounds": 4,
    "steps": 5,
    "starts": 2,
    "eigenvalues": (0.5, 500.0),
    "condition": 50.0,
    "tensor_bound": 16.0,
    "reciprocals": 16,
    "pieces": 1024,
}
"""Few layers: a run of twenty tasks takes a fifth of a second."""

CONVERGED = SMALL | {"rounds": 24, "steps": 10, "starts": 3}
"""With a ratio of eigenvalues of at most 0.2, 0.2^24 = 2e-17: rounding is all that is left."""


@functools.cache
def _built(variant: str, d0: int, K0: int, options: tuple[tuple[str, object], ...]) -> SpectralConstruction:
    return spectral_construction(d0, K0, **(VARIANTS[variant] | dict(options)))


def built(variant: str, d0: int = 3, K0: int = 2, **options: object) -> SpectralConstruction:
    """Weights of one of VARIANTS, made once; SMALL unless said."""
    return _built(variant, d0, K0, tuple((SMALL | options).items()))


def estimated(weights: SpectralConstruction) -> bool:
    """Whether s is found by the layers."""
    return weights.plan.variance == "estimated"


def tasks(weights: SpectralConstruction, kind: str, count: int, d: int, K: int, N: int, seed: int) -> Problem:
    """``count`` tasks of a family of verify/spectral/families.py, within the hypotheses."""
    generator = torch.Generator().manual_seed(seed)
    return draw(kind, count, {"d": d, "K": K, "N": N}, weights.plan, generator)


def together(*problems: Problem) -> Problem:
    """Tasks of one size as one batch."""
    parts = ([getattr(p, name) for p in problems] for name in ("X", "s", "directions", "basis"))
    return Problem(*(torch.cat(part) for part in parts))


def well_conditioned(problem: Problem, decay: float = 0.2) -> Problem:
    """Those tasks whose M2 has a gap: |eigenvalue K + 1| <= decay * eigenvalue K."""
    N, d = problem.X.shape[1:]
    M2 = problem.X.mT @ problem.X / N - problem.s[:, None, None] * torch.eye(d, dtype=torch.float64)
    values = torch.linalg.eigvalsh(M2).flip(-1)
    beyond = values[:, problem.n_components :].abs()
    worst = beyond.amax(-1) if beyond.shape[1] else torch.zeros(len(problem), dtype=torch.float64)
    return chosen(problem, worst <= decay * values[:, problem.n_components - 1])


def chosen(problem: Problem, keep: Tensor) -> Problem:
    """The tasks where the booleans ``keep`` (B,) are True."""
    return Problem(problem.X[keep], problem.s[keep], problem.directions[keep], problem.basis[keep])


def in_dtype(problem: Problem, dtype: torch.dtype, free: bool) -> Problem:
    """The numbers rounded to ``dtype``; with ``free`` s is the variance of the rounded points."""
    X, g, basis = (x.to(dtype).double() for x in (problem.X, problem.directions, problem.basis))
    s = smallest_variance(X)[0] if free else problem.s.to(dtype).double()
    return Problem(X, s, g, basis)


def run(
    weights: SpectralConstruction,
    problem: Problem,
    dtype: torch.dtype = torch.float64,
    evaluation: Evaluation = "structured",
) -> SpectralRun:
    """All tasks in one call."""
    variance = None if estimated(weights) else problem.s.tolist()
    X, K = problem.X, problem.n_components
    return weights.run(
        X, K, problem.directions, problem.basis, variance=variance, dtype=dtype, evaluation=evaluation
    )


def baseline(problem: Problem, free: bool, steps: int) -> SpectralResult:
    """baselines/spectral.py from the same starts: ``directions @ W`` with its own whitening W.

    Tasks with one s only, unless it is estimated.
    """
    X, K, s = problem.X, problem.n_components, problem.s
    assert free or bool((s == s[0]).all())
    moment, rounding = second_moment(X, s)
    starts = (problem.directions @ whiten(moment, K, rounding).W).nan_to_num(nan=1.0)
    starts = starts[:, None].expand(-1, K, -1, -1)
    variance = None if free else float(s[0])
    return spectral(X, K, variance=variance, starts=starts, n_iter=steps, on_failure="mark")


def bounds(weights: SpectralConstruction, problem: Problem, dtype: torch.dtype) -> SpectralBound:
    """Of the errors against the baseline."""
    return spectral_bounds(problem, weights.plan, dtype, weights.square)


def rounded(n: int, size: Tensor) -> Tensor:
    """``gamma_n size``: n operations of float64 on terms whose absolute values add up to ``size``."""
    return gamma(n, U64) * size


def apart(weights: SpectralConstruction, problem: Problem) -> SpectralBound:
    """How far two computations of the layers in float64 may be from each other, the sums in another order.

    Both have the error of exact arithmetic, and their rounding beside it. The bound is a majorant: what it
    grows by when rounding is let in is what rounding can move, at most, from wherever the error of exact
    arithmetic may have brought the layers. Twice that, one for each.
    """
    plan, square = weights.plan, weights.square
    exactly, whole = spectral_bounds(problem, plan, None, square), bounds(weights, problem, torch.float64)
    names = SpectralBound.__dataclass_fields__
    return SpectralBound(
        *(2 * (getattr(whole, n) - getattr(exactly, n)).nan_to_num(nan=torch.inf) for n in names)
    )


def start_rounding(g: Tensor, W: Tensor) -> Tensor:
    """(B, S) between two computations of W g / |W g|: products over d each, and the division by the length.

    A vector that is off by e is off by 2 e / |W g| once both are divided by their lengths.
    """
    K, d = W.shape[1:]
    size, length = (g.abs() @ W.mT.abs()).norm(dim=-1), (g @ W.mT).norm(dim=-1)
    return 2 * rounded(2 * d + 4, size) / length + 2 * gamma(K + 10, U64)


def tokens_apart(weights: SpectralConstruction, T: Tensor, value: Tensor) -> Tensor:
    """(B,) how far the tokens of a start may be from one another, and from length 1, after a step on T.

    Each rounds its contraction, relative to |T(I, v, v)| >= |value|, and its length: power_bounds.Side.fresh.
    """
    by, K = Arithmetic.of_layers(weights.plan, U64), T.shape[-1]
    return 2 * (2 * by.contraction(K) * T.flatten(1).norm(dim=1) / value.abs() + by.unit(K))


def score_rounding(weights: SpectralConstruction, T: Tensor, value: Tensor) -> Tensor:
    """(B,) between the layers' T(v, v, v) and that of plain sums at the v of one token.

    One contraction on both sides and one product over K on both; each of the three v is another token's, and
    the scores pass a gate: power_bounds.score_error with no other error.
    """
    by, K = Arithmetic.of_layers(weights.plan, U64), T.shape[-1]
    size, off = T.flatten(1).norm(dim=1), tokens_apart(weights, T, value)
    return (by.contraction(K) + 2 * gamma(K + 4, U64) + 3.1 * off) * size + by.value(K)


def whitening_defect(found: SpectralRun, problem: Problem) -> Tensor:
    """(B,) the spectral norm of W M2 W^T - I, with the M2 of the points in float64."""
    W, (N, d) = found.W.double(), problem.X.shape[1:]
    M2 = problem.X.mT @ problem.X / N - problem.s[:, None, None] * torch.eye(d, dtype=torch.float64)
    defect = W @ M2 @ W.mT - torch.eye(W.shape[1], dtype=torch.float64)
    return torch.linalg.matrix_norm(defect.nan_to_num(nan=torch.inf, posinf=torch.inf), 2)


@dataclass(frozen=True, eq=False)
class Compared:
    """Errors of a run against the baseline, and what they may be: (B, n) each, by name."""

    error: dict[str, Tensor]
    bound: dict[str, Tensor]

    def broken(self) -> list[str]:
        """One line for each number that leaves its bound: a NaN does, and a bound of NaN is none."""
        return [
            f"{name}, task {task}, {item}: error {float(error[task, item]):.3e}, "
            f"bound {float(self.bound[name][task, item]):.3e}"
            for name, error in self.error.items()
            for task, item in (~(error <= self.bound[name]) & ~self.bound[name].isposinf()).nonzero().tolist()
        ]

    def claimed(self) -> float:
        """Share of the tasks whose means have a bound."""
        return float(self.bound["means"].isfinite().all(1).double().mean())


@dataclass(frozen=True, eq=False)
class Expected:
    """The baseline on tasks whose numbers are of ``dtype``, and the bounds of ``weights``: for many runs."""

    problem: Problem
    exact: SpectralResult
    allowed: SpectralBound

    @classmethod
    def of(cls, weights: SpectralConstruction, problem: Problem, dtype: torch.dtype = torch.float64) -> Self:
        free = estimated(weights)
        problem = in_dtype(problem, dtype, free)
        return cls(problem, baseline(problem, free, weights.plan.steps), bounds(weights, problem, dtype))

    def beside(self, found: SpectralRun) -> Compared:
        """Tasks of which the baseline has no estimate are left out."""
        exact, allowed, ok = self.exact, self.allowed, ~self.exact.failed

        def away(own: Tensor, other: Tensor) -> Tensor:
            return (own.double() - other)[ok]

        error = {
            "means": away(found.means, exact.means).norm(dim=-1),
            "weights": away(found.weights, exact.weights).abs(),
            "raw weights": away(found.raw_weights, exact.raw_weights).abs(),
            "whitening": whitening_defect(found, self.problem)[ok, None],
            "variance": away(found.variance, exact.variance)[:, None].abs(),
        }
        bound = {
            "means": allowed.means[ok],
            "weights": allowed.weights[ok],
            "raw weights": allowed.raw_weights[ok],
            "whitening": allowed.whitening[ok, None],
            "variance": allowed.variance[ok, None],
        }
        return Compared(error, bound)


def compare(
    found: SpectralRun, weights: SpectralConstruction, problem: Problem, dtype: torch.dtype = torch.float64
) -> Compared:
    """``found`` beside the baseline on the same numbers of ``dtype``, with the bounds of ``weights``."""
    return Expected.of(weights, problem, dtype).beside(found)


def check(
    weights: SpectralConstruction,
    problem: Problem,
    dtype: torch.dtype = torch.float64,
    evaluation: Evaluation = "structured",
) -> Compared:
    """Run and compare; a task of which a lambda out of range is found is refused by the run, and left out."""
    problem = in_dtype(problem, dtype, estimated(weights))
    keep = torch.ones(len(problem), dtype=torch.bool)
    while True:
        kept = chosen(problem, keep)
        try:
            return compare(run(weights, kept, dtype, evaluation), weights, kept, dtype)
        except SpectralError as refused:
            if refused.status not in ("NO_THIRD_MOMENT", "OUT_OF_RANGE"):
                raise
            keep[keep.nonzero()[refused.task, 0]] = False


def unchecked(
    weights: SpectralConstruction, problem: Problem, dtype: torch.dtype = torch.float64
) -> SpectralRun:
    """What the layers compute, without the checks of a run on the way in and out."""
    batch = gathered(weights, problem, dtype)
    return weights.decode(list(stages(weights, problem, dtype))[-1].state.dense(), batch)


def gathered(weights: SpectralConstruction, problem: Problem, dtype: torch.dtype) -> SpectralBatch:
    """The tasks as the read-in gets them."""
    variance = None if estimated(weights) else problem.s.tolist()
    X, K = problem.X, problem.n_components
    return weights.gather(X, K, problem.directions, problem.basis, variance, dtype)


@dataclass(frozen=True, eq=False)
class Stage:
    """The stream after one layer of the order; structured evaluation."""

    name: str
    state: Tokens
    read_in: ReadTasks
    stream: Stream

    def rows(self, block: str) -> Tensor:
        """(B, K, width) what the rows hold."""
        return self.read_in.at_rows(self.read(block))

    def coordinates(self, block: str) -> Tensor:
        """(B, d, width) what the coordinates hold."""
        return self.read(block)[:, : self.read_in.d]

    def points(self, block: str) -> Tensor:
        """(B, N, width) what the points hold."""
        return self.read(block)[:, self.read_in.registers :]

    def starts(self, block: str) -> Tensor:
        """(B, S, K, width) what the tokens of each start hold."""
        first, S, K = self.read_in.starts.first, self.read_in.S, self.read_in.K
        return self.read(block)[:, first : first + S * K].unflatten(1, (S, K))

    def tensor(self, block: str = "T") -> Tensor:
        """(B, K, K, K) T_abc: the entries (b, c) hold T[:, b, c]."""
        first, K = self.read_in.entries.first, self.read_in.K
        held = self.read(block)[:, first : first + K * K, :K]
        return held.unflatten(1, (K, K)).permute(0, 3, 1, 2)

    def read(self, block: str) -> Tensor:
        """(B, tokens, width)."""
        return self.state.read(getattr(self.stream, block))

    def __contains__(self, block: str) -> bool:
        return block in self.stream and getattr(self.stream, block) in self.state.values


def stages(
    weights: SpectralConstruction, problem: Problem, dtype: torch.dtype = torch.float64
) -> Iterator[Stage]:
    """The stream after each layer in turn."""
    read_in = weights.read_in(gathered(weights, problem, dtype))
    layers = weights.evaluator("structured", dtype, "cpu")
    states = layers.states(layers.start(read_in.tokens()))
    for number, state in zip(weights.construction.sequence, states, strict=True):
        yield Stage(weights.construction.layers[number].name, state, read_in, weights.stream)
