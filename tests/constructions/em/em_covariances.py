"""Shared by the tests of EM with covariances: tasks, plain EM, and how far one constructed step may be off.

The covariances of every kind are written out as K matrices here, so plain EM is one formula for all kinds.
"""

import dataclasses
import functools
from collections.abc import Sequence

import torch
from hypothesis import strategies as st
from torch import Tensor

from constructions import em_construction
from constructions.em.matrices import MatrixEM, MatrixPieces, sweep_blocks
from constructions.em.run import EMRun
from constructions.em.tasks import COVARIANCE_SHAPES, CovarianceType
from constructions.em.variances import VarianceEM, VariancePieces
from constructions.language.program import Repeat, in_order
from constructions.language.structured.evaluation import Evaluation
from constructions.matrices.sweep import sweep_layers

F64 = torch.float64
VARIANCES: tuple[CovarianceType, ...] = ("tied_spherical", "spherical", "diagonal")
MATRICES: tuple[CovarianceType, ...] = ("tied", "full")
KINDS = VARIANCES + MATRICES
FLOOR, RADIUS, EIGENVALUES = 1e-12, 12.0, (1e-2, 1e2)


@functools.cache
def construction(
    kind: CovarianceType,
    max_dim: int,
    max_components: int,
    pieces: int | VariancePieces | MatrixPieces,
    eigenvalues: tuple[float, float] = EIGENVALUES,
    steps: int = 1,
) -> VarianceEM | MatrixEM:
    """Made once for all tests."""
    return em_construction(  # pyright: ignore[reportCallIssue, reportReturnType]
        max_dim,
        max_components,
        steps,
        pieces,  # pyright: ignore[reportArgumentType]
        FLOOR,
        RADIUS,
        covariance_type=kind,  # pyright: ignore[reportArgumentType]
        eigenvalues=eigenvalues,
    )


def with_newton_steps(em: MatrixEM, steps: int) -> MatrixEM:
    """The construction with another number of Newton steps a sweep; ``newton_steps`` is still the old one."""
    once = sweep_layers(sweep_blocks(em.stream), em.start, em.bounds.scale, em.max_dim, steps)
    rest = em.construction.layers[4:]
    layers, order = in_order(Repeat(em.max_dim, tuple(once)), *rest)
    built = dataclasses.replace(em.construction, layers=layers, order=order)
    return dataclasses.replace(em, construction=built)


@dataclasses.dataclass(frozen=True, eq=False)
class Task:
    """Points (N, d) and a start; covariances laid out by their kind."""

    kind: CovarianceType
    X: Tensor
    weights: Tensor
    means: Tensor
    covariances: Tensor

    @property
    def parts(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """What run takes."""
        return self.X, self.weights, self.means, self.covariances

    @property
    def matrices(self) -> Tensor:
        """(K, d, d)."""
        (K, d), S = self.means.shape, self.covariances
        if self.kind in MATRICES:
            return S.expand(K, d, d)
        return torch.diag_embed(S if self.kind == "diagonal" else S.reshape(-1, 1).expand(K, d))

    def rounded(self, dtype: torch.dtype) -> "Task":
        """What the layers see in ``dtype``."""
        return Task(self.kind, *(v.to(dtype).double() for v in self.parts))

    def after(self, run: EMRun, step: int) -> "Task":
        """The same points and what a run holds after a step."""
        S = run.path_covariances
        assert S is not None
        state = run.path_weights[step], run.path_means[step], S[step]
        return Task(self.kind, self.X, *(v.double() for v in state))


def make_task(
    kind: CovarianceType,
    d: int,
    K: int,
    N: int,
    seed: int,
    condition: float = 6.0,
    apart: float = 1.5,
    least_weight: float = 0.05,
    duplicated: bool = False,
) -> Task:
    """Overlapping components; eigenvalues of each from ``condition^-1/2`` to ``condition^1/2``."""
    g = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=g, dtype=F64)

    shape = {"K": K, "d": d}
    if kind in VARIANCES:
        sizes = [shape[letter] for letter in COVARIANCE_SHAPES[kind]]
        S = condition ** (torch.rand(sizes, generator=g, dtype=F64) - 0.5)
    else:
        n = 1 if kind == "tied" else K
        frames = torch.linalg.qr(normal(n, d, d)).Q
        shares = torch.rand(n, d, generator=g, dtype=F64)
        if d > 1:  # as far apart as they may be in the first component
            shares[0, :2] = torch.tensor([0.0, 1.0])
        S = (frames * condition ** (shares[:, None] - 0.5)) @ frames.mT
        S = (S + S.mT) / 2
        S = S[0] if kind == "tied" else S
    means = apart * normal(K, d)
    X = means[torch.randint(K, (N,), generator=g)] + normal(N, d)
    if duplicated:
        X = X[torch.randint(max(1, N // 4), (N,), generator=g)]
    weights = torch.rand(K, generator=g, dtype=F64)
    weights = least_weight + (1 - K * least_weight) * weights / weights.sum()
    start = means + 0.3 * normal(K, d)
    return Task(kind, X.clamp(-RADIUS, RADIUS), weights / weights.sum(), start.clamp(-RADIUS, RADIUS), S)


@st.composite
def drawn(draw: st.DrawFn, kind: CovarianceType, most_dim: int = 5) -> Task:
    """Of every size, with as few points as the kind allows and with many; some points more than once."""
    d, K = draw(st.integers(1, most_dim)), draw(st.integers(1, 4))
    least = max(K, d + 1) if kind in MATRICES else K
    N = draw(st.one_of(st.just(least), st.just(K * d + 1), st.integers(least, 40)))
    return make_task(
        kind,
        d,
        K,
        max(N, least),
        seed=draw(st.integers(0, 2**32 - 1)),
        condition=draw(st.sampled_from([1.0, 4.0, 20.0])),
        apart=draw(st.sampled_from([0.0, 1.5, 3.0])),
        least_weight=draw(st.sampled_from([1e-3, 0.1])),
        duplicated=draw(st.booleans()),
    )


@dataclasses.dataclass(frozen=True, eq=False)
class Step:
    """A state after a step, or errors of one: weights (K,), means (K, d), covariances by kind."""

    weights: Tensor
    means: Tensor
    covariances: Tensor

    @property
    def largest(self) -> list[float]:
        """The largest number of each part."""
        return [float(v.abs().max()) for v in (self.weights, self.means, self.covariances)]


def of_kind(kind: CovarianceType, S: Tensor, weights: Tensor) -> Tensor:
    """(K, d, d) -> the covariances of a kind: diagonals, their average, averages weighted by pi."""
    if kind == "full":
        return S
    if kind == "tied":
        return (weights[:, None, None] * S).sum(0)
    variances = S.diagonal(dim1=1, dim2=2)
    if kind == "diagonal":
        return variances
    return variances.mean(1) if kind == "spherical" else (weights * variances.mean(1)).sum()


def responsibilities(task: Task) -> Tensor:
    """(N, K) of plain EM."""
    S = task.matrices
    apart = task.X[:, None] - task.means
    squares = torch.einsum("nka,kab,nkb->nk", apart, torch.linalg.inv(S), apart)
    return (task.weights.log() - squares / 2 - torch.logdet(S) / 2).softmax(1)


def plain_step(task: Task) -> Step:
    """One step of EM."""
    r = responsibilities(task)
    shares = r / r.sum(0)
    means = shares.mT @ task.X
    apart = task.X[:, None] - means
    S = torch.einsum("nk,nka,nkb->kab", shares, apart, apart)
    weights = r.mean(0)
    return Step(weights, means, of_kind(task.kind, S, weights))


def plain_path(task: Task, steps: int) -> list[Task]:
    """The start and the states after each of L steps."""
    path = [task]
    for _ in range(steps):
        step = plain_step(path[-1])
        path.append(Task(task.kind, task.X, step.weights, step.means, step.covariances))
    return path


def state_of(run: EMRun, step: int = 1) -> Step:
    """What a run of one task holds after a step, in float64."""
    S = run.path_covariances
    assert S is not None
    return Step(*(v[step].double() for v in (run.path_weights, run.path_means, S)))


def apart(one: Step, other: Step) -> Step:
    """Absolute differences."""
    pairs = ((getattr(one, f.name), getattr(other, f.name)) for f in dataclasses.fields(Step))
    return Step(*((a - b).abs() for a, b in pairs))


def run_all(
    em: VarianceEM | MatrixEM,
    tasks: Sequence[Task],
    steps: int = 1,
    dtype: torch.dtype = F64,
    refreshed: bool = False,
    evaluation: Evaluation = "structured",
) -> list[EMRun]:
    """Tasks as one batch, and the run of each."""
    lists = [[task.parts[i] for task in tasks] for i in range(4)]
    run = em.run(*lists, dtype=dtype, steps=steps, refreshed=refreshed, evaluation=evaluation)
    return [run.task(i) for i in range(len(tasks))]
